"""For tests of tools without a server: a body that asks for its idempotency key needs a call to be in."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from tape.effects import ToolCall, current_call
from tape.run import DurableRun


class _NoRun:
    """A run that nobody drives: it is never cancelled, and heartbeats go nowhere."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.cancelled = False


@contextmanager
def tool_call(
    *,
    key: str = "r-test/d-0/tool/0",
    business_key: str = "",
    external_ref: str = "",
    args: dict[str, Any] | None = None,
) -> Generator[ToolCall]:
    """Make the code inside the block believe that it runs in a tool call with this idempotency key."""
    run = cast("DurableRun", _NoRun(key.partition("/")[0]))
    call = ToolCall(
        run=run,
        tool="tool",
        call_id="call-test",
        args=args or {},
        decision_index=0,
        call_index=0,
        key=key,
        business_key=business_key,
        external_ref=external_ref,
    )
    token = current_call.set(call)
    try:
        yield call
    finally:
        current_call.reset(token)
