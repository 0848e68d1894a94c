"""Agents for tests: a model that follows a script, and shorthands around the runner."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from fake_server import FakeTape, Run, pb
from google.adk.events.event import Event
from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.genai import types

from tape.adk import DurableRunner, durable_app
from tape.client import TapeClient


def call(name: str, **args: Any) -> types.Part:
    return types.Part(function_call=types.FunctionCall(name=name, args=args))


def text(words: str) -> types.Part:
    return types.Part(text=words)


class Script(BaseLlm):
    """Gives the n-th answer to a conversation with n answers since the user's last words. Keeps what it was asked."""

    model: str = "script"
    turns: list[Any]
    asked: list[LlmRequest]

    def __init__(self, *turns: Any) -> None:
        super().__init__(**{"turns": list(turns), "asked": []})

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        self.asked.append(llm_request)
        turn = 0
        for content in llm_request.contents:
            if content.role == "model":
                turn += 1
            elif any(part.text for part in content.parts or []):
                turn = 0
        answer = self.turns[turn]
        if isinstance(answer, Exception):
            raise answer
        parts = answer if isinstance(answer, list) else [answer]
        parts = [text(part) if isinstance(part, str) else part.model_copy(deep=True) for part in parts]
        if stream and parts[0].text:
            for letter in parts[0].text:
                yield LlmResponse(partial=True, content=types.Content(role="model", parts=[text(letter)]))
        used = types.GenerateContentResponseUsageMetadata(prompt_token_count=10, candidates_token_count=5)
        yield LlmResponse(content=types.Content(role="model", parts=parts), usage_metadata=used)


def runner_of(fake: FakeTape, agent: Any, *, patience_s: float = 60, **options: Any) -> DurableRunner:
    return durable_app("app", agent, client=TapeClient(fake.url, patience_s=patience_s), **options)[1]


async def drive(runner: DurableRunner, message: str | None = "go", *, invocation: str = "i", **options: Any) -> list[Event]:
    """Drive one invocation to wherever it goes."""
    content = types.Content(role="user", parts=[text(message)]) if message is not None else None
    return [
        event
        async for event in runner.run_async(
            user_id="u", session_id="s", invocation_id=invocation, new_message=content, **options
        )
    ]


def reopen(fake: FakeTape, run_id: str = "") -> Run:
    """Make a run due again, as if its driver had died without a word after its last write."""
    run = fake.runs[run_id] if run_id else list(fake.runs.values())[-1]
    run.state.status = pb.RUN_STATUS_RUNNABLE
    run.state.lease_owner = ""
    return run


def responses(events: list[Event]) -> dict[str, Any]:
    """What the tools answered, by name."""
    return {response.name or "": response.response for event in events for response in event.get_function_responses()}


def said(events: list[Event]) -> list[str]:
    return [
        part.text
        for event in events
        if event.content is not None and not event.partial
        for part in event.content.parts or []
        if part.text
    ]


def effects_of(run: Run) -> dict[str, Any]:
    return {effect.tool_name: effect for effect in run.effects.values()}


def counting(counts: dict[str, int], name: str) -> Callable[[], None]:
    def count() -> None:
        counts[name] = counts.get(name, 0) + 1

    return count
