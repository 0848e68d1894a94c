"""The tools and the script, without a server."""

import json
from pathlib import Path

import pytest
from google.genai import types
from tape.testing import tool_call

from app.scripted_model import answer, read, understand
from app.tools import open_case, wire_money


def test_wire_money_only_says_what_is_wanted() -> None:
    payment = {"to": "ACME", "amount": "1200.00", "currency": "EUR", "memo": "invoice 2026-001"}
    assert wire_money(**payment) == payment


def test_a_case_is_opened_once_per_idempotency_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with tool_call(key="r-1/d-1/open_case/0"):
        first = open_case("Pay ACME")
        again = open_case("Pay ACME")
    assert first == again
    (case,) = Path(".tape/cases").glob("*.json")
    assert json.loads(case.read_text()) == first


def test_the_script_pays_what_was_asked() -> None:
    conversation = [types.Content(role="user", parts=[types.Part(text="Pay 99.50 USD to Bob for the lunch")])]
    names: list[str | None] = []
    while True:
        asked, turn = read(conversation)
        part = answer(asked, turn, conversation)
        conversation.append(types.Content(role="model", parts=[part]))
        if part.function_call is None:
            break
        names.append(part.function_call.name)
    assert names == ["get_balance", "open_case", "wire_money"]
    assert understand(asked) == {"to": "Bob", "amount": "99.50", "currency": "USD", "memo": "the lunch"}
