"""Spans around the calls that matter, and W3C trace context on every one. Does nothing without opentelemetry-api."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

try:
    from opentelemetry import propagate as _propagate
    from opentelemetry import trace as _trace
except ImportError:  # an optional companion: ADK brings it along
    _propagate = _trace = None

_SPANS = {
    name: "tape." + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    for name in (
        "BeginRun",
        "ResumeRun",
        "EndRun",
        "RecordDecision",
        "BeginEffect",
        "CompleteEffect",
        "ReconcileEffect",
        "AwaitSignal",
        "SendSignal",
    )
}
_ATTRIBUTES = ("run_id", "decision_index", "tool_name", "idempotency_key", "gate_name")


@contextlib.contextmanager
def call_span(name: str, request: Any) -> Generator[tuple[tuple[str, str], ...]]:
    """A span for the call `name`, if it is one of those that have one; yields the metadata that carries the context."""
    if _trace is None or _propagate is None:
        yield ()
        return
    if name not in _SPANS:
        yield _carrier(_propagate)
        return
    attributes = {f"tape.{key}": value for key in _ATTRIBUTES if (value := getattr(request, key, None)) not in (None, "")}
    with _trace.get_tracer("tape").start_as_current_span(_SPANS[name], attributes=attributes):
        yield _carrier(_propagate)


def _carrier(propagate: Any) -> tuple[tuple[str, str], ...]:
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return tuple((key.lower(), value) for key, value in carrier.items())
