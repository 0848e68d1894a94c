"""One tool call and its place in the journal: what inline and outbox effects have in common."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tape import faults, functions
from tape.decisions import to_json
from tape.functions import Compensation
from tape.run import DurableRun
from tape.shapes import plain
from tape.v1 import tape_pb2 as pb

Body = Callable[[], Awaitable[Any]]


@dataclass
class ToolCall:
    """One call of one tool, and where in the journal it stands."""

    run: DurableRun
    tool: str
    call_id: str
    args: dict[str, Any]
    decision_index: int
    call_index: int
    tool_context: Any = None
    # Reads what the body did to the framework's own state, and does it again on a replay.
    read_actions: Callable[[], dict[str, Any]] = dict
    apply_actions: Callable[[dict[str, Any]], None] = lambda actions: None
    key: str = ""
    business_key: str = ""
    external_ref: str = ""
    attempt: int = 1
    # How long a gate in this call waits, if the tool says so; 0 = forever.
    timeout_ms: int = 0
    draws: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def derived_key(self) -> str:
        """The key that the server gives to an effect at this place."""
        return f"{self.run.run_id}/d-{self.decision_index}/{self.tool}/{self.call_index}"


current_call: contextvars.ContextVar[ToolCall | None] = contextvars.ContextVar("tape_current_call", default=None)


async def begin(
    call: ToolCall,
    *,
    request: Any = None,
    request_json: str = "",
    custom_key: str,
    semantics: int,
    dispatch_mode: int = pb.EFFECT_DISPATCH_MODE_INLINE,
    connector: str = "",
    operation: str = "",
    business_key: str = "",
    scope: str = "",
    compensation: Compensation | None = None,
    status_check: str = "",
    allow_unsafe: bool = False,
) -> pb.BeginEffectResponse:
    """Announce the effect, and learn its key: PENDING is to be carried out, anything else is an answer.

    `request` is what is asked for; `request_json` the same, encoded already.
    """
    run = call.run
    faults.point("before_begin_effect", call.tool)
    begun = await run.write(
        run.client.begin_effect(
            run_id=run.run_id,
            decision_index=call.decision_index,
            tool_name=call.tool,
            call_index=call.call_index,
            request_json=request_json or to_json(plain(request)),
            custom_key=custom_key,
            semantics=semantics,
            dispatch_mode=dispatch_mode,
            business_key=business_key,
            connector=connector,
            operation=operation,
            scope=scope,
            compensation=handle_of(compensation),
            status_check=status_check,
            allow_unsafe=allow_unsafe,
            fence=run.fence,
            lease_owner=run.owner,
        )
    )
    call.key = begun.idempotency_key
    call.external_ref = begun.external_ref
    faults.point("after_begin_effect", call.tool)
    return begun


async def recorded(run: DurableRun, key: str, owner: str = "") -> pb.EffectRecord | None:
    """An effect as it stands; None if it was never begun. `owner` is the run that it belongs to, if it is another."""
    answer = await run.write(run.client.get_effect(run_id=owner or run.run_id, idempotency_key=key))
    return answer.effect if answer.found else None


async def sample(call: ToolCall | None, run: DurableRun, name: str, draw: Callable[[], Awaitable[Any]]) -> Any:
    """Draw a value once and journal it; on a replay, the recorded one."""
    if call is not None:
        prefix, index, place = call.derived_key, call.decision_index, call.draws
    else:
        prefix, index, place = (
            f"{run.run_id}/d-{max(run.decisions.last_index, 0)}",
            run.decisions.last_index,
            run.awaits,
        )
    count = place.get(f"sample:{name}", 0)
    place[f"sample:{name}"] = count + 1
    key = f"{prefix}/{name}/{count}"
    begun = await run.write(
        run.client.begin_effect(
            run_id=run.run_id,
            decision_index=max(index, 0),
            tool_name=f"tape.{name}",
            call_index=count,
            custom_key=key,
            request_json="{}",
            semantics=pb.EFFECT_SEMANTICS_OBSERVE_ONLY,
            fence=run.fence,
            lease_owner=run.owner,
        )
    )
    if begun.status == pb.EFFECT_STATUS_CONFIRMED:
        return json.loads(begun.response_json)
    value = await draw()
    await run.write(
        run.client.complete_effect(
            run_id=run.run_id,
            idempotency_key=begun.idempotency_key,
            status=pb.EFFECT_STATUS_CONFIRMED,
            response_json=to_json(value),
            fence=run.fence,
            lease_owner=run.owner,
        )
    )
    # As it will be replayed, so that the first time is no different.
    return json.loads(to_json(value))


def is_being_cancelled() -> bool:
    """Whether a CancelledError caught just now was meant for this task, and did not come out of what it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def names_of(call: ToolCall) -> dict[str, Any]:
    """What a function that makes a key out of a call can ask for by name."""
    return {**call.args, "args": call.args, "tool_context": call.tool_context}


def handle_of(compensation: Compensation | None) -> pb.CompensationHandle | None:
    """How the effect could be undone, for the journal."""
    if compensation is None:
        return None
    return pb.CompensationHandle(
        connector=compensation.connector,
        function=functions.reference(compensation.function),
        kind=compensation.kind,
        payload_json="" if compensation.payload is None else to_json(compensation.payload),
    )
