"""What the server says about itself is what the contract's text says; and an operator with nothing but that gets along."""

from __future__ import annotations

import subprocess
from typing import Any

import contract_pb2 as contract
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import StatusCode as Status
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from client import SERVICE, Tape, codes_seen, encoded, fresh, identity, pb, refused
from servers import Server, program


@pytest.fixture(scope="module")
def pool(server: Server) -> DescriptorPool:
    return DescriptorPool(ProtoReflectionDescriptorDatabase(Tape(server.target).channel))


def shape(field: FieldDescriptor) -> tuple[str, int, str, bool]:
    """Name, type, and the name of the message or enum that it is of."""
    of = field.message_type or field.enum_type
    return field.name, field.type, of.full_name if of else "", field.is_repeated


def test_the_services_are_listed(tape: Tape) -> None:
    services = set(ProtoReflectionDescriptorDatabase(tape.channel).get_services())
    assert {"tape.v1.Tape", "tape.v1.Admin", "tape.v1.Reactors", "tape.v1.Workers", "tape.v1.Connectors"} <= services
    assert {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} <= services


def test_every_rpc_is_there_as_it_is_written(pool: DescriptorPool) -> None:
    served = pool.FindServiceByName("tape.v1.Tape")
    assert served.file.name == "tape/v1/tape.proto"
    for method in SERVICE.methods:
        found = served.methods_by_name[method.name]
        assert (found.input_type.full_name, found.output_type.full_name) == (
            method.input_type.full_name,
            method.output_type.full_name,
        )
        assert (found.client_streaming, found.server_streaming) == (method.client_streaming, method.server_streaming)
    assert {method.name for method in served.methods} == {method.name for method in SERVICE.methods}, (
        "new RPCs are elsewhere"
    )


@pytest.mark.parametrize("name", sorted(contract.DESCRIPTOR.message_types_by_name))
def test_every_message_is_there_as_it_is_written(pool: DescriptorPool, name: str) -> None:
    ours: Descriptor = contract.DESCRIPTOR.message_types_by_name[name]
    served = pool.FindMessageTypeByName(ours.full_name)
    for number, field in ours.fields_by_number.items():
        assert shape(served.fields_by_number[number]) == shape(field), field.name
    more = [number for number in served.fields_by_number if number not in ours.fields_by_number]
    assert all(number >= 100 for number in more), f"additions are from 100 up: {more}"


@pytest.mark.parametrize("name", sorted(contract.DESCRIPTOR.enum_types_by_name))
def test_every_enum_is_there_as_it_is_written(pool: DescriptorPool, name: str) -> None:
    ours = contract.DESCRIPTOR.enum_types_by_name[name]
    served = pool.FindEnumTypeByName(ours.full_name)
    values = {value.number: value.name for value in served.values}
    assert {value.number: value.name for value in ours.values}.items() <= values.items()


class Admin:
    """A client of `Admin` made from what the server says about it, as grpcurl is."""

    def __init__(self, tape: Tape, pool: DescriptorPool) -> None:
        self.tape, self.service = tape, pool.FindServiceByName("tape.v1.Admin")

    def __call__(self, rpc: str, **fields: Any) -> Any:
        method = self.service.methods_by_name[rpc]
        request = message_factory.GetMessageClass(method.input_type)(**fields)
        answer: Any = message_factory.GetMessageClass(method.output_type)
        make: Any = self.tape.channel.unary_stream if method.server_streaming else self.tape.channel.unary_unary
        call = make(
            f"/tape.v1.Admin/{rpc}",
            request_serializer=encoded,
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=30)


@pytest.fixture
def admin(tape: Tape, pool: DescriptorPool) -> Admin:
    return Admin(tape, pool)


def test_runs_are_listed_by_page_and_filter(tape: Tape, admin: Admin) -> None:
    app, user = fresh("app"), fresh("user")
    runs = [tape.begin(app_name=app, labels={"team": "blue" if n % 2 else "red"}) for n in range(7)]
    tape.EndRun(run_id=runs[0], status=pb.RUN_STATUS_FAILED)
    special = tape.begin(app_name=app, user_id=user)
    seen: list[str] = []
    token, count = "", 0
    while True:
        page = admin("ListRuns", app_name=app, page_size=3, page_token=token)
        assert len(page.runs) <= 3
        seen += [run.run_id for run in page.runs]
        token, count = page.next_page_token, count + 1
        if not token:
            break
        assert count < 20
    assert sorted(seen) == sorted([*runs, special]), "each once"

    def listed(**fields: Any) -> set[str]:
        return {run.run_id for run in admin("ListRuns", app_name=app, **fields).runs}

    assert listed(user_id=user) == {special}
    assert listed(attributes={"team": "blue"}) == set(runs[1::2])
    assert listed(statuses=[pb.RUN_STATUS_FAILED]) == {runs[0]}
    assert listed(older_than_ms=3_600_000) == set()
    refused(Status.INVALID_ARGUMENT, "page_size -1", admin, rpc="ListRuns", page_size=-1)
    refused(Status.INVALID_ARGUMENT, "page_token", admin, rpc="ListRuns", page_token="not one")


@pytest.mark.parametrize("ending", [pb.RUN_STATUS_FAILED, pb.RUN_STATUS_STUCK])
def test_an_operator_reopens_what_failed_or_is_stuck(tape: Tape, admin: Admin, ending: int) -> None:
    who = identity(user_id=fresh("u"))
    run = tape.begin(**who)
    tape.RecordDecision(run_id=run, response_json='"kept"')
    tape.EndRun(run_id=run, status=ending)
    admin("Redrive", run_id=run, reason="the bank is up again")
    assert tape.GetRun(run_id=run).status == pb.RUN_STATUS_RUNNABLE
    assert run in {one.run_id for one in tape.ListRunsToRecover(limit=1000).runs}
    assert tape.BeginRun(**who).status == pb.RUN_STATUS_RUNNING
    assert tape.GetDecision(run_id=run).decision.response_json == '"kept"'
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
    assert any("the bank is up again" in entry.payload_json for entry in tape.SubscribeRun(run_id=run))


@pytest.mark.parametrize("ending", [pb.RUN_STATUS_TERMINAL, pb.RUN_STATUS_CANCELLED])
def test_what_is_done_or_cancelled_stays(tape: Tape, admin: Admin, ending: int) -> None:
    run = tape.begin()
    tape.EndRun(run_id=run, status=ending)
    refused(Status.FAILED_PRECONDITION, "", admin, rpc="Redrive", run_id=run, reason="please")
    assert tape.GetRun(run_id=run).status == ending


def test_a_stuck_effect_is_settled_by_a_person(tape: Tape, admin: Admin) -> None:
    run = tape.begin()
    key = tape.BeginEffect(run_id=run, tool_name="t").idempotency_key
    tape.CompleteEffect(run_id=run, idempotency_key=key, status=pb.EFFECT_STATUS_UNKNOWN)
    tape.RecordExternalObservation(run_id=run, idempotency_key=key, resolution=pb.EFFECT_RESOLUTION_STUCK)
    assert tape.GetEffect(run_id=run, idempotency_key=key).effect.stuck
    request = {field.name for field in admin.service.methods_by_name["ResolveEffect"].input_type.fields}
    outcome = next(name for name in ("as", "status", "outcome", "resolved_status") if name in request)
    admin(
        "ResolveEffect",
        run_id=run,
        idempotency_key=key,
        reason="seen on paper",
        who="ann",
        **{outcome: pb.EFFECT_STATUS_CONFIRMED},
    )
    assert tape.GetEffect(run_id=run, idempotency_key=key).effect.status == pb.EFFECT_STATUS_CONFIRMED


def test_the_health_service_answers(tape: Tape) -> None:
    answer = tape.channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30)
    assert answer == b"\x08\x01", "SERVING"


def test_every_code_that_was_seen_is_explained(tape: Tape) -> None:
    refused(Status.NOT_FOUND, "", tape.GetRun, run_id="nobody")
    for code in sorted(codes_seen):
        told = subprocess.run([program("TAPE_CLI"), "explain", code], capture_output=True, text=True, check=False)
        assert told.returncode == 0 and code in told.stdout, (code, told)
