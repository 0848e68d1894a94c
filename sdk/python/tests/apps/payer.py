"""The agent that the kill tests kill: one tool of each kind, everything that happens is written down."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.genai import types

import tape
from tape.adk import DurableRunner, durable_app


def note(what: str, **facts: Any) -> None:
    with Path(os.environ["PAYER_LOG"]).open("a") as file:
        file.write(json.dumps({"what": what, **facts}) + "\n")


class Script(BaseLlm):
    """Read and case in parallel, then the wire, then a word: a function of the conversation alone."""

    model: str = "script"

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        turn = sum(content.role == "model" for content in llm_request.contents)
        note("model", turn=turn)
        parts = [
            [_call("read_book", page=1), _call("open_case", subject="ACME")],
            [_call("wire", to="ACME")],
            [types.Part(text="paid")],
        ][turn]
        yield LlmResponse(content=types.Content(role="model", parts=parts))


def _call(name: str, **args: Any) -> types.Part:
    return types.Part(function_call=types.FunctionCall(name=name, args=args))


async def read_book(page: int, tool_context: Any = None) -> dict[str, Any]:
    """Read a page."""
    note("read_book")
    tool_context.state["pages"] = tool_context.state.get("pages", 0) + 1
    return {"page": page}


@tape.effect
def open_case(subject: str, tool_context: Any = None) -> dict[str, str]:
    """Open a case."""
    note("open_case", key=tape.idempotency_key(tool_context))
    return {"case": tape.idempotency_key(tool_context)}


@tape.outbox_tool(connector="bank", operation="wire", business_key=lambda to: f"wire {to}")
def wire(to: str) -> dict[str, str]:
    """Wire."""
    note("wire")
    return {"to": to}


def runner_factory() -> DurableRunner:
    agent = LlmAgent(name="payer", model=Script(), tools=[read_book, open_case, wire])
    return durable_app("payer", agent)[1]
