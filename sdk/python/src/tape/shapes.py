"""Results and errors of tools as JSON: one shape for what the model sees and what the journal keeps."""

from __future__ import annotations

import json
from typing import Any

from tape.decisions import to_json

_ACTIONS = "tape_actions"


def shape(result: Any) -> dict[str, Any]:
    """A tool's result as the model sees it and the journal keeps it: a dict of JSON; anything else as `{"result": x}`."""
    value = result if isinstance(result, dict) else {"result": result}
    return json.loads(to_json(plain(value)))


def encode(shaped: dict[str, Any], actions: dict[str, Any]) -> str:
    """A result for the journal, with what the body did beside returning it."""
    return to_json({"result": shaped, _ACTIONS: plain(actions)} if actions else shaped)


def decode(response_json: str) -> tuple[Any, dict[str, Any]]:
    """A recorded result, and what the body did beside returning it."""
    value: Any = json.loads(response_json) if response_json else {"result": None}
    if isinstance(value, dict) and _ACTIONS in value:
        return value["result"], value[_ACTIONS]
    return value, {}


def error_text(error_json: str) -> str:
    """A recorded error in words."""
    try:
        value = json.loads(error_json)
    except ValueError:
        return error_json or "failed"
    if isinstance(value, dict):
        return str(value.get("error") or value.get("message") or error_json)
    return str(value)


def plain(value: Any) -> Any:
    """Pydantic models and the like as JSON; what has no JSON as its text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    return value
