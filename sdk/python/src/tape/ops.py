"""The operator's verbs and the reactive KV, as plain functions over a shared client.

In an event loop they are awaited. In code without one (a plain `def` tool body, a script) they block and return the
value: one background thread carries them out.
"""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar

from tape.client import TapeClient
from tape.decisions import to_json
from tape.v1 import tape_pb2 as pb

P = ParamSpec("P")
T = TypeVar("T")
_clients: dict[tuple[int, str], TapeClient] = {}


def shared_client(url: str | None = None) -> TapeClient:
    """The client of this event loop for a URL (default: TAPE_URL, then the local server)."""
    probe = url or ""
    place = (id(asyncio.get_running_loop()), probe)
    if place not in _clients:
        _clients[place] = TapeClient(url)
    return _clients[place]


def _either(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Any]:
    """Awaited in an event loop; outside of one, the value itself."""

    @functools.wraps(work)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return sync(work(*args, **kwargs))
        return work(*args, **kwargs)

    return call


@_either
async def cancel_run(run_id: str, *, reason: str, client: TapeClient | None = None) -> pb.RunState:
    """Mark the run CANCELLED. Cooperative; nothing is undone."""
    answer = await (client or shared_client()).admin.cancel_run(run_id=run_id, reason=reason)
    return answer.run


@_either
async def compensate_run(run_id: str, *, reason: str = "", client: TapeClient | None = None) -> list[pb.ObligationRecord]:
    """Undo the run's confirmed effects that say how, newest first. Returns the obligations in that order."""
    answer = await (client or shared_client()).admin.compensate_run(run_id=run_id, reason=reason)
    return list(answer.obligations)


@_either
async def redrive(run_id: str, *, reason: str, client: TapeClient | None = None) -> pb.RunState:
    """Make the run due for a driver now; reopens a FAILED or STUCK one."""
    answer = await (client or shared_client()).admin.redrive(run_id=run_id, reason=reason)
    return answer.run


@_either
async def resolve(
    run_id: str,
    idempotency_key: str,
    outcome: Literal["confirmed", "failed"],
    *,
    reason: str,
    who: str,
    external_ref: str = "",
    response: Any = None,
    client: TapeClient | None = None,
) -> pb.EffectRecord:
    """Settle an UNKNOWN effect by hand. Reason and name go into the journal."""
    status = pb.EFFECT_STATUS_CONFIRMED if outcome == "confirmed" else pb.EFFECT_STATUS_FAILED
    return await (client or shared_client()).admin.resolve_effect(
        run_id=run_id,
        idempotency_key=idempotency_key,
        status=status,
        external_ref=external_ref,
        response_json="" if response is None else to_json(response),
        reason=reason,
        who=who,
    )


@_either
async def send_signal(
    name: str,
    payload: Any = None,
    *,
    run_id: str = "",
    app_name: str = "",
    user_id: str = "",
    session_id: str = "",
    client: TapeClient | None = None,
) -> bool:
    """Answer a gate of a run, or of the newest live run of a session. False if it had been answered before."""
    answer = await (client or shared_client()).send_signal(
        run_id=run_id,
        app_name=app_name,
        user_id=user_id,
        session_id=session_id,
        gate_name=name,
        resolution_json=to_json(payload),
    )
    return answer.accepted


@_either
async def set_timer(
    run_id: str,
    fire_at_ms: int,
    *,
    kind: str,
    payload: Any = None,
    timer_id: str = "",
    client: TapeClient | None = None,
) -> str:
    """Set or re-arm a timer; it fires at least once and never before `fire_at_ms` (unix). Returns its id."""
    identity = timer_id or str(uuid.uuid4())
    await (client or shared_client()).set_timer(
        run_id=run_id, timer_id=identity, fire_at_ms=fire_at_ms, kind=kind, payload_json=to_json(payload)
    )
    return identity


@_either
async def cancel_timer(run_id: str, timer_id: str, *, client: TapeClient | None = None) -> bool:
    """Cancel a timer for good. False if there was none to cancel."""
    answer = await (client or shared_client()).cancel_timer(run_id=run_id, timer_id=timer_id)
    return answer.cancelled


@dataclass(frozen=True)
class Value:
    """One version of a key. `value` is decoded; None with `deleted` when the key was deleted."""

    ns: str
    key: str
    value: Any
    version: int
    ts_ms: int
    deleted: bool = False
    prev_value: Any = None
    prev_version: int = 0


@_either
async def set_value(
    ns: str, key: str, value: Any, *, if_version: int = -1, writer: str = "", client: TapeClient | None = None
) -> int:
    """Write a value. `if_version`: negative = whatever is there, 0 = only if nothing is, n = exactly that version.

    Returns the new version. Raises Conflict, whose `version` is the one in force, when `if_version` does not hold.
    """
    record = await (client or shared_client()).write_value(
        namespace=ns, key=key, value_json=to_json(value), if_version=if_version, writer=writer
    )
    return record.version


@_either
async def get_value(ns: str, key: str, *, client: TapeClient | None = None) -> Value | None:
    """The newest version; None if there is none or it was deleted."""
    answer = await (client or shared_client()).get_value(namespace=ns, key=key)
    return _value(answer.value) if answer.found and not answer.value.deleted else None


async def watch_value(ns: str, key: str, *, from_version: int = 0, client: TapeClient | None = None) -> AsyncIterator[Value]:
    """Every version from `from_version` on, in order. Raises FellBehind with the version to resume from."""
    watched = (client or shared_client()).watch_value(namespace=ns, key=key, from_version=from_version)
    async for event in watched:
        before = json.loads(event.prev_value_json) if event.prev_value_json else None
        yield _value(event.value, before, event.prev_version)


@_either
async def delete_value(ns: str, key: str, *, client: TapeClient | None = None) -> bool:
    """Delete a key. False if it was not there."""
    answer = await (client or shared_client()).delete_value(namespace=ns, key=key)
    return answer.deleted


def sync(work: Coroutine[Any, Any, T]) -> T:
    """Wait for a coroutine of this SDK from code that is not async.

    All of them run in one background thread. Raises RuntimeError inside an event loop, where they are awaited.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run_coroutine_threadsafe(work, _background()).result()
    work.close()
    raise RuntimeError("tape.sync blocks: inside an event loop, await the coroutine instead")


_thread: dict[str, asyncio.AbstractEventLoop] = {}
_starting = threading.Lock()


def _background() -> asyncio.AbstractEventLoop:
    with _starting:
        if "loop" not in _thread:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="tape-sync", daemon=True).start()
            _thread["loop"] = loop
        return _thread["loop"]


def _value(record: pb.ValueRecord, before: Any = None, before_version: int = 0) -> Value:
    return Value(
        ns=record.namespace,
        key=record.key,
        value=json.loads(record.value_json) if record.value_json and not record.deleted else None,
        version=record.version,
        ts_ms=record.ts_ms,
        deleted=record.deleted,
        prev_value=before,
        prev_version=before_version,
    )
