"""Obligations: what has to be undone, by whoever claims it, in reverse order."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode as Status

from client import Tape, pb, refused, until

PENDING, COMMITTED, COMPENSATED, STUCK = (
    pb.OBLIGATION_STATUS_PENDING,
    pb.OBLIGATION_STATUS_COMMITTED,
    pb.OBLIGATION_STATUS_COMPENSATED,
    pb.OBLIGATION_STATUS_STUCK,
)


def owed(tape: Tape, **fields: Any) -> tuple[str, Any]:
    """A run with something to undo."""
    run = tape.begin()
    key = tape.BeginEffect(run_id=run, tool_name="book").idempotency_key
    tape.CompleteEffect(run_id=run, idempotency_key=key, status=pb.EFFECT_STATUS_CONFIRMED, response_json='{"seat":"4A"}')
    asked = {"kind": "unbook", "payload_json": '{"seat":"4A"}', "compensator_ref": "app.undo:unbook", **fields}
    return run, tape.RegisterCompensation(run_id=run, effect_key=key, **asked)


def one(tape: Tape, run: str) -> Any:
    return tape.ListObligations(run_id=run).obligations[0]


def unresolved(tape: Tape, run: str, **fields: Any) -> list[int]:
    listed = tape.ListUnresolvedObligations(limit=1000, **fields).obligations
    return [obligation.seq for obligation in listed if obligation.run_id == run]


def test_what_is_registered_is_due_at_once(tape: Tape) -> None:
    run, obligation = owed(tape)
    assert (obligation.status, obligation.kind, obligation.payload_json) == (PENDING, "unbook", '{"seat":"4A"}')
    assert (obligation.compensator_ref, obligation.attempts, obligation.max_attempts) == ("app.undo:unbook", 0, 5)
    assert obligation.seq > 0 and one(tape, run) == obligation
    assert unresolved(tape, run) == [obligation.seq]


def test_registering_again_owes_it_once(tape: Tape) -> None:
    run, obligation = owed(tape)
    before = tape.GetRun(run_id=run).seq_cursor
    again = tape.RegisterCompensation(
        run_id=run,
        effect_key=obligation.effect_key,
        kind="unbook",
        payload_json='{"seat":"4A"}',
        compensator_ref="app.undo:unbook",
    )
    assert again == obligation and tape.GetRun(run_id=run).seq_cursor == before
    other = tape.RegisterCompensation(run_id=run, effect_key=obligation.effect_key, kind="apologise")
    assert other.seq != obligation.seq


def test_nothing_else_creates_one(tape: Tape) -> None:
    run = tape.begin()
    key = tape.BeginEffect(run_id=run, tool_name="t").idempotency_key
    tape.CompleteEffect(run_id=run, idempotency_key=key, status=pb.EFFECT_STATUS_CONFIRMED)
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_FAILED)
    assert not tape.ListObligations(run_id=run).obligations


def test_claim_and_resolve(tape: Tape) -> None:
    run, obligation = owed(tape)
    at = {"run_id": run, "obligation_seq": obligation.seq}
    claimed = tape.ClaimObligation(**at, claimer="undoer")
    assert claimed.acquired and claimed.obligation.status == COMMITTED and claimed.obligation.claimed_by == "undoer"
    assert claimed.obligation.attempts == 1
    second = tape.ClaimObligation(**at, claimer="another")
    assert not second.acquired and second.obligation.claimed_by == "undoer"
    assert unresolved(tape, run, include_pending=True) == []
    done = tape.ResolveObligation(**at, status=COMPENSATED, result_json='{"refund": 1}')
    assert (done.status, done.result_json) == (COMPENSATED, '{"refund": 1}')
    before = tape.GetRun(run_id=run).seq_cursor
    assert tape.ResolveObligation(**at, status=COMPENSATED, result_json='{"refund": 1}') == done
    assert tape.ResolveObligation(**at, status=STUCK) == done, "what is settled stays"
    assert not tape.ClaimObligation(**at, claimer="late").acquired
    assert tape.RecordObligationAttempt(**at, error="late") == done
    assert tape.GetRun(run_id=run).seq_cursor == before
    assert not tape.ListObligations(run_id=run, only_unresolved=True).obligations
    assert unresolved(tape, run) == []


def test_a_failed_attempt_waits_and_five_are_the_limit(tape: Tape) -> None:
    run, obligation = owed(tape)
    at = {"run_id": run, "obligation_seq": obligation.seq}
    for attempt in range(1, 6):
        until(lambda: tape.ClaimObligation(**at, claimer="undoer").acquired)
        row = tape.RecordObligationAttempt(**at, error=f"no {attempt}", next_attempt_at_ms=1)
        assert row.attempts == attempt and row.last_error == f"no {attempt}"
        assert row.status == (STUCK if attempt == 5 else PENDING)
    assert unresolved(tape, run, include_stuck=True) == [obligation.seq]
    assert unresolved(tape, run, include_pending=True) == []


def test_an_attempt_is_not_due_before_its_time(tape: Tape) -> None:
    run, obligation = owed(tape)
    at = {"run_id": run, "obligation_seq": obligation.seq}
    claimed = tape.ClaimObligation(**at, claimer="undoer").obligation
    later = claimed.claim_expires_at_ms + 3_600_000
    row = tape.RecordObligationAttempt(**at, error="503", next_attempt_at_ms=later, request_id="undo-1")
    assert (row.status, row.claimed_by) == (PENDING, "") and abs(row.next_attempt_at_ms - later) <= 1000
    assert tape.RecordObligationAttempt(**at, error="503", next_attempt_at_ms=later, request_id="undo-1") == row
    assert not tape.ClaimObligation(**at, claimer="undoer").acquired
    assert unresolved(tape, run, include_pending=True) == []
    assert unresolved(tape, run, include_pending=True, now_ms=later + 2000) == [obligation.seq]


def test_no_next_time_is_stuck_at_once(tape: Tape) -> None:
    run, obligation = owed(tape)
    at = {"run_id": run, "obligation_seq": obligation.seq}
    tape.ClaimObligation(**at, claimer="undoer")
    row = tape.RecordObligationAttempt(**at, error="cannot")
    assert (row.status, row.last_error) == (STUCK, "cannot")


def test_an_attempt_of_ones_own_limit(tape: Tape) -> None:
    run, obligation = owed(tape, max_attempts=1)
    assert obligation.max_attempts == 1
    tape.ClaimObligation(run_id=run, obligation_seq=obligation.seq, claimer="undoer")
    row = tape.RecordObligationAttempt(run_id=run, obligation_seq=obligation.seq, error="no", next_attempt_at_ms=1)
    assert row.status == STUCK


def test_a_claim_that_ran_out_is_listed_and_taken(tape: Tape) -> None:
    run, obligation = owed(tape)
    at = {"run_id": run, "obligation_seq": obligation.seq}
    tape.ClaimObligation(**at, claimer="dead", lease_ttl_ms=1)
    until(lambda: unresolved(tape, run, include_committed_expired=True) == [obligation.seq])
    again = tape.ClaimObligation(**at, claimer="undoer")
    assert again.acquired and again.obligation.claimed_by == "undoer" and again.obligation.attempts == 2


def test_obligations_are_listed_by_status(tape: Tape) -> None:
    run, first = owed(tape)
    second = tape.RegisterCompensation(run_id=run, effect_key=first.effect_key, kind="apologise")
    tape.ClaimObligation(run_id=run, obligation_seq=first.seq, claimer="u")
    tape.ResolveObligation(run_id=run, obligation_seq=first.seq, status=COMPENSATED)

    def listed(**fields: Any) -> list[int]:
        return [o.seq for o in tape.ListObligations(run_id=run, **fields).obligations]

    assert sorted(listed()) == [first.seq, second.seq]
    assert listed(only_unresolved=True) == [second.seq]
    assert listed(status_filter=COMPENSATED) == [first.seq]
    assert listed(status_filter=PENDING) == [second.seq]
    assert listed(status_filter=STUCK) == []
    refused(Status.INVALID_ARGUMENT, "status_filter 17", tape.ListObligations, run_id=run, status_filter=17)


@pytest.mark.parametrize("wrong", [0, PENDING, COMMITTED, 9])
def test_what_settles_nothing_is_refused(tape: Tape, wrong: int) -> None:
    run, obligation = owed(tape)
    refused(
        Status.INVALID_ARGUMENT, "status", tape.ResolveObligation, run_id=run, obligation_seq=obligation.seq, status=wrong
    )
    assert one(tape, run).status == PENDING


def test_what_is_wrong_is_named(tape: Tape) -> None:
    run, obligation = owed(tape)
    at = {"run_id": run, "obligation_seq": obligation.seq}
    key = obligation.effect_key
    refused(
        Status.INVALID_ARGUMENT,
        "max_attempts -1",
        tape.RegisterCompensation,
        run_id=run,
        effect_key=key,
        kind="k",
        max_attempts=-1,
    )
    refused(
        Status.INVALID_ARGUMENT,
        "payload_json JSON",
        tape.RegisterCompensation,
        run_id=run,
        effect_key=key,
        kind="k",
        payload_json="{",
    )
    refused(Status.INVALID_ARGUMENT, "claimer", tape.ClaimObligation, **at)
    refused(Status.INVALID_ARGUMENT, "lease_ttl_ms -1", tape.ClaimObligation, **at, claimer="c", lease_ttl_ms=-1)
    refused(Status.INVALID_ARGUMENT, "next_attempt_at_ms -1", tape.RecordObligationAttempt, **at, next_attempt_at_ms=-1)
    refused(Status.INVALID_ARGUMENT, "result_json JSON", tape.ResolveObligation, **at, status=COMPENSATED, result_json="{")
    refused(Status.NOT_FOUND, "987654", tape.ClaimObligation, run_id=run, obligation_seq=987654, claimer="c")
    refused(Status.NOT_FOUND, "", tape.ClaimObligation, run_id=run, obligation_seq=-1, claimer="c")
    refused(Status.INVALID_ARGUMENT, "limit -1", tape.ListUnresolvedObligations, limit=-1)
    assert one(tape, run) == obligation


def test_a_compensating_run_takes_no_more_of_its_driver_and_ends_failed(tape: Tape) -> None:
    run, obligation = owed(tape)
    assert tape.EndRun(run_id=run, status=pb.RUN_STATUS_COMPENSATING).run.status == pb.RUN_STATUS_COMPENSATING
    refused(Status.FAILED_PRECONDITION, "", tape.RecordDecision, run_id=run, response_json="1")
    tape.ClaimObligation(run_id=run, obligation_seq=obligation.seq, claimer="u")
    tape.ResolveObligation(run_id=run, obligation_seq=obligation.seq, status=COMPENSATED)
    ended = tape.EndRun(run_id=run, status=pb.RUN_STATUS_FAILED).run
    assert ended.status == pb.RUN_STATUS_FAILED and ended.ended_at_ms > 0
    refused(Status.FAILED_PRECONDITION, "", tape.ResumeRun, run_id=run, lease_owner="w")


def test_the_compensation_reactor_sends_nothing_of_a_run_that_is_undone(live: Tape) -> None:
    run = live.begin()
    key = live.BeginEffect(
        run_id=run, tool_name="wire", dispatch_mode=pb.EFFECT_DISPATCH_MODE_OUTBOX, connector="outside"
    ).idempotency_key
    live.EndRun(run_id=run, status=pb.RUN_STATUS_COMPENSATING)
    ended = until(lambda: (state := live.GetRun(run_id=run)).status == pb.RUN_STATUS_FAILED and state)
    assert ended.ended_at_ms > 0
    effect = live.GetEffect(run_id=run, idempotency_key=key).effect
    assert effect.status == pb.EFFECT_STATUS_FAILED and "cancelled" in effect.error_json
