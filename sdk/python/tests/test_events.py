"""The feed of all runs, and values: cursors, repetitions, versions."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import until
from fake_server import FakeTape

import tape
from tape.client import TapeClient


async def begin(client: TapeClient, invocation: str) -> str:
    run = await client.begin_run(app_name="a", user_id="u", session_id="s", invocation_id=invocation, lease_owner="me")
    return run.run_id


async def stop(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_relay_goes_on_where_it_stopped(fake: FakeTape, tmp_path: Path) -> None:
    path = tmp_path / "events"

    def lines() -> list[str]:
        return [json.loads(line)["id"] for line in path.read_text().splitlines()] if path.exists() else []

    async with TapeClient(fake.url) as client:
        await begin(client, "i1")
        for invocation, wanted in (("i2", 4), ("i3", 6)):
            relay = asyncio.create_task(tape.run_outbox_relay(tape.FileSink(path), name="r", client=client))
            await begin(client, invocation)
            await until(lambda wanted=wanted: len(lines()) >= wanted)
            await until(lambda wanted=wanted: fake.values["tape.cursors", "r"].value_json == str(wanted))
            await stop(relay)
    assert lines() == ["r-1/1", "r-1/2", "r-2/1", "r-2/2", "r-3/1", "r-3/2"]


async def test_a_handler_that_raises_is_given_the_entry_again(fake: FakeTape) -> None:
    seen: list[str] = []

    async def handle(event: tape.RunEvent) -> None:
        seen.append(event.dedup_id)
        if len(seen) == 1:
            raise OSError("not yet")

    async with TapeClient(fake.url) as client:
        await begin(client, "i1")
        fanout = asyncio.create_task(
            tape.run_event_fanout(handle, name="f", kind="run.leased", from_start=True, client=client)
        )
        await until(lambda: len(seen) == 2)
        await stop(fanout)
    assert seen == ["r-1/2", "r-1/2"]


async def test_values_have_versions(fake: FakeTape) -> None:
    async with TapeClient(fake.url) as client:
        assert await tape.set_value("n", "k", {"a": 1}, client=client) == 1
        value = await tape.get_value("n", "k", client=client)
        assert value is not None and (value.value, value.version) == ({"a": 1}, 1)
        with pytest.raises(tape.Conflict) as lost:
            await tape.set_value("n", "k", 2, if_version=0, client=client)
        assert lost.value.version == 1
        assert await tape.delete_value("n", "k", client=client) is True
        assert await tape.get_value("n", "k", client=client) is None
