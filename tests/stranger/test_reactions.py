"""Reactions: an event becomes a task, which is claimed, done, tried again, or put aside."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode as Status

from client import Tape, fresh, pb, refused, until

PENDING, CLAIMED, DONE, DLQ = pb.TASK_STATUS_PENDING, pb.TASK_STATUS_CLAIMED, pb.TASK_STATUS_DONE, pb.TASK_STATUS_DLQ


def register(tape: Tape, **fields: Any) -> tuple[str, str]:
    """A reaction to the timers of one run, and that run."""
    run, id = tape.begin(), fresh("reaction")
    tape.RegisterReaction(
        **{
            "reaction_id": id,
            "name": "on timer",
            "subject_pattern": "/tape/timer/**",
            "predicate_cel": f"run_id == '{run}'",
            "handler_kind": pb.HANDLER_KIND_TASK,
            "max_concurrency": 100,
            "bootstrap_from_head": True,
            **fields,
        }
    )
    return id, run


POLICY = ("max_concurrency", "num_shards", "retry_max", "dlq_after_n", "retry_backoff_ms")


def happen(tape: Tape, run: str, *names: str) -> None:
    for timer in names:
        tape.SetTimer(run_id=run, timer_id=timer, fire_at_ms=1 << 42, kind="k", payload_json="{}")


def claim(tape: Tape, id: str, count: int = 1, **fields: Any) -> list[Any]:
    got: list[Any] = []

    def enough() -> bool:
        got.extend(
            tape.ClaimTasks(**{"reaction_id": id, "shard": -1, "owner": "w", "max": count - len(got), **fields}).tasks
        )
        return len(got) >= count

    until(enough)
    return got


def test_defaults_are_filled_in_and_registering_again_changes_it(tape: Tape) -> None:
    id = fresh("reaction")
    asked = {"reaction_id": id, "name": "n", "subject_pattern": "/tape/run/**", "handler_kind": pb.HANDLER_KIND_TASK}
    made = tape.RegisterReaction(**asked)
    assert (made.max_concurrency, made.num_shards, made.retry_max, made.dlq_after_n, made.retry_backoff_ms) == (
        1,
        1,
        5,
        5,
        1000,
    )
    assert made.created_at_ms > 0 and not made.deleted
    assert tape.RegisterReaction(**asked) == made
    changed = tape.RegisterReaction(**asked, max_concurrency=7)
    assert (changed.max_concurrency, changed.created_at_ms) == (7, made.created_at_ms)
    listed = {one.reaction_id: one for one in tape.ListReactions().reactions}
    assert listed[id] == changed
    assert tape.DeregisterReaction(reaction_id=id).deregistered
    assert tape.DeregisterReaction(reaction_id=id).deregistered, "the same again, the same answer"
    assert not tape.DeregisterReaction(reaction_id="never was").deregistered
    assert id not in {one.reaction_id for one in tape.ListReactions().reactions if not one.deleted}


def test_a_task_is_made_claimed_and_done(tape: Tape) -> None:
    id, run = register(tape)
    happen(tape, run, "t")
    (task,) = claim(tape, id)
    assert (task.reaction_id, task.source_run_id, task.status, task.lease_owner) == (id, run, CLAIMED, "w")
    assert (
        task.subject.startswith("/tape/timer/") and task.source_global_seq > 0 and task.attempts == 1 and task.payload_json
    )
    assert 59_000 <= task.lease_expires_at_ms - task.created_at_ms <= 90_000
    assert not tape.ClaimTasks(reaction_id=id, shard=-1, owner="other").tasks
    refused(Status.ABORTED, "w", tape.CompleteTask, task_id=task.task_id, owner="other")
    done = tape.CompleteTask(task_id=task.task_id, owner="w").task
    assert done.status == DONE
    assert tape.CompleteTask(task_id=task.task_id, owner="w").task == done
    assert [one.task_id for one in tape.ListTasks(reaction_id=id, status=DONE).tasks] == [task.task_id]
    assert not tape.ListTasks(reaction_id=id, status=PENDING).tasks
    assert not tape.ListTasks(reaction_id=id, status=pb.TASK_STATUS_FAILED).tasks, "never written"


def test_one_event_is_one_task(tape: Tape) -> None:
    id, run = register(tape)
    names = [f"t{number}" for number in range(20)]
    happen(tape, run, *names)
    tasks = claim(tape, id, 20)
    assert len({task.source_global_seq for task in tasks}) == 20 and len({task.task_id for task in tasks}) == 20
    happen(tape, run, "last")
    assert len(claim(tape, id, 1)) == 1
    assert len(tape.ListTasks(reaction_id=id).tasks) == 21


def test_a_task_that_is_given_back_waits_and_then_is_put_aside(tape: Tape) -> None:
    id, run = register(tape, retry_max=3, dlq_after_n=3, retry_backoff_ms=1)
    happen(tape, run, "t")
    task: Any = None
    for attempt in range(1, 4):
        (task,) = claim(tape, id)
        assert task.attempts == attempt
        task = tape.NackTask(task_id=task.task_id, owner="w", error=f"no {attempt}").task
        assert task.last_error == f"no {attempt}"
        assert task.status == (DLQ if attempt == 3 else PENDING)
    assert [one.task_id for one in tape.ListTasks(reaction_id=id, status=DLQ).tasks] == [task.task_id]
    assert not tape.ClaimTasks(reaction_id=id, shard=-1, owner="w", now_ms=1 << 42).tasks


def test_what_can_never_succeed_is_put_aside_at_once(tape: Tape) -> None:
    id, run = register(tape)
    happen(tape, run, "t")
    (task,) = claim(tape, id)
    assert tape.NackTask(task_id=task.task_id, owner="w", error="bad", permanent=True).task.status == DLQ


def test_backoff_is_kept(tape: Tape) -> None:
    id, run = register(tape, retry_backoff_ms=3_600_000)
    happen(tape, run, "t")
    (task,) = claim(tape, id)
    waits = tape.NackTask(task_id=task.task_id, owner="w", error="later").task
    assert waits.status == PENDING and waits.next_attempt_at_ms > task.created_at_ms + 60_000
    assert not tape.ClaimTasks(reaction_id=id, shard=-1, owner="w").tasks
    assert tape.ClaimTasks(reaction_id=id, shard=-1, owner="w", now_ms=waits.next_attempt_at_ms + 1).tasks


def test_a_lease_that_ran_out_is_anybodys(tape: Tape) -> None:
    id, run = register(tape)
    happen(tape, run, "t")
    (task,) = claim(tape, id, owner="dead", lease_ms=1)
    (again,) = claim(tape, id)
    assert (again.task_id, again.lease_owner, again.attempts) == (task.task_id, "w", 2)
    refused(Status.ABORTED, "w", tape.CompleteTask, task_id=task.task_id, owner="dead")


def test_concurrency_is_bounded(tape: Tape) -> None:
    id, run = register(tape, max_concurrency=2)
    happen(tape, run, "a", "b", "c")
    tasks = claim(tape, id, 2)
    until(lambda: len(tape.ListTasks(reaction_id=id).tasks) == 3)
    assert not tape.ClaimTasks(reaction_id=id, shard=-1, owner="w").tasks
    tape.CompleteTask(task_id=tasks[0].task_id, owner="w")
    assert len(claim(tape, id)) == 1


def test_shards_divide_the_tasks(tape: Tape) -> None:
    id, run = register(tape, num_shards=4)
    happen(tape, run, *(f"t{number}" for number in range(24)))
    until(lambda: len(tape.ListTasks(reaction_id=id).tasks) == 24)
    seen: dict[int, int] = {}
    for shard in range(4):
        for task in tape.ClaimTasks(reaction_id=id, shard=shard, owner="w", max=100).tasks:
            assert task.shard == shard
            seen[shard] = seen.get(shard, 0) + 1
    assert sum(seen.values()) == 24
    refused(Status.INVALID_ARGUMENT, "shard 4", tape.ClaimTasks, reaction_id=id, shard=4, owner="w")


def test_what_is_old_is_taken_unless_it_begins_at_the_head(tape: Tape) -> None:
    run = tape.begin()
    happen(tape, run, "before")
    fields = {
        "subject_pattern": "/tape/timer/**",
        "predicate_cel": f"run_id == '{run}'",
        "max_concurrency": 10,
    }
    old, new = fresh("reaction"), fresh("reaction")
    tape.RegisterReaction(reaction_id=old, name="old", **fields)
    tape.RegisterReaction(reaction_id=new, name="new", bootstrap_from_head=True, **fields)
    happen(tape, run, "after")
    claim(tape, old, 2)
    claim(tape, new, 1)
    assert len(tape.ListTasks(reaction_id=new).tasks) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reaction_id", "x" * 513),
        ("handler_kind", 9),
        ("max_concurrency", -1),
        ("rate_limit_per_s", -1),
        ("debounce_ms", -1),
        ("retry_max", -1),
        ("retry_backoff_ms", -1),
        ("dlq_after_n", -1),
        ("num_shards", -1),
        ("num_shards", 2**31 - 1),
    ],
)
def test_what_is_wrong_with_a_reaction_is_named(tape: Tape, field: str, value: Any) -> None:
    good = {"reaction_id": fresh(), "name": "n", "subject_pattern": "/tape/**", "handler_kind": pb.HANDLER_KIND_TASK}
    refused(Status.INVALID_ARGUMENT, field, tape.RegisterReaction, **{**good, field: value})


def test_an_agent_needs_an_app_and_a_publisher_a_target(tape: Tape) -> None:
    good = {"reaction_id": fresh(), "name": "n", "subject_pattern": "/tape/**"}
    refused(Status.INVALID_ARGUMENT, "agent_app", tape.RegisterReaction, **good, handler_kind=pb.HANDLER_KIND_AGENT)
    refused(Status.INVALID_ARGUMENT, "publish_target", tape.RegisterReaction, **good, handler_kind=pb.HANDLER_KIND_PUBLISH)


def test_what_is_wrong_with_a_task_is_named(tape: Tape) -> None:
    id, _ = register(tape)
    refused(Status.NOT_FOUND, "nobody", tape.ClaimTasks, reaction_id="nobody", shard=-1, owner="w")
    refused(Status.NOT_FOUND, "nobody", tape.ListTasks, reaction_id="nobody")
    refused(Status.INVALID_ARGUMENT, "owner", tape.ClaimTasks, reaction_id=id, shard=-1)
    refused(Status.INVALID_ARGUMENT, "max -1", tape.ClaimTasks, reaction_id=id, shard=-1, owner="w", max=-1)
    refused(Status.INVALID_ARGUMENT, "lease_ms -1", tape.ClaimTasks, reaction_id=id, shard=-1, owner="w", lease_ms=-1)
    refused(Status.INVALID_ARGUMENT, "now_ms -1", tape.ClaimTasks, reaction_id=id, shard=-1, owner="w", now_ms=-1)
    refused(Status.INVALID_ARGUMENT, "status 42", tape.ListTasks, reaction_id=id, status=42)
    for rpc in ("CompleteTask", "NackTask"):
        refused(Status.NOT_FOUND, "nothing", getattr(tape, rpc), task_id="nothing", owner="w")


def test_a_deregistered_reaction_makes_no_more_tasks(tape: Tape) -> None:
    id, run = register(tape)
    other, _ = register(tape, predicate_cel=f"run_id == '{run}'")
    happen(tape, run, "t")
    claim(tape, id)
    tape.DeregisterReaction(reaction_id=id)
    happen(tape, run, "u")
    claim(tape, other, 2)
    assert not tape.ClaimTasks(reaction_id=id, shard=-1, owner="w", now_ms=1 << 42).tasks
