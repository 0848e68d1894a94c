"""The plugin that durable_app adds: tells model wrapper and tools where they are, journals tools that are not functions.

Functions in an agent's `tools` are journalled by their own adapter (`tape.adk.tools`), around the body alone. What comes
from toolsets (MCP, OpenAPI) has no body that could be wrapped, and is journalled between these callbacks.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from google.adk.agents.callback_context import CallbackContext
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.adk.plugins.base_plugin import BasePlugin
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.tool_context import ToolContext

from tape import inline
from tape.adk.model import Ask, current_ask
from tape.adk.tools import ADAPTED, CurrentTool, adapt, current_tool, tool_call
from tape.effects import ToolCall
from tape.run import current_run
from tape.tools import spec_of

# Tools that steer the agent itself: a recorded result in their place would lose the transfer, the exit, the question.
_CONTROL_NAMES = frozenset(
    {"transfer_to_agent", "exit_loop", "set_model_response", "finish_task", "load_artifacts", "get_user_choice"}
)
_CONTROL_MODULES = (
    "google.adk.agents",
    "google.adk.flows",
    "google.adk.workflow",
    "google.adk.tools._node_tool",
    "google.adk.tools.agent_tool",
    "google.adk.tools.exit_loop_tool",
    "google.adk.tools.load_artifacts_tool",
    "google.adk.tools.preload_memory_tool",
    "google.adk.tools.set_model_response_tool",
    "google.adk.tools.transfer_to_agent_tool",
)


# Inside an agent that runs as a tool: the call that it runs for, the same on every attempt.
nested_scope: contextvars.ContextVar[str] = contextvars.ContextVar("tape_nested_scope", default="")


class TapePlugin(BasePlugin):
    """Part of `durable_app`; without its runner it does nothing."""

    def __init__(self, name: str = "tape") -> None:
        super().__init__(name=name)
        self._open: dict[int, ToolCall] = {}

    async def before_model_callback(
        self, *, callback_context: CallbackContext, llm_request: LlmRequest
    ) -> LlmResponse | None:
        """Say who is about to ask a model."""
        if current_run.get() is not None:
            branch = getattr(_invocation(callback_context), "branch", None) or ""
            nested = nested_scope.get()
            scope = f"{nested}:{branch}" if nested else branch
            current_ask.set(Ask(scope=scope, agent=callback_context.agent_name))
        return None

    async def before_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext
    ) -> dict[str, Any] | None:
        """Say which tool is about to run; announce it, or replay it, if it has no adapter."""
        run = current_run.get()
        if run is None:
            return None
        run.check()
        current_tool.set(CurrentTool(run, tool_context, tool_args))
        if spec_of(getattr(tool, "func", None)) is not None:
            adapt(tool)  # a marked function that came out of a toolset; the others are adapted already
        if isinstance(tool, AgentTool):
            nested_scope.set(f"{nested_scope.get()}/{tool_context.function_call_id}")
        if not _journalled_here(tool):
            return None
        call = tool_call(run, tool.name, tool_args, tool_context)
        replayed, result = await inline.begin_plain(call)
        if replayed:
            return result
        self._open[id(tool_context)] = call
        return None

    async def after_tool_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, result: Any
    ) -> dict[str, Any] | None:
        """Record what a tool without an adapter returned."""
        call = self._open.pop(id(tool_context), None)
        if call is None:
            return None
        try:
            await inline.confirm(call, result)
        finally:
            call.run.closed(call.key)
        return None

    async def on_tool_error_callback(
        self, *, tool: BaseTool, tool_args: dict[str, Any], tool_context: ToolContext, error: Exception
    ) -> dict[str, Any] | None:
        """Turn a tool's failure into an answer: a tool that raises makes ADK cancel its siblings, which may have acted."""
        call = self._open.pop(id(tool_context), None)
        if call is None:
            run = current_run.get()
            return {"error": f"{type(error).__name__}: {error}"} if run is not None and _is_plain(error) else None
        try:
            if isinstance(error, asyncio.CancelledError):
                call.run.interrupted = True  # it only read: it stays PENDING, and the next driver calls it again
                return None
            return await inline.fail(call, error)
        finally:
            call.run.closed(call.key)


def _journalled_here(tool: BaseTool) -> bool:
    function = getattr(tool, "func", None)
    if function is not None and getattr(function, ADAPTED, False):
        return False
    if tool.is_long_running or isinstance(tool, AgentTool) or tool.name in _CONTROL_NAMES:
        return False
    return not type(tool).__module__.startswith(_CONTROL_MODULES)


def _is_plain(error: BaseException) -> bool:
    return isinstance(error, Exception)


def _invocation(callback_context: CallbackContext) -> Any:
    return getattr(callback_context, "_invocation_context", None)
