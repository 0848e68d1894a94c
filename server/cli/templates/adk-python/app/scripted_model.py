"""A model that needs no network: what it answers depends on the conversation so far, and on nothing else."""

import json
import os
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.genai import types

USAGE = types.GenerateContentResponseUsageMetadata(prompt_token_count=1, candidates_token_count=1)


class ScriptedModel(BaseLlm):
    """Balance, case, wire, report: four turns for every request of a user."""

    model: str = "scripted"

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """Answer the conversation in `llm_request`. Every call is noted in the file that TAPE_MODEL_CALLS names."""
        asked, turn = read(llm_request.contents)
        if calls := os.environ.get("TAPE_MODEL_CALLS"):
            note(Path(calls), turn=turn, asked=asked)
        part = answer(asked, turn, llm_request.contents)
        yield LlmResponse(content=types.Content(role="model", parts=[part]), usage_metadata=USAGE)


def note(path: Path, **facts: Any) -> None:
    """Append a line to a file."""
    with path.open("a") as file:
        file.write(json.dumps(facts) + "\n")


def read(contents: list[types.Content]) -> tuple[str, int]:
    """What the user asked for last, and how many answers were given since."""
    asked, turn = "", 0
    for content in contents:
        if content.role == "model":
            turn += 1
        elif text := "".join(part.text or "" for part in content.parts or []):
            asked, turn = text, 0
    return asked, turn


def answer(asked: str, turn: int, contents: list[types.Content]) -> types.Part:
    """The next step for what was asked."""
    payment = understand(asked)
    if turn == 0:
        return call("get_balance", account="operating")
    if turn == 1:
        return call("open_case", subject=f"Pay {payment['to']}: {payment['memo']}")
    if turn == 2:
        return call("wire_money", **payment)
    return types.Part(text=f"Paid {payment['amount']} {payment['currency']} to {payment['to']}: {last_result(contents)}")


def understand(asked: str) -> dict[str, str]:
    """The payment in a sentence like: Pay 1200.00 EUR to ACME for invoice 2026-001. What is missing is taken from it."""
    money = re.search(r"(\d+(?:\.\d+)?)\s*([A-Z]{3})\b", asked)
    to = re.search(r"\bto\s+([A-Za-z][\w-]*)", asked)
    memo = re.search(r"\bfor\s+(.+?)\s*[.!]?$", asked)
    return {
        "to": to[1] if to else "ACME",
        "amount": money[1] if money else "1200.00",
        "currency": money[2] if money else "EUR",
        "memo": memo[1] if memo else "invoice 2026-001",
    }


def call(name: str, **args: str) -> types.Part:
    """A function call."""
    return types.Part(function_call=types.FunctionCall(name=name, args=dict(args)))


def last_result(contents: list[types.Content]) -> str:
    """What the last tool answered, in a word."""
    responses: list[dict[str, Any]] = [
        part.function_response.response or {}
        for content in contents
        for part in content.parts or []
        if part.function_response
    ]
    return str(responses[-1].get("status", "done")) if responses else "done"
