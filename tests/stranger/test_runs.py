"""Runs: who they are, the lease without a fence, how they end."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc import StatusCode as Status

from client import Tape, fresh, identity, pb, read, refused, until

ENDINGS = {pb.RUN_STATUS_TERMINAL, pb.RUN_STATUS_FAILED, pb.RUN_STATUS_CANCELLED}


def test_the_same_identity_is_the_same_run(tape: Tape) -> None:
    who = identity()
    first = tape.BeginRun(**who)
    assert first.run_id and not first.resumed and first.status == pb.RUN_STATUS_RUNNING
    again = tape.BeginRun(**who)
    assert (again.run_id, again.resumed, again.status) == (first.run_id, True, pb.RUN_STATUS_RUNNING)


@pytest.mark.parametrize("part", ["app_name", "user_id", "session_id", "invocation_id"])
def test_each_part_of_the_identity_counts(tape: Tape, part: str) -> None:
    who = identity()
    run = tape.begin(**who)
    assert tape.begin(**{**who, part: fresh("other")}) != run


def test_parts_of_the_identity_do_not_run_into_each_other(tape: Tape) -> None:
    one = fresh()
    assert tape.begin(app_name=one, user_id="a/b", session_id="c", invocation_id="i") != tape.begin(
        app_name=one, user_id="a", session_id="b/c", invocation_id="i"
    )


def test_a_run_is_as_it_was_begun(tape: Tape) -> None:
    who = identity(
        actor="ops@bank",
        subject="customer:7",
        agent_id="treasurer",
        aiplex_instance_id="ai-1",
        gateway_route="/eu",
        scopes=["wire", "read"],
        labels={"team": "blue", "": "empty key too"} | {"ключ": "значение"},
        lease_ttl_ms=60_000,
    )
    del who["labels"][""]
    run = tape.GetRun(run_id=tape.begin(**who))
    for name, value in who.items():
        if name == "lease_ttl_ms":
            continue
        got = getattr(run, name)
        assert (dict(got) if name == "labels" else list(got) if name == "scopes" else got) == value, name
    assert run.status == pb.RUN_STATUS_RUNNING and run.ended_at_ms == 0 and run.waiting_on_gate == ""
    assert 0 < run.lease_expires_at_ms - run.started_at_ms <= 61_000


def test_a_lease_lasts_two_minutes_unless_told(tape: Tape) -> None:
    run = tape.GetRun(run_id=tape.begin())
    assert 119_000 <= run.lease_expires_at_ms - run.started_at_ms <= 121_000


def test_another_owner_waits_for_the_lease_and_is_told_whose_it_is(tape: Tape) -> None:
    who = identity()
    run = tape.GetRun(run_id=tape.begin(**who))
    other = who | {"lease_owner": "worker-2"}
    for refusal in (
        refused(Status.ABORTED, "worker-1 lease", tape.BeginRun, **other),
        refused(Status.ABORTED, "worker-1 lease", tape.ResumeRun, run_id=run.run_id, lease_owner="worker-2"),
    ):
        told = refusal.text + str(refusal.metadata)
        assert "worker-1" in told and str(run.lease_expires_at_ms) in told, refusal
    assert tape.GetRun(run_id=run.run_id).lease_owner == "worker-1"


def test_the_same_owner_renews(tape: Tape) -> None:
    who = identity(lease_ttl_ms=5_000)
    run = tape.GetRun(run_id=tape.begin(**who))
    renewed = tape.ResumeRun(run_id=run.run_id, lease_owner="worker-1", lease_ttl_ms=300_000).run
    assert renewed.lease_expires_at_ms > run.lease_expires_at_ms + 200_000
    tape.BeginRun(**who | {"lease_ttl_ms": 900_000})
    assert tape.GetRun(run_id=run.run_id).lease_expires_at_ms > renewed.lease_expires_at_ms + 500_000


def test_a_lease_that_ran_out_is_taken_over_without_any_fence(tape: Tape) -> None:
    who = identity(lease_ttl_ms=1)
    run = tape.begin(**who)
    taken = until(lambda: resumed(tape, run, "worker-2"))
    assert (taken.lease_owner, taken.status) == ("worker-2", pb.RUN_STATUS_RUNNING)
    refused(Status.ABORTED, "worker-2", tape.BeginRun, **who)
    # Plain writes name no owner, so nobody can tell whose they are: they are taken.
    assert tape.RecordDecision(run_id=run, decision_index=0, model="m", response_json="{}").seq > 0


def resumed(tape: Tape, run: str, owner: str, **fields: Any) -> Any:
    """The run, once the lease of who has it has run out."""
    try:
        return tape.ResumeRun(run_id=run, lease_owner=owner, **fields).run
    except grpc.RpcError as error:
        assert read(error).status == Status.ABORTED
        return None


def test_a_plain_driver_is_shut_out_once_a_fenced_one_has_taken_over(tape: Tape) -> None:
    run = tape.begin(lease_ttl_ms=1)
    tape.RecordDecision(run_id=run, decision_index=0, response_json='"mine"')
    newer = until(lambda: resumed(tape, run, "worker-2", fenced=True))
    assert newer.fence > 1
    refused(Status.ABORTED, "fence", tape.RecordDecision, run_id=run, decision_index=1, response_json='"mine"')
    refused(Status.ABORTED, "fence", tape.EndRun, run_id=run, status=pb.RUN_STATUS_TERMINAL)
    tape.RecordDecision(run_id=run, decision_index=1, response_json='"theirs"', fence=newer.fence)
    # From outside, without a fence: signals, timers, cancel.
    assert tape.SendSignal(run_id=run, gate_name="g", resolution_json="1").accepted
    tape.SetTimer(run_id=run, timer_id="t", fire_at_ms=1, kind="mine")
    assert tape.EndRun(run_id=run, status=pb.RUN_STATUS_CANCELLED).run.status == pb.RUN_STATUS_CANCELLED


def test_a_plain_write_that_names_an_owner_is_held_to_it(tape: Tape) -> None:
    run = tape.begin()
    refused(Status.ABORTED, "worker-1", tape.RecordDecision, run_id=run, response_json="1", lease_owner="worker-9")
    tape.RecordDecision(run_id=run, response_json="1", lease_owner="worker-1")


@pytest.mark.parametrize("ending", sorted(ENDINGS | {pb.RUN_STATUS_STUCK}))
def test_an_ending_is_recorded_once(tape: Tape, ending: int) -> None:
    who = identity()
    run = tape.begin(**who)
    before = tape.GetRun(run_id=run).seq_cursor
    ended = tape.EndRun(run_id=run, status=ending, detail_json='{"why": "done"}').run
    assert ended.status == ending and ended.ended_at_ms > 0 and ended.lease_owner == ""
    again = tape.EndRun(run_id=run, status=ending, detail_json='{"why": "done"}').run
    assert again == ended
    begun = tape.BeginRun(**who)
    assert (begun.run_id, begun.resumed, begun.status) == (run, True, ending)
    assert tape.GetRun(run_id=run).lease_owner == ""
    refused(Status.FAILED_PRECONDITION, "", tape.ResumeRun, run_id=run, lease_owner="worker-2")
    other = pb.RUN_STATUS_FAILED if ending == pb.RUN_STATUS_TERMINAL else pb.RUN_STATUS_TERMINAL
    refused(Status.FAILED_PRECONDITION, "", tape.EndRun, run_id=run, status=other)
    assert tape.GetRun(run_id=run).status == ending
    entries = list(tape.SubscribeRun(run_id=run))
    assert len(entries) == before + 1, entries


@pytest.mark.parametrize("ending", [0, pb.RUN_STATUS_RUNNABLE, pb.RUN_STATUS_RUNNING, pb.RUN_STATUS_WAITING, 99, -1])
def test_what_is_no_ending_ends_nothing(tape: Tape, ending: int) -> None:
    run = tape.begin()
    refused(Status.INVALID_ARGUMENT, "status", tape.EndRun, run_id=run, status=ending)
    assert tape.GetRun(run_id=run).status == pb.RUN_STATUS_RUNNING


def test_a_cancelled_run_tells_its_driver_so(tape: Tape) -> None:
    run = tape.begin()
    open_effect = tape.BeginEffect(run_id=run, tool_name="wire", request_json="{}")
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_CANCELLED, detail_json='{"reason": "too late"}')
    refused(Status.FAILED_PRECONDITION, "cancel", tape.RecordDecision, run_id=run, decision_index=1, response_json="1")
    refused(Status.FAILED_PRECONDITION, "cancel", tape.BeginEffect, run_id=run, tool_name="wire", call_index=1)
    refused(Status.FAILED_PRECONDITION, "cancel", tape.AwaitSignal, run_id=run, gate_name="g")
    # Its tool is still at it, so its driver is the one to say how that ends: not done, because it was cancelled.
    at = {"run_id": run, "idempotency_key": open_effect.idempotency_key}
    refused(Status.FAILED_PRECONDITION, "cancel", tape.CompleteEffect, **at, status=pb.EFFECT_STATUS_CONFIRMED)
    effect = tape.CompleteEffect(**at, status=pb.EFFECT_STATUS_FAILED, error_json='{"code":"cancelled"}')
    assert effect.status == pb.EFFECT_STATUS_FAILED and "cancelled" in effect.error_json
    assert list(tape.ListObligations(run_id=run).obligations) == [], "a cancel never compensates"
    refused(Status.FAILED_PRECONDITION, "cancel", tape.EndRun, run_id=run, status=pb.RUN_STATUS_TERMINAL)


def test_runs_that_nobody_drives_are_due_for_recovery(tape: Tape) -> None:
    lapsed, held, ended = tape.begin(lease_ttl_ms=1), tape.begin(), tape.begin(lease_ttl_ms=1)
    tape.EndRun(run_id=ended, status=pb.RUN_STATUS_TERMINAL)
    waiting = tape.begin()
    tape.AwaitSignal(run_id=waiting, gate_name="go", payload_json="{}")
    signalled = tape.begin()
    tape.AwaitSignal(run_id=signalled, gate_name="go", payload_json="{}")
    tape.SendSignal(run_id=signalled, gate_name="go", resolution_json='"yes"')

    def due(**fields: int) -> set[str]:
        return {run.run_id for run in tape.ListRunsToRecover(limit=10_000, **fields).runs}

    until(lambda: lapsed in due())
    now = due()
    assert signalled in now
    assert not now & {held, ended, waiting}
    # Of a time to come, as the caller's clock has it.
    later = due(now_ms=tape.GetRun(run_id=held).lease_expires_at_ms + 1)
    assert {held, lapsed, signalled} <= later and not later & {ended, waiting}
    assert len(tape.ListRunsToRecover(limit=1).runs) == 1


def test_hundred_runs_are_listed_unless_told(tape: Tape) -> None:
    far = tape.GetRun(run_id=tape.begin()).lease_expires_at_ms + 600_000
    for _ in range(101):
        tape.begin(lease_ttl_ms=300_000)
    assert len(tape.ListRunsToRecover(now_ms=far).runs) == 100
    refused(Status.INVALID_ARGUMENT, "limit -1", tape.ListRunsToRecover, limit=-1)


@pytest.mark.parametrize(
    ("rpc", "fields"),
    [
        ("GetRun", {}),
        ("ResumeRun", {"lease_owner": "w"}),
        ("EndRun", {"status": pb.RUN_STATUS_TERMINAL}),
        ("SubscribeRun", {}),
        ("RecordDecision", {"response_json": "1"}),
        ("GetDecision", {}),
        ("BeginEffect", {"tool_name": "t"}),
        ("CompleteEffect", {"idempotency_key": "k", "status": pb.EFFECT_STATUS_CONFIRMED}),
        ("ReconcileEffect", {"idempotency_key": "k", "resolved_status": pb.EFFECT_STATUS_CONFIRMED}),
        ("ClaimEffectDispatch", {"idempotency_key": "k", "claimer": "c"}),
        ("RecordDispatchAttempt", {"idempotency_key": "k", "error": "e"}),
        ("RecordExternalObservation", {"idempotency_key": "k", "resolution": pb.EFFECT_RESOLUTION_CONFIRMED}),
        ("RegisterCompensation", {"effect_key": "k", "kind": "undo"}),
        ("ListObligations", {}),
        ("ClaimObligation", {"obligation_seq": 1, "claimer": "c"}),
        ("RecordObligationAttempt", {"obligation_seq": 1, "error": "e"}),
        ("ResolveObligation", {"obligation_seq": 1, "status": pb.OBLIGATION_STATUS_COMPENSATED}),
        ("SetBudget", {"usd_cap": 1.0}),
        ("AdmitBudget", {"usd_estimate": 1.0}),
        ("ChargeBudget", {"usd": 1.0}),
        ("AwaitSignal", {"gate_name": "g"}),
        ("SendSignal", {"gate_name": "g"}),
        ("SetTimer", {"timer_id": "t", "fire_at_ms": 1, "kind": "mine"}),
        ("CompactRun", {}),
    ],
)
def test_a_run_that_is_not_there_is_not_found(tape: Tape, rpc: str, fields: dict[str, Any]) -> None:
    missing = f"r-{fresh()}"
    refusal = refused(Status.NOT_FOUND, missing, getattr(tape, rpc), run_id=missing, **fields)
    assert refusal.code == refused(Status.NOT_FOUND, "", tape.GetRun, run_id="nobody").code
    refused(Status.INVALID_ARGUMENT, "run_id" if rpc != "SendSignal" else "", getattr(tape, rpc), **fields)


@pytest.mark.parametrize("field", ["app_name", "invocation_id"])
def test_who_begins_says_who(tape: Tape, field: str) -> None:
    refused(Status.INVALID_ARGUMENT, field, tape.BeginRun, **identity(**{field: ""}))


def test_a_lease_of_no_length_is_refused(tape: Tape) -> None:
    refused(Status.INVALID_ARGUMENT, "lease_ttl_ms -5", tape.BeginRun, **identity(lease_ttl_ms=-5))
    run = tape.begin()
    refused(
        Status.INVALID_ARGUMENT, "lease_ttl_ms", tape.ResumeRun, run_id=run, lease_owner="worker-1", lease_ttl_ms=2**63 - 1
    )
