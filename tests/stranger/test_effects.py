"""Effects: one row per key, one effect per business key, and moves along the arrows alone."""

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
NON_IDEMPOTENT = pb.EFFECT_SEMANTICS_NON_IDEMPOTENT
OUTBOX = pb.EFFECT_DISPATCH_MODE_OUTBOX
INLINE = pb.EFFECT_DISPATCH_MODE_INLINE


def effect(tape: Tape, run: str, key: str) -> Any:
    found = tape.GetEffect(run_id=run, idempotency_key=key)
    assert found.found
    return found.effect


def journal(tape: Tape, run: str) -> int:
    return tape.GetRun(run_id=run).seq_cursor


def test_the_key_comes_from_the_journal(tape: Tape) -> None:
    run = tape.begin()
    begun = tape.BeginEffect(run_id=run, decision_index=2, tool_name="wire_money", call_index=1, request_json='{"to":"bob"}')
    assert begun.idempotency_key == f"{run}/d-2/wire_money/1" and begun.status == PENDING and begun.seq > 0
    row = effect(tape, run, begun.idempotency_key)
    assert (row.decision_index, row.tool_name, row.request_json) == (2, "wire_money", '{"to":"bob"}')
    assert (row.semantics, row.dispatch_mode) == (pb.EFFECT_SEMANTICS_IDEMPOTENT, INLINE), "the defaults"
    assert not tape.GetEffect(run_id=run, idempotency_key="another").found


def test_a_key_of_the_callers_own_is_used(tape: Tape) -> None:
    run = tape.begin()
    assert tape.BeginEffect(run_id=run, tool_name="t", custom_key="mine:1").idempotency_key == "mine:1"
    # The same key in another run is another effect.
    other = tape.begin()
    assert tape.BeginEffect(run_id=other, tool_name="t", custom_key="mine:1").status == PENDING
    tape.CompleteEffect(run_id=run, idempotency_key="mine:1", status=CONFIRMED, response_json="1")
    assert effect(tape, other, "mine:1").status == PENDING


def test_what_is_confirmed_is_answered_from_the_journal(tape: Tape) -> None:
    run = tape.begin()
    begun = tape.BeginEffect(run_id=run, tool_name="wire", request_json="{}")
    assert tape.BeginEffect(run_id=run, tool_name="wire", request_json="{}") == begun
    done = tape.CompleteEffect(
        run_id=run, idempotency_key=begun.idempotency_key, status=CONFIRMED, response_json='{"id":  7}'
    )
    assert (done.status, done.response_json) == (CONFIRMED, '{"id":  7}')
    before = journal(tape, run)
    replayed = tape.BeginEffect(run_id=run, tool_name="wire", request_json='{"other": "input"}')
    assert (replayed.status, replayed.response_json, replayed.seq) == (CONFIRMED, '{"id":  7}', begun.seq)
    # A terminal row is returned untouched.
    for status in (CONFIRMED, FAILED, UNKNOWN):
        again = tape.CompleteEffect(
            run_id=run, idempotency_key=begun.idempotency_key, status=status, response_json='"other"'
        )
        assert again == done
    assert tape.ReconcileEffect(run_id=run, idempotency_key=begun.idempotency_key, resolved_status=FAILED) == done
    assert journal(tape, run) == before


def test_failed_and_unknown_are_answers_too(tape: Tape) -> None:
    run = tape.begin()
    for index, (status, error) in enumerate([(FAILED, '{"code":"no funds"}'), (UNKNOWN, '{"code":"timeout"}')]):
        key = tape.BeginEffect(run_id=run, tool_name="wire", call_index=index).idempotency_key
        tape.CompleteEffect(run_id=run, idempotency_key=key, status=status, error_json=error)
        again = tape.BeginEffect(run_id=run, tool_name="wire", call_index=index)
        assert (again.status, again.error_json) == (status, error)


@pytest.mark.parametrize("outcome", [CONFIRMED, FAILED])
def test_doubt_is_settled_by_reconciling(tape: Tape, outcome: int) -> None:
    run = tape.begin()
    key = tape.BeginEffect(run_id=run, tool_name="wire").idempotency_key
    tape.CompleteEffect(run_id=run, idempotency_key=key, status=UNKNOWN)
    settled = tape.ReconcileEffect(
        run_id=run, idempotency_key=key, resolved_status=outcome, response_json='"seen"', error_json='{"a":1}'
    )
    assert settled.status == outcome
    before = journal(tape, run)
    assert tape.ReconcileEffect(run_id=run, idempotency_key=key, resolved_status=outcome) == settled
    assert journal(tape, run) == before


@pytest.mark.parametrize("status", [0, PENDING, 77, -3])
def test_what_is_no_outcome_is_refused(tape: Tape, status: int) -> None:
    run = tape.begin()
    key = tape.BeginEffect(run_id=run, tool_name="wire").idempotency_key
    refused(Status.INVALID_ARGUMENT, "status", tape.CompleteEffect, run_id=run, idempotency_key=key, status=status)
    refused(
        Status.INVALID_ARGUMENT,
        "resolved_status",
        tape.ReconcileEffect,
        run_id=run,
        idempotency_key=key,
        resolved_status=status,
    )
    assert effect(tape, run, key).status == PENDING


def test_an_effect_that_is_not_there_is_not_found(tape: Tape) -> None:
    run = tape.begin()
    for rpc, fields in {
        "CompleteEffect": {"status": CONFIRMED},
        "ReconcileEffect": {"resolved_status": CONFIRMED},
        "ClaimEffectDispatch": {"claimer": "c"},
        "RecordDispatchAttempt": {"error": "e"},
        "RecordExternalObservation": {"resolution": pb.EFFECT_RESOLUTION_CONFIRMED},
        "RegisterCompensation": {"kind": "undo"},
    }.items():
        name = "effect_key" if rpc == "RegisterCompensation" else "idempotency_key"
        refused(Status.NOT_FOUND, "nothing-here", getattr(tape, rpc), run_id=run, **{name: "nothing-here"}, **fields)
        refused(Status.INVALID_ARGUMENT, name, getattr(tape, rpc), run_id=run, **fields)


def test_refusals_come_in_their_order(tape: Tape) -> None:
    """Each call is wrong in what it names and in all that comes after; semantics.md has the order."""
    wrong: dict[str, Any] = {"tool_name": "wire", "semantics": NON_IDEMPOTENT, "dispatch_mode": INLINE}
    wrong |= {"business_key": "b-1", "scope": "not granted"}
    refused(Status.NOT_FOUND, "", tape.BeginEffect, run_id="r-nobody", **wrong)
    ended = tape.begin()
    tape.EndRun(run_id=ended, status=pb.RUN_STATUS_TERMINAL)
    refused(Status.FAILED_PRECONDITION, "TERMINAL", tape.BeginEffect, run_id=ended, **wrong)
    run = tape.begin(scopes=["read"])
    before = journal(tape, run)
    codes = [
        refused(Status.FAILED_PRECONDITION, "NON_IDEMPOTENT", tape.BeginEffect, run_id=run, **wrong).code,
        refused(
            Status.INVALID_ARGUMENT,
            "business_key requires connector",
            tape.BeginEffect,
            run_id=run,
            **wrong | {"dispatch_mode": OUTBOX},
        ).code,
        refused(
            Status.INVALID_ARGUMENT,
            "OUTBOX connector",
            tape.BeginEffect,
            run_id=run,
            **wrong | {"dispatch_mode": OUTBOX, "business_key": ""},
        ).code,
        refused(
            Status.FAILED_PRECONDITION,
            "NON_IDEMPOTENT business_key status_check compensate",
            tape.BeginEffect,
            run_id=run,
            **wrong | {"dispatch_mode": OUTBOX, "business_key": "", "connector": "outside"},
        ).code,
        refused(
            Status.PERMISSION_DENIED,
            "scope not granted",
            tape.BeginEffect,
            run_id=run,
            **wrong | {"dispatch_mode": OUTBOX, "connector": "outside", "business_key": fresh()},
        ).code,
    ]
    assert len(set(codes)) == len(codes), codes
    assert journal(tape, run) == before, "what is refused leaves nothing"


def test_business_key_without_a_connector_is_refused_in_these_words(tape: Tape) -> None:
    run = tape.begin()
    refusal = refused(Status.INVALID_ARGUMENT, "", tape.BeginEffect, run_id=run, tool_name="t", business_key="b")
    assert "business_key requires connector" in refusal.text


def test_a_scope_that_was_granted_is_kept_with_the_effect(tape: Tape) -> None:
    run = tape.begin(scopes=["wire:eu", "read"])
    key = tape.BeginEffect(run_id=run, tool_name="wire", scope="wire:eu").idempotency_key
    assert effect(tape, run, key).scope == "wire:eu"
    refused(
        Status.PERMISSION_DENIED, "wire:us", tape.BeginEffect, run_id=run, tool_name="wire", call_index=1, scope="wire:us"
    )


def test_what_cannot_be_settled_is_taken_if_the_caller_insists(tape: Tape) -> None:
    run = tape.begin()
    wire = {"run_id": run, "tool_name": "wire", "semantics": NON_IDEMPOTENT, "dispatch_mode": OUTBOX, "connector": "outside"}
    refused(Status.FAILED_PRECONDITION, "allow_unsafe", tape.BeginEffect, **wire)
    assert tape.BeginEffect(**wire, allow_unsafe=True).status == PENDING
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_CANCELLED)
    assert any("unsafe" in entry.payload_json for entry in tape.SubscribeRun(run_id=run))


def reserve(tape: Tape, business_key: str, **fields: Any) -> tuple[str, Any]:
    run = tape.begin()
    wire = {"tool_name": "wire", "semantics": NON_IDEMPOTENT, "dispatch_mode": OUTBOX, "connector": "outside"}
    return run, tape.BeginEffect(run_id=run, **{**wire, "business_key": business_key, **fields})


def test_a_business_key_is_one_effect_over_all_runs(tape: Tape) -> None:
    invoice = fresh("invoice")
    owner, first = reserve(tape, invoice)
    other, second = reserve(tape, invoice)
    assert second.idempotency_key == first.idempotency_key, "the owner's key"
    assert (second.status, second.deduplicated, second.owner_run_id) == (PENDING, True, owner)
    due = [e for e in tape.ListEffectsToDispatch(limit=10_000).effects if e.business_key == invoice]
    assert [e.run_id for e in due] == [owner], "it is dispatched once"
    tape.ClaimEffectDispatch(run_id=owner, idempotency_key=first.idempotency_key, claimer="d")
    tape.RecordExternalObservation(
        run_id=owner,
        idempotency_key=first.idempotency_key,
        resolution=pb.EFFECT_RESOLUTION_CONFIRMED,
        external_ref="W-1",
        response_json='{"wire": 1}',
    )
    again = tape.BeginEffect(
        run_id=other,
        tool_name="wire",
        semantics=NON_IDEMPOTENT,
        dispatch_mode=OUTBOX,
        connector="outside",
        business_key=invoice,
    )
    assert (again.status, again.response_json, again.external_ref) == (CONFIRMED, '{"wire": 1}', "W-1")
    _, third = reserve(tape, invoice)
    assert (third.status, third.response_json) == (CONFIRMED, '{"wire": 1}')
    # Another connector's books are other books.
    assert not reserve(tape, invoice, connector="elsewhere")[1].deduplicated


def test_a_business_key_is_free_again_once_its_effect_has_failed(tape: Tape) -> None:
    invoice = fresh("invoice")
    owner, first = reserve(tape, invoice)
    tape.ClaimEffectDispatch(run_id=owner, idempotency_key=first.idempotency_key, claimer="d")
    tape.RecordExternalObservation(
        run_id=owner,
        idempotency_key=first.idempotency_key,
        resolution=pb.EFFECT_RESOLUTION_FAILED,
        error_json='{"code":"no"}',
    )
    later, second = reserve(tape, invoice)
    assert (second.status, second.deduplicated) == (PENDING, False) and second.idempotency_key.startswith(later)


def test_pending_and_unknown_effects_are_listed_by_age_and_kind(tape: Tape) -> None:
    run = tape.begin()
    pending = tape.BeginEffect(run_id=run, tool_name="a").idempotency_key
    unknown = tape.BeginEffect(run_id=run, tool_name="b").idempotency_key
    tape.CompleteEffect(run_id=run, idempotency_key=unknown, status=UNKNOWN)
    done = tape.BeginEffect(run_id=run, tool_name="c").idempotency_key
    tape.CompleteEffect(run_id=run, idempotency_key=done, status=CONFIRMED)

    def listed(**fields: Any) -> set[str]:
        effects = tape.ListPendingEffects(limit=10_000, **fields).effects
        return {one.idempotency_key for one in effects if one.run_id == run}

    assert listed() == {pending, unknown}, "both flags false means both"
    assert listed(include_pending=True) == {pending}
    assert listed(include_unknown=True) == {unknown}
    assert listed(include_pending=True, include_unknown=True) == {pending, unknown}
    until(lambda: listed(older_than_ms=1) == {pending, unknown})
    assert listed(older_than_ms=3_600_000) == set(), "nothing is that old"
    assert len(tape.ListPendingEffects(limit=1).effects) == 1
    refused(Status.INVALID_ARGUMENT, "limit -1", tape.ListPendingEffects, limit=-1)


def test_an_effect_needs_a_tool_and_indexes_that_count(tape: Tape) -> None:
    run = tape.begin()
    before = journal(tape, run)
    refused(Status.INVALID_ARGUMENT, "tool_name", tape.BeginEffect, run_id=run)
    refused(Status.INVALID_ARGUMENT, "decision_index -1", tape.BeginEffect, run_id=run, tool_name="t", decision_index=-1)
    refused(Status.INVALID_ARGUMENT, "call_index -1", tape.BeginEffect, run_id=run, tool_name="t", call_index=-1)
    refused(Status.INVALID_ARGUMENT, "semantics 9", tape.BeginEffect, run_id=run, tool_name="t", semantics=9)
    refused(Status.INVALID_ARGUMENT, "dispatch_mode 9", tape.BeginEffect, run_id=run, tool_name="t", dispatch_mode=9)
    refused(Status.INVALID_ARGUMENT, "request_json JSON", tape.BeginEffect, run_id=run, tool_name="t", request_json="{")
    assert journal(tape, run) == before


def test_observing_leaves_no_obligations(tape: Tape) -> None:
    run = tape.begin()
    key = tape.BeginEffect(run_id=run, tool_name="look", semantics=pb.EFFECT_SEMANTICS_OBSERVE_ONLY).idempotency_key
    done = tape.CompleteEffect(run_id=run, idempotency_key=key, status=CONFIRMED, response_json="1")
    assert done.semantics == pb.EFFECT_SEMANTICS_OBSERVE_ONLY
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_COMPENSATING)
    assert not tape.ListObligations(run_id=run).obligations
