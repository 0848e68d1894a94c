"""The real `tape-server`, where the environment's TAPE_SERVER names its binary, and a dispatcher outside of it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

from tape.client import TapeClient
from tape.errors import Unavailable
from tape.v1 import tape_pb2

pb: Any = tape_pb2
BINARY = os.environ.get("TAPE_SERVER", "")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealServer:
    """A server process on a store of its own, which may be killed and started again."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.http = free_port()
        self.url = f"tape://127.0.0.1:{self.port}"
        self.store = f"sqlite:{directory / 'tape.db'}"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> RealServer:
        self.process = await asyncio.create_subprocess_exec(
            BINARY,
            "--listen",
            f"127.0.0.1:{self.port}",
            "--http",
            f"127.0.0.1:{self.http}",
            "--store",
            self.store,
            "--reactors",
            "recovery,reconciler,timers,compensation",
        )
        async with TapeClient(self.url, patience_s=30) as client:
            await client.admin.stats()
        return self

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def stop(self) -> int:
        """SIGTERM, and its exit code; fails if it takes longer than what runs takes."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 20)


async def dispatch(client: TapeClient, wires: list[Any]) -> None:
    """Carry out every outbox effect as it comes, as a dispatcher outside of the server would."""
    while True:
        try:
            due = await client.list_effects_to_dispatch()
            for effect in due.effects:
                claimed = await client.claim_effect_dispatch(
                    run_id=effect.run_id, idempotency_key=effect.idempotency_key, claimer="test"
                )
                if not claimed.acquired:
                    continue
                wires.append(json.loads(effect.request_json))
                reference = f"W-{len(wires)}"
                await client.record_external_observation(
                    run_id=effect.run_id,
                    idempotency_key=effect.idempotency_key,
                    resolution=pb.EFFECT_RESOLUTION_CONFIRMED,
                    external_ref=reference,
                    response_json=json.dumps({"wire_id": reference}),
                )
        except Unavailable:
            pass
        await asyncio.sleep(0.02)


async def dump(client: TapeClient, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Everything about a run, by section."""
    sections: dict[str, list[dict[str, Any]]] = {}
    async for part in client.admin.dump_run(run_id=run_id):
        sections.setdefault(part.section, []).append(json.loads(part.json))
    return sections
