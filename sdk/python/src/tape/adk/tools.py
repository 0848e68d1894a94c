"""Adapters around function tools: the body becomes an effect of the run."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from google.adk.tools.function_tool import FunctionTool
from google.adk.tools.long_running_tool import LongRunningFunctionTool

from tape import effects
from tape.adk.plugin import ADAPTED, current_tool, tool_call
from tape.effects import current_call
from tape.gates import Parked
from tape.tools import EffectSpec, GateSpec, OutboxSpec, ToolSpec, spec_of

_PLAIN = EffectSpec(semantics="observe_only")


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
    if spec is None and tool.is_long_running:
        return tool  # its answer comes from outside; there is no result to record
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
            return await effects.run_outbox(call, spec, run_body)
        if isinstance(spec, GateSpec):
            call.timeout_ms = spec.timeout_ms
            try:
                return effects.shape(await run_body())
            except Parked:
                return None  # no answer yet: ADK ends the turn without one, and siblings finish
            except Exception as error:
                return {"error": f"{type(error).__name__}: {error}"}
        if not spec.journalled:
            return await run_body()
        return await effects.run_inline(call, spec, run_body)

    setattr(adapter, ADAPTED, True)
    return adapter


async def _invoke(body: Callable[..., Any], kwargs: dict[str, Any], *, in_thread: bool) -> Any:
    if inspect.iscoroutinefunction(body):
        return await body(**kwargs)
    result = await asyncio.to_thread(body, **kwargs) if in_thread else body(**kwargs)
    return await result if inspect.isawaitable(result) else result
