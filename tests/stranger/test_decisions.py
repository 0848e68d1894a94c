"""Decisions: the first write wins, and the request is kept beside the answer."""

from __future__ import annotations

import hashlib

import pytest
from grpc import StatusCode as Status

from client import Tape, fresh, identity, pb, refused

CONTENT = {
    "model": "gemini",
    "request_json": '{"b":1,  "a":[1.0,1e400, 1]}',
    "response_json": '{"text":"pay \\u00e9 é","n":12345678901234567890.10}',
    "rationale": "because",
    "policy_version": "cfo-2026.05",
}


def test_a_decision_is_kept_as_it_was_written(tape: Tape) -> None:
    run = tape.begin()
    first = tape.RecordDecision(run_id=run, decision_index=3, **CONTENT)
    assert (first.run_id, first.decision_index) == (run, 3) and first.seq > 0 and first.ts_ms > 0
    for name, value in CONTENT.items():
        assert getattr(first, name) == value, name  # byte for byte: JSON is opaque
    found = tape.GetDecision(run_id=run, decision_index=3)
    assert found.found and found.decision == first
    missing = tape.GetDecision(run_id=run, decision_index=4)
    assert not missing.found and not missing.HasField("decision")


def test_the_same_again_journals_nothing(tape: Tape) -> None:
    run = tape.begin()
    first = tape.RecordDecision(run_id=run, **CONTENT)
    before = tape.GetRun(run_id=run).seq_cursor
    assert tape.RecordDecision(run_id=run, **CONTENT) == first
    assert tape.GetRun(run_id=run).seq_cursor == before


@pytest.mark.parametrize("part", ["response_json", "request_json", "model"])
def test_other_content_under_the_same_index_exists_already(tape: Tape, part: str) -> None:
    run = tape.begin()
    first = tape.RecordDecision(run_id=run, **CONTENT)
    other = '{"text":"do not"}' if part.endswith("json") else "other"
    refusal = refused(Status.ALREADY_EXISTS, "decision 0", tape.RecordDecision, run_id=run, **{**CONTENT, part: other})
    assert run in refusal.text or run in str(refusal.metadata) or "decision" in refusal.text
    assert tape.GetDecision(run_id=run).decision == first


@pytest.mark.parametrize("part", ["rationale", "policy_version"])
def test_what_is_said_about_a_decision_is_no_other_decision(tape: Tape, part: str) -> None:
    """A newer policy may replay an older decision: the record stays as it was made, and says under which."""
    run = tape.begin()
    first = tape.RecordDecision(run_id=run, **CONTENT)
    assert tape.RecordDecision(run_id=run, **{**CONTENT, part: "newer"}) == first


def test_ahead_of_the_journal_is_allowed_and_below_zero_is_not(tape: Tape) -> None:
    run = tape.begin()
    tape.RecordDecision(run_id=run, decision_index=2**31, response_json="1")
    refused(
        Status.INVALID_ARGUMENT, "decision_index -1", tape.RecordDecision, run_id=run, decision_index=-1, response_json="1"
    )
    assert not tape.GetDecision(run_id=run, decision_index=-1).found


@pytest.mark.parametrize("field", ["request_json", "response_json"])
@pytest.mark.parametrize("text", ["{", "nul", "{'a':1}", '{"a":1} x', "\ufeff{}", "NaN", "[1,]"])
def test_what_must_be_json_is_json(tape: Tape, field: str, text: str) -> None:
    run = tape.begin()
    refused(Status.INVALID_ARGUMENT, f"{field} JSON", tape.RecordDecision, run_id=run, **{**CONTENT, field: text})
    assert not tape.GetDecision(run_id=run).found


def test_four_mebibytes_are_kept_and_one_byte_more_is_refused(tape: Tape) -> None:
    run = tape.begin()
    limit = 4 * 1024 * 1024
    most = '"' + "x" * (limit - 2) + '"'
    tape.RecordDecision(run_id=run, decision_index=0, response_json=most)
    refused(
        Status.INVALID_ARGUMENT,
        f"response_json {limit} {limit + 1}",
        tape.RecordDecision,
        run_id=run,
        decision_index=1,
        response_json='"' + most[1:] + " ",
    )


def test_a_prompt_that_differs_from_the_recorded_one_is_told(tape: Tape) -> None:
    run = tape.begin()
    tape.RecordDecision(run_id=run, **CONTENT)
    same = hashlib.sha256(CONTENT["request_json"].encode()).digest()
    other = hashlib.sha256(b"another prompt").digest()
    assert not tape.GetDecision(run_id=run, request_hash=same).diverged
    answer = tape.GetDecision(run_id=run, request_hash=other)
    assert answer.diverged and answer.found and answer.decision.response_json == CONTENT["response_json"]
    assert not tape.GetDecision(run_id=run).diverged, "who sends no hash is told nothing"


def test_an_ended_run_decides_no_more(tape: Tape) -> None:
    run = tape.begin()
    recorded = tape.RecordDecision(run_id=run, **CONTENT)
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
    refused(Status.FAILED_PRECONDITION, "", tape.RecordDecision, run_id=run, decision_index=1, response_json="1")
    assert tape.GetDecision(run_id=run).decision == recorded


def test_a_resumed_run_says_where_its_journal_ends(tape: Tape) -> None:
    who = identity(user_id=fresh("u"))
    run = tape.begin(**who)
    for index in range(5):
        tape.RecordDecision(run_id=run, decision_index=index, response_json=str(index))
    state = tape.GetRun(run_id=run)
    assert tape.BeginRun(**who).next_seq == state.seq_cursor + 1
