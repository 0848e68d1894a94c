"""What nobody should send: absurd sizes, bytes that are no text, deadlines in the past. The server says no, and goes on."""

from __future__ import annotations

import contextlib
from typing import Any

import contract_pb2 as contract
import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from grpc import StatusCode as Status

from client import SERVICE, Tape, fresh, identity, pb, read, refused

HUGE = "x" * (1 << 20)
UNARY = [method for method in SERVICE.methods if not method.server_streaming]


def texts() -> list[tuple[str, str]]:
    """Each text field of each unary request."""
    return [
        (method.name, field.name)
        for method in UNARY
        for field in method.input_type.fields
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated and field.name != "request_id"
    ]


def answers(tape: Tape) -> None:
    """It is there, and does what it should."""
    assert tape.GetRun(run_id=tape.begin()).status == pb.RUN_STATUS_RUNNING


@pytest.mark.parametrize("value", [HUGE, "\x00", "a\nb", "..", "ключ", "\U0001f4b8" * 100, "' OR 1=1 --", "%s%n", "\u202e"])
def test_no_text_in_any_field_of_any_request_breaks_the_server(tape: Tape, value: str) -> None:
    """Every answer is an answer or a refusal with a code: never INTERNAL, never UNKNOWN, never a lost connection."""
    for rpc, field in texts():
        try:
            getattr(tape, rpc)(**{field: value})
        except grpc.RpcError as error:
            refusal = read(error)
            assert refusal.code.startswith("TAPE-"), (rpc, field, refusal)
            assert refusal.status in (
                Status.INVALID_ARGUMENT,
                Status.NOT_FOUND,
                Status.ABORTED,
                Status.FAILED_PRECONDITION,
                Status.PERMISSION_DENIED,
            ), (rpc, field, refusal)
            assert len(refusal.text) < 4000, (rpc, field, len(refusal.text))
    answers(tape)


NUL = "a\x00b"


@pytest.mark.parametrize(
    ("rpc", "fields", "key"),
    [
        ("BeginRun", identity(), ("app_name", "user_id", "session_id", "invocation_id", "lease_owner")),
        (
            "BeginEffect",
            {"tool_name": "t", "connector": "c"},
            ("tool_name", "custom_key", "business_key", "connector", "scope"),
        ),
        ("GetEffect", {}, ("run_id", "idempotency_key")),
        ("RegisterCompensation", {"kind": "k"}, ("effect_key",)),
        ("AwaitSignal", {}, ("gate_name",)),
        ("SendSignal", {"gate_name": "g"}, ("gate_name",)),
        ("SetTimer", {"timer_id": "t", "kind": "k", "fire_at_ms": 1}, ("timer_id", "kind")),
        ("CancelTimer", {}, ("timer_id",)),
        ("WriteValue", {"namespace": "n", "key": "k", "value_json": "1", "if_version": -1}, ("namespace", "key", "writer")),
        ("GetValue", {"namespace": "n", "key": "k"}, ("namespace", "key")),
        ("DeleteValue", {"namespace": "n", "key": "k"}, ("namespace", "key")),
        ("RegisterReaction", {"name": "n", "subject_pattern": "/tape/**"}, ("reaction_id", "name")),
        ("DeregisterReaction", {}, ("reaction_id",)),
        ("ClaimTasks", {"owner": "w"}, ("reaction_id",)),
        ("CreateSession", {"app_name": "a", "user_id": "u", "session_id": "s"}, ("app_name", "user_id", "session_id")),
        ("GetSession", {"app_name": "a", "user_id": "u", "session_id": "s"}, ("app_name", "user_id", "session_id")),
        ("DeleteSession", {"app_name": "a", "user_id": "u", "session_id": "s"}, ("app_name", "user_id", "session_id")),
        ("ListSessions", {"app_name": "a", "user_id": "u"}, ("app_name", "user_id")),
    ],
)
def test_a_name_that_no_database_can_hold_is_a_mistake(tape: Tape, rpc: str, fields: Any, key: tuple[str, ...]) -> None:
    """Postgres has no NUL in a text. The store is there all the same, and the same request is not worth repeating."""
    for field in key:
        run = {"run_id": tape.begin()} if "run_id" in SERVICE.methods_by_name[rpc].input_type.fields_by_name else {}
        try:
            getattr(tape, rpc)(**{**run, **fields, field: NUL})
        except grpc.RpcError as error:
            assert read(error).status in (Status.INVALID_ARGUMENT, Status.NOT_FOUND, Status.PERMISSION_DENIED), (
                field,
                read(error),
            )


def test_numbers_at_both_ends_in_any_field_of_any_request_break_nothing(tape: Tape) -> None:
    run = tape.begin()
    wide = {FieldDescriptor.TYPE_INT64: 63, FieldDescriptor.TYPE_INT32: 31, FieldDescriptor.TYPE_ENUM: 31}
    for method in UNARY:
        for field in method.input_type.fields:
            bits = wide.get(field.type)
            if bits is None or field.is_repeated:
                continue
            for value in (-(2 ** (bits - 1)) * 2 if bits == 63 else -(2**31), -1, 2**bits - 1):
                fields: dict[str, Any] = {field.name: value}
                if "run_id" in method.input_type.fields_by_name:
                    fields["run_id"] = run
                try:
                    getattr(tape, method.name)(**fields)
                except grpc.RpcError as error:
                    refusal = read(error)
                    assert refusal.code.startswith("TAPE-") and refusal.status not in (Status.INTERNAL, Status.UNKNOWN), (
                        method.name,
                        fields,
                        refusal,
                    )
    answers(tape)


def test_a_name_of_512_bytes_fits_and_one_more_is_refused(tape: Tape) -> None:
    at = identity(app_name="a" * 512, user_id="é" * 256, session_id="s" * 512, invocation_id=fresh("i").ljust(512, "i"))
    assert tape.begin(**at)
    for field in ("app_name", "user_id", "session_id", "invocation_id", "lease_owner"):
        refused(Status.INVALID_ARGUMENT, f"{field} 513 512", tape.BeginRun, **identity(**{field: "a" * 513}))
    run = tape.begin()
    for field in ("tool_name", "custom_key", "business_key", "connector", "scope"):
        fields = {"run_id": run, "tool_name": "t", field: "a" * 513}
        status = Status.PERMISSION_DENIED if field == "scope" else Status.INVALID_ARGUMENT
        refused(status, "" if field == "scope" else f"{field} 513 512", tape.BeginEffect, **fields)


def test_names_of_labels_and_scopes_have_the_same_bound(tape: Tape) -> None:
    refused(Status.INVALID_ARGUMENT, "labels 512", tape.BeginRun, **identity(labels={HUGE: "1"}))
    refused(Status.INVALID_ARGUMENT, "scopes 512", tape.BeginRun, **identity(scopes=["read", HUGE]))
    refused(Status.INVALID_ARGUMENT, "labels", tape.BeginRun, **identity(labels={str(n): "1" for n in range(10_000)}))


def test_a_long_reason_does_not_hide_the_refusal(tape: Tape) -> None:
    run = tape.begin()
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_CANCELLED, detail_json='{"reason":"' + HUGE + '"}')
    refused(Status.FAILED_PRECONDITION, "cancelled", tape.RecordDecision, run_id=run, response_json="1")
    many = tape.begin(scopes=[f"scope-{number}" for number in range(20_000)])
    refused(Status.PERMISSION_DENIED, "wire", tape.BeginEffect, run_id=many, tool_name="t", scope="wire")


def test_a_request_that_is_too_large_is_refused_with_its_limit(tape: Tape) -> None:
    run = tape.begin()
    refusal = refused(
        Status.INVALID_ARGUMENT, "large", tape.RecordDecision, run_id=run, response_json='"' + "x" * (40 << 20) + '"'
    )
    assert "4 MiB" in refusal.text
    answers(tape)


@pytest.mark.parametrize("body", [b"\xff\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x08\x01"])
def test_bytes_that_are_no_request_are_refused(tape: Tape, body: bytes) -> None:
    """Broken framing, a length beyond the end, text that is not UTF-8, the right number with the wrong type."""
    for rpc in ("BeginRun", "GetRun", "WriteValue"):
        with pytest.raises(grpc.RpcError) as caught:
            tape.raw(rpc, body)
        refusal = read(caught.value)
        assert (refusal.status, refusal.code[:5]) == (Status.INVALID_ARGUMENT, "TAPE-"), refusal
    answers(tape)


def test_fields_that_the_server_does_not_know_are_no_mistake(tape: Tape) -> None:
    request = pb.BeginRunRequest(**identity()).SerializeToString() + b"\xca\x3e\x03new"  # field 1001
    answer = contract.BeginRunResponse.FromString(tape.raw("BeginRun", request))
    assert answer.run_id


def test_a_method_that_is_none_is_unimplemented(tape: Tape) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        tape.channel.unary_unary("/tape.v1.Tape/MakeCoffee")(b"", timeout=30)
    assert read(caught.value).status == Status.UNIMPLEMENTED and read(caught.value).code.startswith("TAPE-")


def test_a_deadline_in_the_past_leaves_nothing_half_done(tape: Tape) -> None:
    run = tape.begin()
    decision = {"run_id": run, "response_json": "1"}
    for index in range(50):
        with contextlib.suppress(grpc.RpcError):
            tape.RecordDecision(**decision, decision_index=index, patience_s=[-1, 0, 0.0005, 0.002][index % 4])
    # Whatever was written was written whole: the next one finds a journal without holes.
    for index in range(50):
        tape.RecordDecision(**decision, decision_index=index)
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
    entries = list(tape.SubscribeRun(run_id=run))
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert sum(entry.kind.startswith("decision") for entry in entries) == 50


def test_an_effects_deadline_in_the_past_is_taken_and_kept(tape: Tape) -> None:
    run = tape.begin()
    assert tape.BeginEffect(run_id=run, tool_name="t", deadline_ms=1).status == pb.EFFECT_STATUS_PENDING


@pytest.mark.parametrize("id", ["x" * 513, "x" * 4000])
def test_a_request_id_has_a_bound(tape: Tape, id: str) -> None:
    run = tape.begin()
    refused(Status.INVALID_ARGUMENT, "request_id 512", tape.ChargeBudget, run_id=run, usd=1, request_id=id)


def test_a_request_id_belongs_to_one_request(tape: Tape) -> None:
    run = tape.begin()
    tape.ChargeBudget(run_id=run, usd=1, request_id="r-1")
    try:
        tape.SendSignal(run_id=run, gate_name="g", resolution_json="1", request_id="r-1")
    except grpc.RpcError as error:
        assert read(error).status in (Status.INVALID_ARGUMENT, Status.ALREADY_EXISTS), read(error)
    else:
        assert tape.AwaitSignal(run_id=run, gate_name="g").delivered, "or it is another request, and done"


def test_other_clients_are_served_meanwhile(tape: Tape) -> None:
    """One client with a hundred streams that nobody reads, and another one that is answered."""
    run = tape.begin()
    streams = [tape.SubscribeRun(run_id=run, patience_s=60) for _ in range(100)]
    other = Tape(tape.target)
    answers(other)
    other.close()
    for stream in streams:
        stream.cancel()
    answers(tape)
