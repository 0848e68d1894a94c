"""The tasks of a reaction: claimed, handled, completed or given back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conftest import until
from fake_server import FakeTape

import tape
from tape.client import TapeClient
from tape.v1 import tape_pb2

pb: Any = tape_pb2


def waiting(number: int) -> Any:
    return pb.Task(
        task_id=f"rx/0/{number}",
        reaction_id="rx",
        source_run_id="r-1",
        subject="/tape/run/ended/r-1",
        payload_json=f'{{"n":{number}}}',
        source_global_seq=number,
        attempts=1,
    )


async def stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_tasks_are_handled_and_settled(fake: FakeTape) -> None:
    fake.reaction_tasks["rx"] = [waiting(number) for number in range(1, 6)]
    seen: list[tape.Task] = []

    async def handle(task: tape.Task) -> None:
        seen.append(task)
        if task.payload["n"] == 2:
            raise ValueError("not yet")
        if task.payload["n"] == 3:
            raise tape.GiveUp("never")

    async with TapeClient(fake.url) as client:
        serving = asyncio.create_task(
            tape.serve_tasks(handle, reaction_id="rx", owner="w", max_tasks=2, idle_s=0.01, client=client)
        )
        await until(lambda: len(fake.settled) >= 5)
        await stop(serving)
    assert sorted(fake.settled) == [
        ("rx/0/1", "w", "", False),
        ("rx/0/2", "w", "ValueError('not yet')", False),
        ("rx/0/3", "w", "GiveUp('never')", True),
        ("rx/0/4", "w", "", False),
        ("rx/0/5", "w", "", False),
    ]
    first = seen[0]
    assert (first.id, first.run_id, first.subject, first.attempt, first.cursor) == (
        "rx/0/1",
        "r-1",
        "/tape/run/ended/r-1",
        1,
        1,
    )


async def test_a_task_that_somebody_else_took_does_not_stop_the_others(fake: FakeTape) -> None:
    fake.reaction_tasks["rx"] = [waiting(1), waiting(2)]
    fake.lost_tasks.add("rx/0/1")

    async with TapeClient(fake.url) as client:
        serving = asyncio.create_task(tape.serve_tasks(lambda _: None, reaction_id="rx", idle_s=0.01, client=client))
        await until(lambda: [task for task, *_ in fake.settled] == ["rx/0/2"])
        assert not serving.done()
        await stop(serving)


async def test_what_no_repetition_mends_is_raised(fake: FakeTape) -> None:
    async with TapeClient(fake.url) as client:
        with pytest.raises(tape.NotFound):
            await tape.serve_tasks(lambda _: None, reaction_id="none", client=client)
