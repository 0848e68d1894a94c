from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fake_server import FakeTape

# The tests of the real server are there where it is.
collect_ignore = [] if os.environ.get("TAPE_SERVER") else ["test_real_server.py"]

TESTS = Path(__file__).parent
TEMPLATE = TESTS.parents[2] / "server" / "cli" / "templates" / "adk-python"


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeTape]:
    server = await FakeTape().start()
    yield server
    await server.stop()


async def until(condition: Callable[[], Any], timeout_s: float = 60) -> Any:
    """Wait for a condition, and return what it came to."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not (value := condition()):
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"in {timeout_s} s it did not come to pass")
        await asyncio.sleep(0.01)
    return value


class Process:
    """A worker process; its events are read as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, directory: Path, **environment: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tape.worker",
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(TESTS), **environment},
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.events.append(json.loads(line))

    def named(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]

    async def ended(self, timeout_s: float = 60) -> int:
        await asyncio.wait_for(self._reader, timeout_s)
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    async def terminate(self) -> int:
        if self.process.returncode is None:
            self.process.terminate()
        return await self.ended()


def write_config(directory: Path, *, app_name: str, factory: str) -> None:
    (directory / "tape.yaml").write_text(
        "apiVersion: tape.dev/v1\nkind: TapeProject\n"
        f"agent:\n  app_name: {app_name}\n  runner_factory: {factory}\n"
        "tape:\n  url: ${TAPE_URL:-tape://127.0.0.1:1}\n"
    )


@pytest.fixture
def payer(tmp_path: Path) -> Path:
    """A project whose app is `apps.payer`."""
    write_config(tmp_path, app_name="payer", factory="apps.payer:runner_factory")
    return tmp_path
