"""Gates: a run waits for a signal from outside without a process waiting with it."""

from __future__ import annotations

import inspect
import json
from typing import Any

from tape import report
from tape.context import run_of
from tape.decisions import to_json
from tape.effects import current_call
from tape.errors import GateTimeout
from tape.tools import MARK, GateSpec

_TIMEOUT_SIGNAL = {"signal": "gate.timeout"}


class Parked(BaseException):
    """Leaves a gate tool's body: the run waits at the gate, and this driver's part is over."""


async def await_signal(tool_context: Any, name: str, *, payload: Any = None, timeout_ms: int | None = None) -> Any:
    """The payload of the signal `name`; the n-th call for a name in a run waits for its n-th signal.

    Only in a `gate_tool`. While the signal is not there the run is parked and the body left; it runs again, from its
    start, when the signal has come. `payload` is shown to whoever answers. Raises GateTimeout after `timeout_ms`
    (default: the gate tool's).
    """
    run = run_of(tool_context)
    call = current_call.get()
    # Parking gives the lease up: siblings that still act come first.
    await run.quiet(besides=call.key if call is not None else "")
    index = run.awaits.get(name, 0)
    run.awaits[name] = index + 1
    answer = await run.write(
        run.client.await_signal(
            run_id=run.run_id,
            gate_name=name,
            payload_json=to_json(payload if payload is not None or call is None else call.args),
            timeout_ms=_timeout(timeout_ms, call.timeout_ms if call is not None else 0),
            await_index=index,
            fence=run.fence,
            lease_owner=run.owner,
        )
    )
    if not answer.delivered:
        run.parked = True
        report.emit("run_waiting", run_id=run.run_id, gate=name)
        raise Parked
    resolution = json.loads(answer.resolution_json) if answer.resolution_json else None
    if resolution == _TIMEOUT_SIGNAL:
        raise GateTimeout(f"Gate {name!r} of run {run.run_id} was not answered in time.")
    return resolution


class gate_tool:
    """A gate named `name`, in one of two ways.

    As a decorator of an async tool whose body awaits `tape.await_signal(tool_context, name)`; or called by another
    async tool: `await gate_tool("approval")(tool_context)`. While the signal is not there the run is parked (no process,
    no lease). It goes on when somebody sends it, or after `timeout_ms` with GateTimeout raised from `await_signal`.
    """

    def __init__(self, name: str, *, timeout_ms: int = 0) -> None:
        self.name = name
        self.timeout_ms = timeout_ms

    def __call__(self, body_or_context: Any) -> Any:
        """Decorate a body, or wait at the gate."""
        if inspect.isroutine(body_or_context):
            setattr(body_or_context, MARK, GateSpec(name=self.name, timeout_ms=self.timeout_ms))
            return body_or_context
        return await_signal(body_or_context, self.name, timeout_ms=self.timeout_ms)


def _timeout(given: int | None, of_tool: int) -> int:
    return of_tool if given is None else given
