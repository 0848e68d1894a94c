"""Gates, signals and timers."""

from __future__ import annotations

import json
from typing import Any

from grpc import StatusCode as Status

from client import Tape, fresh, identity, pb, refused, until


def test_a_run_parks_until_its_signal(tape: Tape) -> None:
    who = identity(user_id=fresh("u"))
    run = tape.begin(**who)
    parked = tape.AwaitSignal(run_id=run, gate_name="approval", payload_json='{"amount": 12}')
    assert not parked.delivered and parked.resolution_json == ""
    state = tape.GetRun(run_id=run)
    assert (state.status, state.waiting_on_gate, state.lease_owner) == (pb.RUN_STATUS_WAITING, "approval", "")
    before = state.seq_cursor
    assert not tape.AwaitSignal(run_id=run, gate_name="approval", payload_json='{"amount": 12}').delivered
    assert tape.GetRun(run_id=run).seq_cursor == before, "the same again journals nothing"
    sent = tape.SendSignal(run_id=run, gate_name="approval", resolution_json='{"ok":  true}')
    assert (sent.accepted, sent.run_id, sent.run_status) == (True, run, pb.RUN_STATUS_RUNNABLE)
    tape.BeginRun(**who)
    for _ in range(2):
        answer = tape.AwaitSignal(run_id=run, gate_name="approval")
        assert answer.delivered and answer.resolution_json == '{"ok":  true}', "again on every replay"


def test_an_early_signal_waits_for_its_gate(tape: Tape) -> None:
    run = tape.begin()
    assert tape.SendSignal(run_id=run, gate_name="go", resolution_json="1").accepted
    assert tape.AwaitSignal(run_id=run, gate_name="go").resolution_json == "1"
    assert tape.GetRun(run_id=run).status == pb.RUN_STATUS_RUNNING
    assert not tape.AwaitSignal(run_id=run, gate_name="other").delivered


def test_a_signal_finds_its_run_by_the_session(tape: Tape) -> None:
    who = identity(user_id=fresh("u"))
    run = tape.begin(**who)
    tape.AwaitSignal(run_id=run, gate_name="go")
    sent = tape.SendSignal(
        app_name=who["app_name"], user_id=who["user_id"], session_id=who["session_id"], gate_name="go", resolution_json="7"
    )
    assert (sent.accepted, sent.run_id) == (True, run)
    nobody = {"app_name": "bank", "user_id": fresh("nobody"), "session_id": "s", "gate_name": "go", "resolution_json": "1"}
    refused(Status.NOT_FOUND, "", tape.SendSignal, **nobody)


def test_a_gate_is_answered_once(tape: Tape) -> None:
    run = tape.begin()
    tape.AwaitSignal(run_id=run, gate_name="go")
    tape.SendSignal(run_id=run, gate_name="go", resolution_json='"first"')
    tape.SendSignal(run_id=run, gate_name="go", resolution_json='"second"')
    tape.ResumeRun(run_id=run, lease_owner="w")
    assert tape.AwaitSignal(run_id=run, gate_name="go").resolution_json == '"first"'


def test_a_signal_with_a_request_id_counts_once(tape: Tape) -> None:
    run = tape.begin()
    fields = {"run_id": run, "gate_name": "go", "resolution_json": "1", "request_id": "s-1"}
    first = tape.SendSignal(**fields)
    before = tape.GetRun(run_id=run).seq_cursor
    assert tape.SendSignal(**fields) == first and tape.GetRun(run_id=run).seq_cursor == before
    # One signal is one: the second await of the name has none.
    assert tape.AwaitSignal(run_id=run, gate_name="go").delivered
    assert not tape.AwaitSignal(run_id=run, gate_name="go", await_index=1).delivered


def test_awaits_of_a_name_are_counted_by_who_counts_them(tape: Tape) -> None:
    run = tape.begin()
    for turn in ("1", "2"):
        tape.SendSignal(run_id=run, gate_name="go", resolution_json=turn)
    assert tape.AwaitSignal(run_id=run, gate_name="go", await_index=0).resolution_json == "1"
    assert tape.AwaitSignal(run_id=run, gate_name="go", await_index=1).resolution_json == "2"
    assert tape.AwaitSignal(run_id=run, gate_name="go").resolution_json == "1", "who counts not means the first"
    refused(Status.INVALID_ARGUMENT, "await_index -1", tape.AwaitSignal, run_id=run, gate_name="go", await_index=-1)


def test_a_run_that_has_ended_takes_no_signal(tape: Tape) -> None:
    run = tape.begin()
    tape.EndRun(run_id=run, status=pb.RUN_STATUS_TERMINAL)
    refused(Status.FAILED_PRECONDITION, "TERMINAL", tape.SendSignal, run_id=run, gate_name="go", resolution_json="1")
    refused(Status.FAILED_PRECONDITION, "TERMINAL", tape.AwaitSignal, run_id=run, gate_name="go")


def test_what_is_wrong_with_a_gate_is_named(tape: Tape) -> None:
    run = tape.begin()
    refused(Status.INVALID_ARGUMENT, "gate_name", tape.AwaitSignal, run_id=run)
    refused(Status.INVALID_ARGUMENT, "gate_name", tape.SendSignal, run_id=run, resolution_json="1")
    refused(Status.INVALID_ARGUMENT, "payload_json JSON", tape.AwaitSignal, run_id=run, gate_name="g", payload_json="{")
    refused(Status.INVALID_ARGUMENT, "resolution_json JSON", tape.SendSignal, run_id=run, gate_name="g", resolution_json="{")
    refused(Status.INVALID_ARGUMENT, "timeout_ms -1", tape.AwaitSignal, run_id=run, gate_name="g", timeout_ms=-1)


def test_a_gate_times_out(live: Tape) -> None:
    run = live.begin()
    assert not live.AwaitSignal(run_id=run, gate_name="approval", timeout_ms=50).delivered
    until(lambda: live.GetRun(run_id=run).status == pb.RUN_STATUS_RUNNABLE)
    live.ResumeRun(run_id=run, lease_owner="w")
    answer = live.AwaitSignal(run_id=run, gate_name="approval")
    assert answer.delivered and "gate.timeout" in answer.resolution_json
    # A signal that comes later is kept, and loses.
    live.SendSignal(run_id=run, gate_name="approval", resolution_json='"late"')
    assert live.AwaitSignal(run_id=run, gate_name="approval") == answer


def test_a_gate_that_was_answered_does_not_time_out(live: Tape) -> None:
    run = live.begin()
    live.AwaitSignal(run_id=run, gate_name="approval", timeout_ms=200)
    live.SendSignal(run_id=run, gate_name="approval", resolution_json='"in time"')
    live.ResumeRun(run_id=run, lease_owner="w")
    # Another gate of the run, opened later and with less time, tells when the first one's time is over.
    live.AwaitSignal(run_id=run, gate_name="clock", timeout_ms=300)
    until(lambda: live.GetRun(run_id=run).status == pb.RUN_STATUS_RUNNABLE)
    live.ResumeRun(run_id=run, lease_owner="w")
    assert live.AwaitSignal(run_id=run, gate_name="approval").resolution_json == '"in time"'


def timers(tape: Tape, run: str, **fields: Any) -> list[Any]:
    return [timer for timer in tape.ListDueTimers(limit=1000, **fields).timers if timer.run_id == run]


def test_a_timer_is_due_at_its_time_and_never_early(tape: Tape) -> None:
    run = tape.begin()
    at = tape.GetRun(run_id=run).lease_expires_at_ms + 3_600_000
    timer = tape.SetTimer(run_id=run, timer_id="t", fire_at_ms=at, kind="reminder", payload_json='{"n": 1}')
    assert (timer.run_id, timer.timer_id, timer.fire_at_ms, timer.kind) == (run, "t", at, "reminder")
    assert (timer.payload_json, timer.fired) == ('{"n": 1}', False) and timer.created_at_ms > 0
    before = tape.GetRun(run_id=run).seq_cursor
    assert tape.SetTimer(run_id=run, timer_id="t", fire_at_ms=at, kind="reminder", payload_json='{"n": 1}') == timer
    assert tape.GetRun(run_id=run).seq_cursor == before
    assert timers(tape, run) == [] and timers(tape, run, now_ms=at - 1) == []
    assert timers(tape, run, now_ms=at) == [timer]
    assert timers(tape, run, now_ms=at) == [timer], "looking takes nothing"


def test_a_claim_of_a_plain_client_is_final(tape: Tape) -> None:
    run = tape.begin()
    tape.SetTimer(run_id=run, timer_id="t", fire_at_ms=1, kind="mine")
    assert [t.timer_id for t in timers(tape, run, claim=True)] == ["t"]
    assert timers(tape, run, claim=True) == [] and timers(tape, run) == []


def test_setting_it_again_arms_it_anew(tape: Tape) -> None:
    run = tape.begin()
    tape.SetTimer(run_id=run, timer_id="t", fire_at_ms=1, kind="mine")
    far = tape.GetRun(run_id=run).lease_expires_at_ms + 3_600_000
    tape.SetTimer(run_id=run, timer_id="t", fire_at_ms=far, kind="mine")
    assert timers(tape, run) == []
    tape.SetTimer(run_id=run, timer_id="t", fire_at_ms=2, kind="mine")
    assert len(timers(tape, run, claim=True)) == 1
    # Periodic timers do so in their handler.
    assert not tape.SetTimer(run_id=run, timer_id="t", fire_at_ms=3, kind="mine").fired
    assert len(timers(tape, run, claim=True)) == 1


def test_a_cancel_is_final(tape: Tape) -> None:
    run = tape.begin()
    tape.SetTimer(run_id=run, timer_id="t", fire_at_ms=1, kind="mine")
    assert tape.CancelTimer(run_id=run, timer_id="t").cancelled
    assert tape.CancelTimer(run_id=run, timer_id="t").cancelled, "the same again, the same answer"
    assert timers(tape, run) == []
    assert not tape.CancelTimer(run_id=run, timer_id="never was").cancelled
    tape.SetTimer(run_id=run, timer_id="fired", fire_at_ms=1, kind="mine")
    timers(tape, run, claim=True)
    assert not tape.CancelTimer(run_id=run, timer_id="fired").cancelled


def test_what_is_wrong_with_a_timer_is_named(tape: Tape) -> None:
    run = tape.begin()
    fields = {"run_id": run, "timer_id": "t", "fire_at_ms": 1, "kind": "mine"}
    refused(Status.INVALID_ARGUMENT, "timer_id", tape.SetTimer, **fields | {"timer_id": ""})
    refused(Status.INVALID_ARGUMENT, "kind", tape.SetTimer, **fields | {"kind": ""})
    refused(Status.INVALID_ARGUMENT, "fire_at_ms -1", tape.SetTimer, **fields | {"fire_at_ms": -1})
    refused(Status.INVALID_ARGUMENT, "payload_json JSON", tape.SetTimer, **fields, payload_json="{")
    refused(Status.INVALID_ARGUMENT, "limit -1", tape.ListDueTimers, limit=-1)
    refused(Status.INVALID_ARGUMENT, "now_ms -1", tape.ListDueTimers, now_ms=-1)
    refused(Status.INVALID_ARGUMENT, "timer_id", tape.CancelTimer, run_id=run)


def test_redriving_is_a_timer(live: Tape) -> None:
    """The promise of `tape redrive`: an immediate timer of the kind `redrive` makes a run due again."""
    run = live.begin()
    live.SetTimer(run_id=run, timer_id="poke", fire_at_ms=1, kind="redrive", payload_json=json.dumps({"action": "deadline"}))
    until(lambda: live.GetRun(run_id=run).status in (pb.RUN_STATUS_RUNNABLE, pb.RUN_STATUS_RUNNING))
    until(lambda: any("timer" in entry.kind and "fired" in entry.kind for entry in tail(live, run)))


def tail(tape: Tape, run: str) -> list[Any]:
    """The journal of a run that goes on, as far as it is."""
    wanted = tape.GetRun(run_id=run).seq_cursor
    stream = tape.SubscribeRun(run_id=run)
    seen = []
    for entry in stream:
        seen.append(entry)
        if entry.seq >= wanted:
            stream.cancel()
            break
    return seen
