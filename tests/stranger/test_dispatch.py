"""A dispatcher outside of the server, as anyone could write one: list, claim, send, record."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode as Status

from client import Tape, fresh, pb, refused, until

CONFIRMED, FAILED, UNKNOWN, PENDING = (
    pb.EFFECT_STATUS_CONFIRMED,
    pb.EFFECT_STATUS_FAILED,
    pb.EFFECT_STATUS_UNKNOWN,
    pb.EFFECT_STATUS_PENDING,
)
NON_IDEMPOTENT, IDEMPOTENT = pb.EFFECT_SEMANTICS_NON_IDEMPOTENT, pb.EFFECT_SEMANTICS_IDEMPOTENT
FAR = 1 << 42


def outbox(tape: Tape, semantics: int = NON_IDEMPOTENT, **fields: Any) -> dict[str, str]:
    """An effect that waits for its dispatch, by its run and key."""
    run = tape.begin()
    begun = tape.BeginEffect(
        run_id=run,
        **{
            "tool_name": "wire",
            "semantics": semantics,
            "dispatch_mode": pb.EFFECT_DISPATCH_MODE_OUTBOX,
            "connector": "outside",
            "business_key": fresh("b"),
            "request_json": '{"amount":"12.50"}',
            **fields,
        },
    )
    return {"run_id": run, "idempotency_key": begun.idempotency_key}


def row(tape: Tape, at: dict[str, str]) -> Any:
    return tape.GetEffect(**at).effect


def is_due(tape: Tape, at: dict[str, str], **fields: Any) -> bool:
    return any(one.run_id == at["run_id"] for one in tape.ListEffectsToDispatch(limit=10_000, **fields).effects)


def test_what_waits_is_listed_by_connector(tape: Tape) -> None:
    name = fresh("connector")
    at = outbox(tape, connector=name)
    listed = tape.ListEffectsToDispatch(connector=name).effects
    assert [(one.run_id, one.idempotency_key) for one in listed] == [(at["run_id"], at["idempotency_key"])]
    assert listed[0] == row(tape, at) and listed[0].request_json == '{"amount":"12.50"}'
    assert is_due(tape, at) and not is_due(tape, at, connector="elsewhere")
    for _ in range(2):
        outbox(tape, connector=name)
    assert len(tape.ListEffectsToDispatch(connector=name, limit=2).effects) == 2
    refused(Status.INVALID_ARGUMENT, "limit -7", tape.ListEffectsToDispatch, limit=-7)
    inline = tape.begin()
    tape.BeginEffect(run_id=inline, tool_name="t", connector=name)
    assert len(tape.ListEffectsToDispatch(connector=name).effects) == 3


def test_one_dispatcher_claims_it(tape: Tape) -> None:
    at = outbox(tape)
    mine = tape.ClaimEffectDispatch(**at, claimer="one")
    assert mine.acquired and mine.effect.dispatch_claimed_by == "one" and mine.effect.status == PENDING
    assert mine.effect.dispatch_attempts == 1
    claimed_for = mine.effect.dispatch_claim_expires_at_ms - tape.GetRun(run_id=at["run_id"]).started_at_ms
    assert 59_000 <= claimed_for <= 70_000, "a minute unless told"
    theirs = tape.ClaimEffectDispatch(**at, claimer="two")
    assert not theirs.acquired and theirs.effect.dispatch_claimed_by == "one"
    assert not is_due(tape, at)
    refused(Status.INVALID_ARGUMENT, "claimer", tape.ClaimEffectDispatch, **at)
    refused(Status.INVALID_ARGUMENT, "lease_ttl_ms -1", tape.ClaimEffectDispatch, **at, claimer="x", lease_ttl_ms=-1)


def test_an_inline_effect_is_nobodys_to_dispatch(tape: Tape) -> None:
    run = tape.begin()
    key = tape.BeginEffect(run_id=run, tool_name="t").idempotency_key
    assert not tape.ClaimEffectDispatch(run_id=run, idempotency_key=key, claimer="c").acquired


def test_an_outbox_effect_is_not_its_drivers_to_complete(tape: Tape) -> None:
    at = outbox(tape)
    refused(Status.FAILED_PRECONDITION, "outbox", tape.CompleteEffect, **at, status=CONFIRMED)
    assert row(tape, at).status == PENDING


def test_a_confirmed_outcome_keeps_reference_and_response(tape: Tape) -> None:
    at = outbox(tape)
    tape.ClaimEffectDispatch(**at, claimer="one")
    done = tape.RecordExternalObservation(
        **at, resolution=pb.EFFECT_RESOLUTION_CONFIRMED, external_ref="W-1", response_json='{"wire":"W-1"}'
    )
    assert (done.status, done.external_ref, done.response_json) == (CONFIRMED, "W-1", '{"wire":"W-1"}')
    assert done.dispatch_claimed_by == ""
    for resolution in (pb.EFFECT_RESOLUTION_CONFIRMED, pb.EFFECT_RESOLUTION_FAILED, pb.EFFECT_RESOLUTION_ABSENT):
        assert tape.RecordExternalObservation(**at, resolution=resolution, external_ref="W-9") == done
    assert tape.RecordDispatchAttempt(**at, error="late") == done
    late = tape.ClaimEffectDispatch(**at, claimer="two")
    assert not late.acquired and late.effect == done
    # The driver is answered with it.
    wire = {"tool_name": "wire", "semantics": NON_IDEMPOTENT, "dispatch_mode": pb.EFFECT_DISPATCH_MODE_OUTBOX}
    again = tape.BeginEffect(run_id=at["run_id"], **wire, connector="outside", business_key=done.business_key)
    assert (again.status, again.response_json) == (CONFIRMED, '{"wire":"W-1"}')


def test_a_failed_attempt_waits_and_is_due_again(tape: Tape) -> None:
    at = outbox(tape, IDEMPOTENT)
    tape.ClaimEffectDispatch(**at, claimer="one")
    soon = row(tape, at).dispatch_claim_expires_at_ms + 5_000_000
    waits = tape.RecordDispatchAttempt(**at, error="503", next_dispatch_at_ms=soon, request_id="attempt-1")
    assert (waits.status, waits.last_dispatch_error, waits.next_dispatch_at_ms) == (PENDING, "503", soon)
    assert waits.dispatch_attempts == 1 and waits.dispatch_claimed_by == ""
    assert not is_due(tape, at) and is_due(tape, at, now_ms=soon)
    before = tape.GetRun(run_id=at["run_id"]).seq_cursor
    assert tape.RecordDispatchAttempt(**at, error="503", next_dispatch_at_ms=soon, request_id="attempt-1") == waits
    assert tape.GetRun(run_id=at["run_id"]).seq_cursor == before
    early = tape.ClaimEffectDispatch(**at, claimer="two")
    assert not early.acquired, "not before its time"


def test_an_attempt_with_no_next_time_is_in_doubt(tape: Tape) -> None:
    at = outbox(tape)
    tape.ClaimEffectDispatch(**at, claimer="one")
    doubt = tape.RecordDispatchAttempt(**at, error="timed out")
    assert (doubt.status, doubt.last_dispatch_error) == (UNKNOWN, "timed out")
    assert not is_due(tape, at, now_ms=FAR), "doubt is not repeated blindly"
    assert not tape.ClaimEffectDispatch(**at, claimer="two").acquired
    settled = tape.RecordExternalObservation(**at, resolution=pb.EFFECT_RESOLUTION_CONFIRMED, external_ref="W-7")
    assert (settled.status, settled.external_ref) == (CONFIRMED, "W-7")


def test_a_time_in_the_past_is_due_at_once_and_below_zero_is_refused(tape: Tape) -> None:
    at = outbox(tape, IDEMPOTENT)
    tape.ClaimEffectDispatch(**at, claimer="one")
    refused(
        Status.INVALID_ARGUMENT,
        "next_dispatch_at_ms -1",
        tape.RecordDispatchAttempt,
        **at,
        error="e",
        next_dispatch_at_ms=-1,
    )
    assert tape.RecordDispatchAttempt(**at, error="e", next_dispatch_at_ms=1).status == PENDING
    assert is_due(tape, at)


@pytest.mark.parametrize(("semantics", "status"), [(NON_IDEMPOTENT, UNKNOWN), (IDEMPOTENT, PENDING)])
def test_a_dispatcher_outside_is_taken_to_have_sent_once_it_claimed(tape: Tape, semantics: int, status: int) -> None:
    at = outbox(tape, semantics)
    assert tape.ClaimEffectDispatch(**at, claimer="one", lease_ttl_ms=1).acquired
    if semantics == IDEMPOTENT:
        again = until(lambda: claimed(tape, at, "two"))
        assert again.dispatch_claimed_by == "two" and again.dispatch_attempts == 2
    else:
        until(lambda: row(tape, at).dispatch_claim_expires_at_ms < now(tape))
        second = tape.ClaimEffectDispatch(**at, claimer="two")
        assert not second.acquired
        assert second.effect.status == UNKNOWN
    assert row(tape, at).status == status


def claimed(tape: Tape, at: dict[str, str], claimer: str) -> Any:
    answer = tape.ClaimEffectDispatch(**at, claimer=claimer)
    return answer.effect if answer.acquired else None


def now(tape: Tape) -> int:
    """The server's clock."""
    return tape.WriteValue(namespace="clock", key=fresh(), value_json="0", if_version=-1).ts_ms


def in_doubt(tape: Tape, semantics: int) -> dict[str, str]:
    at = outbox(tape, semantics)
    tape.ClaimEffectDispatch(**at, claimer="one")
    tape.RecordDispatchAttempt(**at, error="cut")
    return at


def test_absent_and_idempotent_is_dispatched_again(tape: Tape) -> None:
    at = in_doubt(tape, IDEMPOTENT)
    assert tape.RecordExternalObservation(**at, resolution=pb.EFFECT_RESOLUTION_ABSENT).status == PENDING
    assert is_due(tape, at, now_ms=FAR)


def test_absent_and_not_idempotent_has_failed(tape: Tape) -> None:
    at = in_doubt(tape, NON_IDEMPOTENT)
    failed = tape.RecordExternalObservation(**at, resolution=pb.EFFECT_RESOLUTION_ABSENT)
    assert failed.status == FAILED and "absent" in failed.error_json


def test_a_duplicate_is_confirmed_and_its_surplus_is_owed(tape: Tape) -> None:
    at = in_doubt(tape, NON_IDEMPOTENT)
    done = tape.RecordExternalObservation(
        **at,
        resolution=pb.EFFECT_RESOLUTION_DUPLICATE,
        external_ref="W-1",
        response_json='{"wire":"W-1"}',
        compensate_on_duplicate_kind="recall",
    )
    assert (done.status, done.external_ref) == (CONFIRMED, "W-1")
    owed = tape.ListObligations(run_id=at["run_id"]).obligations
    assert [(one.kind, one.effect_key, one.status) for one in owed] == [
        ("recall", at["idempotency_key"], pb.OBLIGATION_STATUS_PENDING)
    ]
    tape.RecordExternalObservation(**at, resolution=pb.EFFECT_RESOLUTION_DUPLICATE, compensate_on_duplicate_kind="recall")
    assert tape.ListObligations(run_id=at["run_id"]).obligations == owed, "once"


def test_what_nobody_can_tell_is_stuck(tape: Tape) -> None:
    at = in_doubt(tape, NON_IDEMPOTENT)
    stuck = tape.RecordExternalObservation(**at, resolution=pb.EFFECT_RESOLUTION_STUCK, error_json='{"why":"books closed"}')
    assert stuck.status == UNKNOWN and stuck.stuck
    assert not is_due(tape, at, now_ms=FAR)


@pytest.mark.parametrize("resolution", [0, 6, -1])
def test_what_is_no_resolution_is_refused(tape: Tape, resolution: int) -> None:
    at = in_doubt(tape, NON_IDEMPOTENT)
    refused(Status.INVALID_ARGUMENT, "resolution", tape.RecordExternalObservation, **at, resolution=resolution)
    assert row(tape, at).status == UNKNOWN


def test_a_connector_that_the_server_does_not_know_may_be_served_from_outside(tape: Tape) -> None:
    at = outbox(tape, connector=fresh("never-heard-of"))
    assert row(tape, at).status == PENDING and is_due(tape, at)


def test_nothing_of_a_run_that_is_undone_is_sent_any_more(tape: Tape) -> None:
    at = outbox(tape)
    tape.EndRun(run_id=at["run_id"], status=pb.RUN_STATUS_COMPENSATING)
    late = tape.ClaimEffectDispatch(**at, claimer="c")
    assert not late.acquired and late.effect.status == FAILED and "cancelled" in late.effect.error_json
    assert not is_due(tape, at, now_ms=FAR)
