"""Compaction: the envelope stays, the payloads of what has ended go."""

from __future__ import annotations

from grpc import StatusCode as Status

from client import Tape, pb, refused, until


def ended(tape: Tape) -> str:
    run = tape.begin()
    text = '"' + "x" * 10_000 + '"'
    for index in range(2):
        tape.RecordDecision(run_id=run, decision_index=index, model="m", request_json=text, response_json=text)
    key = tape.BeginEffect(run_id=run, tool_name="t", request_json=text).idempotency_key
    tape.CompleteEffect(run_id=run, idempotency_key=key, status=pb.EFFECT_STATUS_CONFIRMED, response_json=text)
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
    return run


def test_what_has_ended_is_listed_and_compacted_once(tape: Tape) -> None:
    run = ended(tape)
    at = tape.GetRun(run_id=run).ended_at_ms
    until(lambda: run in {one.run_id for one in tape.ListCompactableRuns(before_ms=at + 1, limit=1000).runs})
    assert run not in {one.run_id for one in tape.ListCompactableRuns(before_ms=at - 1000, limit=1000).runs}
    before = list(tape.SubscribeRun(run_id=run))
    done = tape.CompactRun(run_id=run)
    assert (done.decisions_zeroed, done.effects_zeroed, done.already_compacted) == (2, 1, False)
    assert done.bytes_saved >= 60_000
    again = tape.CompactRun(run_id=run)
    assert again.already_compacted and (again.decisions_zeroed, again.effects_zeroed, again.bytes_saved) == (0, 0, 0)
    assert run not in {one.run_id for one in tape.ListCompactableRuns(before_ms=at + 1, limit=1000).runs}
    # The envelope is there, and so is the order of what happened.
    decision = tape.GetDecision(run_id=run, decision_index=1)
    assert decision.found and decision.decision.model == "m" and "xxx" not in decision.decision.response_json
    effect = tape.GetEffect(run_id=run, idempotency_key=f"{run}/d-0/t/0").effect
    assert effect.status == pb.EFFECT_STATUS_CONFIRMED and "xxx" not in effect.response_json
    assert [entry.seq for entry in tape.SubscribeRun(run_id=run)][: len(before)] == [entry.seq for entry in before]


def test_what_goes_on_is_not_compacted(tape: Tape) -> None:
    run = tape.begin()
    refused(Status.FAILED_PRECONDITION, "", tape.CompactRun, run_id=run)
    assert run not in {one.run_id for one in tape.ListCompactableRuns(before_ms=1 << 42, limit=1000).runs}
    refused(Status.INVALID_ARGUMENT, "limit -1", tape.ListCompactableRuns, limit=-1)
    refused(Status.INVALID_ARGUMENT, "before_ms -1", tape.ListCompactableRuns, before_ms=-1)
