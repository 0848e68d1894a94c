"""The journal and its streams: in order, without holes, resumable, ended with the run."""

from __future__ import annotations

import json
import threading
from typing import Any

import grpc
import pytest
from grpc import StatusCode as Status

from client import Reader, Tape, fresh, pb, read, refused


def busy(tape: Tape, run: str, steps: int = 5) -> None:
    for index in range(steps):
        tape.RecordDecision(run_id=run, decision_index=index, response_json=json.dumps({"step": index}))


def test_a_journal_has_no_holes_and_ends_with_its_run(tape: Tape) -> None:
    run = tape.begin()
    with Reader(tape.SubscribeRun(run_id=run, patience_s=60)) as reader:
        busy(tape, run)
        reader.until(lambda seen: len(seen) >= 6)
        assert not reader.ended, "it goes on while the run does"
        tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
        entries = reader.end()
    assert reader.error is None
    assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
    assert tape.GetRun(run_id=run).seq_cursor == entries[-1].seq
    stamps = [entry.ts_ms for entry in entries]
    assert stamps == sorted(stamps)
    for entry in entries:
        assert entry.kind and entry.subject.startswith("/tape/") and entry.schema_version >= 1 and entry.global_seq > 0
        json.loads(entry.payload_json or "null")
    assert list(tape.SubscribeRun(run_id=run)) == entries, "and it ends at once when it is read again"


def test_a_journal_is_read_on_from_where_it_was_left(tape: Tape) -> None:
    run = tape.begin()
    busy(tape, run)
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
    whole = list(tape.SubscribeRun(run_id=run))
    for cursor in (1, 3, whole[-1].seq):
        rest = [entry.seq for entry in tape.SubscribeRun(run_id=run, from_seq=cursor)]
        # At least once: it may begin with the one that was seen, and leaves none out.
        assert rest[-1:] == ([whole[-1].seq] if rest else []) and rest in (
            list(range(cursor, whole[-1].seq + 1)),
            list(range(cursor + 1, whole[-1].seq + 1)),
        )
    assert list(tape.SubscribeRun(run_id=run, from_seq=10_000)) == []
    refused(Status.INVALID_ARGUMENT, "from_seq -1", tape.SubscribeRun, run_id=run, from_seq=-1)


def test_a_trace_of_the_caller_is_in_the_journal(tape: Tape) -> None:
    run = tape.begin()
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    tape.stub("RecordDecision")(
        pb.RecordDecisionRequest(run_id=run, response_json="1"), metadata=(("traceparent", f"00-{trace}-{span}-01"),)
    )
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
    traces = [entry.trace_id for entry in tape.SubscribeRun(run_id=run)]
    assert traces.count(trace) == 1


def test_events_of_all_runs_come_in_order_and_from_a_cursor(tape: Tape) -> None:
    runs = [tape.begin() for _ in range(3)]
    for run in runs:
        busy(tape, run, 3)

    def mine(seen: list[Any]) -> list[Any]:
        return [event for event in seen if event.run_id in runs and event.kind.startswith("decision")]

    with Reader(tape.SubscribeEvents(patience_s=60)) as reader:
        reader.until(lambda seen: len(mine(seen)) == 9)
        events = list(reader.seen)
        for run in runs:
            seqs = [event.seq for event in events if event.run_id == run]
            assert seqs == list(range(1, len(seqs) + 1))
        tape.RecordDecision(run_id=runs[0], decision_index=9, response_json="1")
        reader.until(lambda seen: len(mine(seen)) == 10)
        events = list(reader.seen)
    numbers = [event.global_seq for event in events]
    assert numbers == sorted(set(numbers))
    middle = mine(events)[4]
    with Reader(tape.SubscribeEvents(from_global_seq=middle.global_seq, patience_s=60)) as reader:
        rest = reader.until(lambda seen: seen if seen and seen[-1].global_seq >= events[-1].global_seq else None)
    later = [event for event in events if event.global_seq > middle.global_seq]
    assert [event for event in rest if event.global_seq > middle.global_seq][: len(later)] == later


def test_events_are_filtered_by_run_kind_subject_and_time(tape: Tape) -> None:
    run, other = tape.begin(), tape.begin()
    busy(tape, run, 2)
    busy(tape, other, 2)
    kinds: list[str] = []
    with Reader(tape.SubscribeEvents(run_id=run, patience_s=60)) as reader:
        seen = reader.until(lambda seen: seen if sum(e.kind.startswith("decision") for e in seen) == 2 else None)
        assert {event.run_id for event in seen} == {run}
        kinds = sorted({event.kind for event in seen})
        recorded = next(event for event in seen if event.kind.startswith("decision"))
    with Reader(tape.SubscribeEvents(run_id=run, kind=recorded.kind, patience_s=60)) as reader:
        seen = reader.until(lambda seen: seen if len(seen) == 2 else None)
        assert {event.kind for event in seen} == {recorded.kind} and len(kinds) > 1
    parts = recorded.subject.split("/")
    for pattern in ("/tape/**", "/".join([*parts[:3], "**"]), "/".join([*parts[:2], "*", *parts[3:]]), recorded.subject):
        with Reader(tape.SubscribeEvents(run_id=run, subject_pattern=pattern, patience_s=60)) as reader:
            reader.until(lambda seen: any(event.seq == recorded.seq for event in seen))
    far = tape.GetRun(run_id=run).lease_expires_at_ms + 3_600_000
    with Reader(tape.SubscribeEvents(from_ts_ms=far, patience_s=60)) as reader:
        with Reader(tape.SubscribeEvents(run_id=run, patience_s=60)) as witness:
            tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
            witness.until(lambda seen: any("ended" in event.kind for event in seen))
        assert reader.seen == [], "nothing is that late"
    refused(Status.INVALID_ARGUMENT, "from_ts_ms -1", tape.SubscribeEvents, from_ts_ms=-1)
    refused(Status.INVALID_ARGUMENT, "from_global_seq -1", tape.SubscribeEvents, from_global_seq=-1)
    refused(Status.INVALID_ARGUMENT, "subject_pattern", tape.SubscribeEvents, subject_pattern="no slash")


@pytest.mark.parametrize("pattern", ["", "tape/run", "/tape//run", "/a*b", "/" + "y" * 6000])
def test_a_pattern_that_is_none_is_refused(tape: Tape, pattern: str) -> None:
    refused(Status.INVALID_ARGUMENT, "subject_pattern", tape.SubscribeBySubject, subject_pattern=pattern)
    refused(
        Status.INVALID_ARGUMENT,
        "subject_pattern",
        tape.RegisterReaction,
        reaction_id=fresh(),
        subject_pattern=pattern,
        handler_kind=pb.HANDLER_KIND_TASK,
    )


@pytest.mark.parametrize(
    "predicate", ["payload.", "1 +", "nope(1)", "'text'", "unknown_name == 1", "(" * 500 + ")" * 500, "x" * 100_000]
)
def test_a_predicate_that_is_none_is_refused_when_it_is_registered(tape: Tape, predicate: str) -> None:
    refused(
        Status.INVALID_ARGUMENT,
        "predicate_cel",
        tape.SubscribeBySubject,
        subject_pattern="/tape/**",
        predicate_cel=predicate,
    )
    refused(
        Status.INVALID_ARGUMENT,
        "predicate_cel",
        tape.RegisterReaction,
        reaction_id=fresh(),
        subject_pattern="/tape/**",
        predicate_cel=predicate,
        handler_kind=pb.HANDLER_KIND_TASK,
    )


def test_a_predicate_chooses_by_the_payload(tape: Tape) -> None:
    run = tape.begin()
    tape.SetTimer(run_id=run, timer_id="one", fire_at_ms=1 << 42, kind="a")
    tape.SetTimer(run_id=run, timer_id="two", fire_at_ms=1 << 42, kind="b")
    with Reader(
        tape.SubscribeBySubject(
            subject_pattern="/tape/timer/**", predicate_cel=f"payload.kind == 'b' && run_id == '{run}'", patience_s=60
        )
    ) as reader:
        seen = reader.until(lambda seen: seen)
        assert [json.loads(event.payload_json)["kind"] for event in seen] == ["b"]


def test_a_gap_free_tail_under_many_writers(tape: Tape) -> None:
    runs = [tape.begin() for _ in range(8)]

    def write(run: str) -> None:
        own = Tape(tape.target)
        busy(own, run, 25)
        own.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
        own.close()

    with Reader(tape.SubscribeEvents(patience_s=60)) as reader:
        threads = [threading.Thread(target=write, args=(run,)) for run in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = {run: tape.GetRun(run_id=run).seq_cursor for run in runs}
        reader.until(lambda seen: sum(event.run_id in wanted for event in seen) >= sum(wanted.values()))
        for run, cursor in wanted.items():
            assert [event.seq for event in reader.seen if event.run_id == run] == list(range(1, cursor + 1))


def test_a_slow_reader_misses_nothing_or_is_told(tape: Tape) -> None:
    """It reads nothing while more is written than any window holds; then all is there, or it is told where to go on."""
    run = tape.begin()
    slow = tape.SubscribeRun(run_id=run, patience_s=110)
    next(slow)
    text = json.dumps("x" * 200_000)
    for index in range(60):
        tape.RecordDecision(run_id=run, decision_index=index, response_json=text)
    for index in range(400):
        tape.SetTimer(run_id=run, timer_id=f"t{index}", fire_at_ms=1 << 42, kind="k")
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
    last = tape.GetRun(run_id=run).seq_cursor
    seqs = [1]
    while seqs[-1] < last:
        try:
            seqs.extend(entry.seq for entry in slow)
        except grpc.RpcError as error:
            assert read(error).status in (Status.DATA_LOSS, Status.RESOURCE_EXHAUSTED)
        slow = tape.SubscribeRun(run_id=run, from_seq=seqs[-1] + 1)
    assert sorted(set(seqs)) == list(range(1, last + 1))
