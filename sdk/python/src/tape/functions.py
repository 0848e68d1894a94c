"""Functions that the server may call through the worker stream: status checks, compensations, timers.

They are named "module:attr". A decorator that is given a function registers it; a name given as text is imported when
it is first called. Nothing else can be called.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

_registered: dict[str, Callable[..., Any] | None] = {}
_timer_handlers: dict[str, Callable[..., Any]] = {}


@dataclass(frozen=True)
class EffectInfo:
    """One effect, as a connector, a status check or a compensation is told of it.

    `payload` is what the tool asked for, `response` what the upstream answered (compensations only), both decoded from
    JSON. `idempotency_key` is the effect's for a status check, and `compensate:<effect's key>` for a compensation: the
    same on every attempt. `attempt` counts from 1. `deadline_ms` (unix milliseconds, 0 = none) is when its answer is no
    longer wanted; `idempotent` says that repeating it is harmless.
    """

    run_id: str
    idempotency_key: str
    tool_name: str
    payload: Any = None
    operation: str = ""
    business_key: str = ""
    external_ref: str = ""
    response: Any = None
    attempt: int = 1
    kind: str = ""
    compensation: Any = None
    effect_key: str = ""
    tenant_id: str = ""
    app_name: str = ""
    decision_index: int = 0
    deadline_ms: int = 0
    trace_parent: str = ""
    idempotent: bool = False


@dataclass(frozen=True)
class Committed:
    """Status check: it took hold. `external_ref` is the upstream's own name for it."""

    external_ref: str = ""
    response: Any = None


@dataclass(frozen=True)
class NotCommitted:
    """Status check: it did not take hold, and will not."""


@dataclass(frozen=True)
class InProgress:
    """Status check: the upstream is still at work on it. Ask again in `retry_after_ms` (0 = the server's backoff)."""

    retry_after_ms: int = 0


@dataclass(frozen=True)
class Inconclusive:
    """Status check or compensation: it cannot be known now. Never taken for a failure."""

    reason: str = ""


@dataclass(frozen=True)
class Compensation:
    """How an effect could be undone: by a connector's own `compensate`, or by an SDK function.

    `payload` is handed to the compensation beside the effect and its receipt; it must be JSON.
    """

    connector: str = ""
    function: Callable[..., Any] | str | None = None
    kind: str = ""
    payload: Any = None


@dataclass(frozen=True)
class Timer:
    """A timer of the app's own kind that has fired."""

    run_id: str
    timer_id: str
    kind: str
    payload: Any = None
    fire_at_ms: int = 0
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


def register(function: F, name: str = "") -> F:
    """Let the server call `function`. `name` defaults to "module:qualname"; it must mean the same after a restart."""
    _registered[name or reference(function)] = function
    return function


def on_timer(kind: str) -> Callable[[F], F]:
    """Decorate the handler of the user's timer `kind`; it is called with a `Timer`, at least once per firing."""

    def wrap(function: F) -> F:
        _timer_handlers[kind] = function
        return function

    return wrap


def timer_handler(kind: str) -> Callable[..., Any] | None:
    """The handler of a timer kind."""
    return _timer_handlers.get(kind)


def known() -> list[str]:
    """Every name that can be called."""
    return sorted(_registered)


def resolve(name: str) -> Callable[..., Any] | None:
    """The function of a registered name; None if nothing was registered under it or it cannot be imported."""
    if name not in _registered:
        return None
    function = _registered[name]
    if function is None:
        module, _, attribute = name.partition(":")
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        function = _registered[name] = cast("Callable[..., Any]", found)
    return function


def reference(function: Callable[..., Any] | str | None) -> str:
    """The name under which the server calls `function`, registering it. Empty for None.

    Raises ValueError for a lambda or a local function, which a restarted process could not find again.
    """
    if function is None:
        return ""
    if isinstance(function, str):
        if ":" not in function:
            raise ValueError(f'{function!r} does not name a function: write it as "module:attr"')
        _registered.setdefault(function, None)
        return function
    for name, registered in _registered.items():
        if registered is function:
            return name
    name = f"{function.__module__}:{function.__qualname__}"
    if "<" in name:
        raise ValueError(f"{name} has no name that survives a restart: use a function at module level, or tape.register")
    _registered[name] = function
    return name


async def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call it, whether it is async or blocks: what blocks runs in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    result = await asyncio.to_thread(function, *arguments)
    return await result if inspect.isawaitable(result) else result
