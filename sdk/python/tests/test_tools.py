"""What the decorators take and refuse."""

from __future__ import annotations

from typing import Any

import pytest

import tape
from tape import functions
from tape.shapes import shape
from tape.testing import tool_call
from tape.tools import call_by_name, spec_of


def undo(effect: tape.EffectInfo) -> None:
    """Undo."""


def wire(to: str, amount: str = "1") -> dict[str, str]:
    return {"to": to, "amount": amount}


def test_an_outbox_tool_without_a_way_to_settle_unknown_is_refused() -> None:
    wanted = "@tape.outbox_tool wire requires at least one of business_key=, status_check=, compensate="
    with pytest.raises(ValueError) as refused:
        tape.outbox_tool(connector="bank")(wire)
    assert wanted in str(refused.value)


@pytest.mark.parametrize(
    "way", [{"business_key": lambda to: to}, {"status_check": undo}, {"compensate": undo}, {"allow_unsafe": True}]
)
def test_any_way_will_do(way: dict[str, Any]) -> None:
    tape.outbox_tool(connector="bank", **way)(lambda to: to)


def test_a_non_idempotent_inline_effect_is_refused_and_told_where_to_go() -> None:
    with pytest.raises(ValueError, match=r"NON_IDEMPOTENT.*outbox_tool"):
        tape.effect(semantics="non_idempotent")(wire)
    with pytest.raises(ValueError, match="semantics"):
        tape.effect(semantics="sometimes")(wire)  # type: ignore[call-overload]


def test_an_outbox_tool_needs_a_connector() -> None:
    with pytest.raises(ValueError, match="connector="):
        tape.outbox_tool(connector="", business_key=lambda to: to)(wire)


def test_a_key_function_that_wants_what_the_tool_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="invoice"):
        tape.outbox_tool(connector="bank", business_key=lambda to, invoice: "")(wire)


def test_a_compensation_without_a_lasting_name_is_refused() -> None:
    with pytest.raises(ValueError, match="module level"):
        tape.effect(compensate=lambda effect: None)(wire)
    with pytest.raises(ValueError, match="module:attr"):
        tape.effect(compensate="undo")(wire)


def test_a_mark_leaves_the_function_as_it_is() -> None:
    def body(x: int) -> int:
        return x + 1

    assert tape.effect(body) is body and body(1) == 2
    assert tape.effect(semantics="observe_only")(body) is body
    assert spec_of(body) is not None and spec_of(wire) is None


def test_functions_are_found_by_their_name() -> None:
    name = functions.reference(undo)
    assert name == "test_tools:undo" and name in functions.known()
    assert functions.resolve(name) is undo
    functions.reference("json:dumps")
    assert functions.resolve("json:dumps") is not None
    assert functions.resolve("os:system") is None


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda to: to, "x"),
        (lambda to, amount: f"{to}{amount}", "x1"),
        (lambda everything: everything["amount"], "1"),
        (lambda payload: payload["p"], "P"),
        (lambda **rest: rest["to"], "x"),
    ],
)
def test_a_key_function_gets_what_it_names(function: Any, expected: str) -> None:
    args = {"to": "x", "amount": "1"}
    assert call_by_name(function, {**args, "args": args, "payload": {"p": "P"}}) == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, {"result": None}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ([1], {"result": [1]}),
        ({}, {}),
        ({"x": float("nan")}, {"x": "nan"}),
    ],
)
def test_results_have_one_shape(result: Any, expected: Any) -> None:
    assert shape(result) == expected


def test_context_is_only_inside_a_call() -> None:
    with pytest.raises(RuntimeError, match="body of a tool"):
        tape.idempotency_key()
    with tool_call(key="r-1/d-0/t/0", business_key="b", external_ref="e"):
        assert (tape.idempotency_key(), tape.business_key(), tape.external_ref()) == ("r-1/d-0/t/0", "b", "e")
        assert tape.run_id_of() == "r-1" and not tape.is_cancelled()
        assert tape.uuid() != tape.uuid()
    tape.heartbeat()
