"""Adapters around function tools: the body becomes an effect of the run."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.adk.tools.function_tool import FunctionTool
from google.adk.tools.long_running_tool import LongRunningFunctionTool
from google.adk.tools.tool_context import ToolContext

from tape.effects import ToolCall, current_call
from tape.gates import Parked
from tape.inline import run_inline
from tape.outbox import run_outbox
from tape.run import DurableRun
from tape.shapes import shape
from tape.tools import EffectSpec, GateSpec, OutboxSpec, ToolSpec, spec_of

ADAPTED = "__tape_adapted__"
_PLAIN = EffectSpec(semantics="observe_only")


@dataclass
class CurrentTool:
    """The tool that ADK is about to run in this task."""

    run: DurableRun
    tool_context: ToolContext
    args: dict[str, Any]


current_tool: contextvars.ContextVar[CurrentTool | None] = contextvars.ContextVar("tape_current_tool", default=None)


def adapt(tool: Any) -> Any:
    """A function, or a FunctionTool, as a tool whose body is journalled. Anything else is returned as it is.

    A plain function is taken to read only: its result is recorded, and it runs again if it was interrupted.
    """
    if inspect.isroutine(tool):
        if tool.__module__.startswith("google.adk."):
            return tool
        kind = LongRunningFunctionTool if isinstance(spec_of(tool), GateSpec) else FunctionTool
        return adapt(kind(tool))
    if not isinstance(tool, FunctionTool):
        return tool
    body = tool.func
    spec = spec_of(body)
    if isinstance(spec, GateSpec):
        tool.is_long_running = True
    if getattr(body, ADAPTED, False) or getattr(body, "__module__", "").startswith("google.adk."):
        return tool
    if inspect.isasyncgenfunction(body) or inspect.isgeneratorfunction(body):
        return tool
    if spec is None and (tool.is_long_running or type(tool).run_async is not FunctionTool.run_async):
        return tool  # its answer comes from outside, or the function is not all that it does: see the plugin
    tool.func = _adapter(body, tool.name, spec or _PLAIN, explicit=spec is not None)
    return tool


def _adapter(body: Callable[..., Any], name: str, spec: ToolSpec, *, explicit: bool) -> Callable[..., Awaitable[Any]]:
    signature = inspect.signature(body)

    @functools.wraps(body)
    async def adapter(**kwargs: Any) -> Any:
        current = current_tool.get()
        if current is None:
            if explicit:
                raise RuntimeError(f"{name} acts on the world and is not run outside durable_app's runner")
            return await _invoke(body, kwargs, in_thread=False)
        bound = signature.bind_partial(**kwargs)
        bound.apply_defaults()
        names = {key: value for key, value in bound.arguments.items() if value is not current.tool_context}
        call = tool_call(current.run, name, current.args, current.tool_context, names)

        async def run_body() -> Any:
            token = current_call.set(call)
            try:
                return await _invoke(body, kwargs, in_thread=explicit)
            finally:
                current_call.reset(token)

        if isinstance(spec, OutboxSpec):
            return await run_outbox(call, spec, run_body)
        if isinstance(spec, GateSpec):
            call.timeout_ms = spec.timeout_ms
            try:
                return shape(await run_body())
            except Parked:
                return None  # no answer yet: ADK ends the turn without one, and siblings finish
            except Exception as error:
                return {"error": f"{type(error).__name__}: {error}"}
        if not spec.journalled:
            return await run_body()
        return await run_inline(call, spec, run_body)

    setattr(adapter, ADAPTED, True)
    return adapter


async def _invoke(body: Callable[..., Any], kwargs: dict[str, Any], *, in_thread: bool) -> Any:
    if inspect.iscoroutinefunction(body):
        return await body(**kwargs)
    result = await asyncio.to_thread(body, **kwargs) if in_thread else body(**kwargs)
    return await result if inspect.isawaitable(result) else result


def tool_call(
    run: DurableRun, tool: str, args: dict[str, Any], tool_context: ToolContext, names: dict[str, Any] | None = None
) -> ToolCall:
    """The call's place in the journal. `names` are the arguments as the body gets them."""
    call_id = tool_context.function_call_id or ""
    known = run.calls.get(call_id)
    if known is None:
        # Asked for before this run began: an answer to a confirmation, a credential.
        index, count = max(run.decisions.last_index, 0), 0
        custom = f"{run.run_id}/call/{call_id}/{tool}"
    else:
        index, _, count = known
        custom = ""
    call = ToolCall(
        run=run,
        tool=tool,
        call_id=call_id,
        args=names if names is not None else args,
        decision_index=index,
        call_index=count,
        tool_context=tool_context,
        read_actions=lambda: _read_actions(tool_context),
        apply_actions=lambda actions: _apply_actions(tool_context, actions),
    )
    call.key = custom
    return call


def _read_actions(tool_context: ToolContext) -> dict[str, Any]:
    actions = tool_context.actions.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    for asked in ("requested_auth_configs", "requested_tool_confirmations"):
        actions.pop(asked, None)
    state = {key: value for key, value in actions.pop("state_delta", {}).items() if not key.startswith("temp:")}
    return {**actions, "state_delta": state} if state else actions


def _apply_actions(tool_context: ToolContext, actions: dict[str, Any]) -> None:
    for name, value in actions.items():
        if name == "state_delta":
            for key, item in value.items():
                tool_context.state[key] = item
        elif name == "artifact_delta":
            tool_context.actions.artifact_delta.update(value)
        else:
            setattr(tool_context.actions, name, value)
