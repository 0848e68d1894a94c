"""What a tool body can ask about the call it is in, and the values it must not draw by itself.

Every function takes the tool's context, as ADK hands it to a parameter named `tool_context`; inside a body it may be
left out. In an `async def` body the ones that talk to the server are awaited; in a plain `def` body (which runs in a
thread of its own) they are simply called, and block.
"""

from __future__ import annotations

import asyncio
import random as _random
import time
import uuid as _uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from tape.effects import ToolCall, current_call
from tape.effects import sample as _sample
from tape.errors import RunCancelled, RunStopped
from tape.functions import call as _call
from tape.run import DurableRun, current_run

T = TypeVar("T")


def idempotency_key(tool_context: Any = None) -> str:
    """The key to hand to an upstream that deduplicates: the same on every attempt at this call."""
    return _call_of(tool_context).key


def run_id_of(tool_context: Any = None) -> str:
    """The run that the tool is called in."""
    return run_of(tool_context).run_id


def business_key(tool_context: Any = None) -> str:
    """The business key of the outbox effect; empty if it has none."""
    return _call_of(tool_context).business_key


def external_ref(tool_context: Any = None) -> str:
    """What the upstream called the effect, once it is settled; empty before."""
    return _call_of(tool_context).external_ref


def is_cancelled(tool_context: Any = None) -> bool:
    """Whether the run was cancelled, as far as this process was told (at once through the worker's stream, else with
    the next heartbeat). A body that sees True raises `RunCancelled`."""
    return run_of(tool_context).cancelled


def policy_is(tool_context: Any, version: str) -> bool:
    """Whether the decision that called this tool was made under this policy version."""
    return run_of(tool_context).decisions.recorded_policy == version


def heartbeat(tool_context: Any = None) -> Any:
    """Extend the run's lease from within a long body. A no-op outside one.

    Raises `RunCancelled` when the run was cancelled.
    """
    call = _find_call(tool_context)
    if call is None:
        return _done(None)
    return _dual(call.run, _beat(call.run))


def sample(tool_context: Any, draw: Callable[[], T] | Callable[[], Awaitable[T]], *, name: str = "sample") -> Any:
    """Call `draw` once per place in the run and journal what it returned (as JSON); on a replay, the recorded value."""
    run = run_of(tool_context)
    return _dual(run, _sample(_find_call(tool_context), run, name, lambda: _call(draw)))


def now(tool_context: Any = None) -> Any:
    """The time in unix milliseconds, drawn once and journalled."""
    return sample(tool_context, lambda: int(time.time() * 1000), name="now")


def uuid(tool_context: Any = None) -> _uuid.UUID:
    """A UUID that is the same on every attempt: made from the call's place in the run. Each call gives another one."""
    return _uuid.uuid5(_uuid.NAMESPACE_URL, _place(tool_context, "uuid"))


def random(tool_context: Any = None) -> _random.Random:
    """A generator of random numbers that draws the same ones on every attempt. Not for secrets."""
    return _random.Random(_place(tool_context, "random"))


def _place(tool_context: Any, name: str) -> str:
    call = _call_of(tool_context)
    count = call.draws.get(name, 0)
    call.draws[name] = count + 1
    return f"tape:{call.derived_key}/{name}/{count}"


def _find_call(tool_context: Any) -> ToolCall | None:
    kept = getattr(tool_context, "_tape_call", None)
    return kept if isinstance(kept, ToolCall) else current_call.get()


def _call_of(tool_context: Any) -> ToolCall:
    call = _find_call(tool_context)
    if call is None:
        raise RuntimeError("only inside the body of a tool that durable_app runs")
    return call


def run_of(tool_context: Any = None) -> DurableRun:
    """The run that this code runs in. Raises RuntimeError outside of one."""
    call = _find_call(tool_context)
    run = call.run if call is not None else current_run.get()
    if run is None:
        raise RuntimeError("only inside a run that durable_app drives")
    return run


async def _beat(run: DurableRun) -> None:
    try:
        await run.heartbeat()
    except RunStopped as stopped:
        if isinstance(stopped.cause, RunCancelled):
            raise stopped.cause from None
        raise
    if run.cancelled:
        raise RunCancelled(f"Run {run.run_id} was cancelled.")


def _dual(run: DurableRun, work: Coroutine[Any, Any, T]) -> Any:
    """Something to await in the run's loop; in another thread, the value itself."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is run.loop:
        return asyncio.ensure_future(work)
    return asyncio.run_coroutine_threadsafe(work, run.loop).result()


def _done(value: Any) -> Any:
    try:
        future = asyncio.get_running_loop().create_future()
    except RuntimeError:
        return value
    future.set_result(value)
    return future
