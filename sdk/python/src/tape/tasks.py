"""Doing the tasks that a reaction makes of events."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tape._calls import backoff_s
from tape.client import TapeClient
from tape.errors import Fenced, InvalidRequest, NotFound, NotGranted, TapeError, Unimplemented
from tape.ops import shared_client
from tape.v1 import tape_pb2 as pb

_log = logging.getLogger("tape.tasks")
_ANY_SHARD = -1


@dataclass(frozen=True)
class Task:
    """One event to be handled. `id` is the same each time it is tried."""

    id: str
    run_id: str
    subject: str
    payload: Any
    attempt: int
    cursor: int


class GiveUp(Exception):
    """Raised by a handler: the task goes to the dead-letter queue at once, nobody needs to try again."""


TaskHandler = Callable[[Task], Awaitable[None] | None]


async def serve_tasks(
    handler: TaskHandler,
    *,
    reaction_id: str,
    owner: str | None = None,
    shard: int = _ANY_SHARD,
    max_tasks: int = 16,
    lease_ms: int = 60_000,
    idle_s: float = 1.0,
    client: TapeClient | None = None,
) -> None:
    """Handle the tasks of a reaction, up to `max_tasks` at once, until cancelled.

    A task is completed when `handler` returns, and given back when it raises: tried again after the reaction's backoff, or
    never if it raised `GiveUp`. A handler may see a task twice, if its process died or took longer than `lease_ms`.
    `shard` -1 stands for all. When nothing is due, the server is asked again after up to `idle_s` seconds. Raises what no
    repetition could mend: no such reaction, a shard that is not there, Unimplemented, NotGranted.
    """
    tape = client or shared_client()
    name = owner or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    attempt = 0
    while True:
        try:
            claimed = await tape.claim_tasks(
                reaction_id=reaction_id, shard=shard, owner=name, lease_ms=lease_ms, max=max_tasks
            )
        except (NotFound, InvalidRequest, NotGranted, Unimplemented):
            raise
        except TapeError as error:
            _log.info("tasks of %s cannot be claimed: %s", reaction_id, error)
            await asyncio.sleep(backoff_s(attempt, 0.1, 10.0))
            attempt += 1
            continue
        attempt = 0
        await asyncio.gather(*(_handle(tape, handler, task, name) for task in claimed.tasks))
        if not claimed.tasks:
            await asyncio.sleep(idle_s)


async def _handle(client: TapeClient, handler: TaskHandler, task: pb.Task, owner: str) -> None:
    try:
        result = handler(_task(task))
        if inspect.isawaitable(result):
            await result
    except Exception as error:
        _log.info("task %s failed: %r", task.task_id, error)
        permanent = isinstance(error, GiveUp)
        settle = client.nack_task(task_id=task.task_id, owner=owner, error=repr(error), permanent=permanent)
    else:
        settle = client.complete_task(task_id=task.task_id, owner=owner)
    try:
        await settle
    except Fenced as lost:
        _log.warning("task %s took longer than its lease: %s", task.task_id, lost)
    except TapeError as error:
        # Its lease runs out by itself: it is tried again.
        _log.warning("what became of task %s could not be told: %s", task.task_id, error)


def _task(task: pb.Task) -> Task:
    return Task(
        id=task.task_id,
        run_id=task.source_run_id,
        subject=task.subject,
        payload=json.loads(task.payload_json) if task.payload_json else None,
        attempt=task.attempts,
        cursor=task.source_global_seq,
    )
