"""The decorators that say what a tool does to the world.

They only mark the function, which stays callable as it is in tests; `tape.adk.durable_app` acts on the mark.

    @tape.effect                            the upstream deduplicates by an idempotency key: the body makes the call
    @tape.outbox_tool(connector="bank")     it does not: the body returns what is wanted, and Tape makes the call
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

from tape import functions
from tape.functions import Compensation

F = TypeVar("F", bound=Callable[..., Any])
Semantics = Literal["idempotent", "non_idempotent", "observe_only"]

IDEMPOTENT: Semantics = "idempotent"
NON_IDEMPOTENT: Semantics = "non_idempotent"
OBSERVE_ONLY: Semantics = "observe_only"

MARK = "__tape_tool__"


@dataclass(frozen=True)
class Retry:
    """How often an inline body is tried: `attempts` in all, waiting `first_ms`, doubled, at most `max_ms`, with jitter."""

    attempts: int = 3
    first_ms: int = 200
    max_ms: int = 10_000


@dataclass(frozen=True)
class EffectSpec:
    """What `@tape.effect` declared."""

    semantics: Semantics = "idempotent"
    compensate: Compensation | None = None
    status_check: str = ""
    retry: Retry = Retry(attempts=1)
    key_from: Callable[..., str] | None = None
    scope: str = ""
    journalled: bool = True


@dataclass(frozen=True)
class OutboxSpec:
    """What `@tape.outbox_tool` declared."""

    connector: str
    operation: str = ""
    business_key: Callable[..., str] | None = None
    status_check: str = ""
    compensate: Compensation | None = None
    key_from: Callable[..., str] | None = None
    scope: str = ""
    wait: bool = True
    timeout_ms: int = 0
    allow_unsafe: bool = False


@dataclass(frozen=True)
class GateSpec:
    """What `@tape.gate_tool` declared."""

    name: str
    timeout_ms: int = 0


ToolSpec = EffectSpec | OutboxSpec | GateSpec


def spec_of(function: object) -> ToolSpec | None:
    """What a decorator declared about `function`; None for a plain one."""
    return getattr(function, MARK, None)


@overload
def effect(function: F, /) -> F: ...
@overload
def effect(
    *,
    semantics: Semantics = ...,
    compensate: Callable[..., Any] | str | Compensation | None = ...,
    status_check: Callable[..., Any] | str | None = ...,
    retry: Retry | int | None = ...,
    key_from: Callable[..., str] | None = ...,
    scope: str = ...,
) -> Callable[[F], F]: ...
def effect(
    function: Any = None,
    /,
    *,
    semantics: Semantics = "idempotent",
    compensate: Callable[..., Any] | str | Compensation | None = None,
    status_check: Callable[..., Any] | str | None = None,
    retry: Retry | int | None = None,
    key_from: Callable[..., str] | None = None,
    scope: str = "",
) -> Any:
    """Mark a tool whose body acts on an upstream that deduplicates, or only reads.

    The body passes `tape.idempotency_key(tool_context)` to the upstream; that key is the same on every attempt. It runs
    only after its intent is durable, and never again once its result is recorded.

    semantics: "idempotent" (the default) or "observe_only" (it changes nothing: never compensated).
    compensate: undoes the confirmed effect: a module-level function, its "module:attr", or a `Compensation`.
    status_check: tells whether the effect took hold when nobody knows; a function as above.
    retry: a `Retry`, or a number of attempts; by default the body is tried once.
    key_from: makes the idempotency key from the tool's arguments, by their names, instead of from the journal.
    scope: a scope that the run must have been granted.

    Raises ValueError for "non_idempotent": what must not happen twice belongs into `@tape.outbox_tool`.
    """

    def mark(body: F) -> F:
        name = getattr(body, "__name__", repr(body))
        kind = str(semantics).lower()
        if kind == "non_idempotent":
            raise ValueError(
                f"@tape.effect {name} cannot be NON_IDEMPOTENT: an inline call whose answer is lost could only be made"
                " twice or not at all. Use @tape.outbox_tool(connector=...), which dispatches under a lease and asks the"
                " upstream when in doubt."
            )
        if kind not in ("idempotent", "observe_only"):
            raise ValueError(f"@tape.effect {name}: semantics is {semantics!r}, not 'idempotent' or 'observe_only'")
        _check_parameters(body, key_from, f"@tape.effect {name}: key_from")
        spec = EffectSpec(
            semantics="observe_only" if kind == "observe_only" else "idempotent",
            compensate=_compensation(compensate, ""),
            status_check=functions.reference(status_check),
            retry=_retry(retry),
            key_from=key_from,
            scope=scope,
        )
        setattr(body, MARK, spec)
        return body

    return mark if function is None else mark(function)


def outbox_tool(
    *,
    connector: str,
    operation: str = "",
    business_key: Callable[..., str] | None = None,
    status_check: Callable[..., Any] | str | None = None,
    compensate: Callable[..., Any] | str | Compensation | bool | None = None,
    wait: bool = True,
    timeout_ms: int = 0,
    allow_unsafe: bool = False,
    key_from: Callable[..., str] | None = None,
    scope: str = "",
) -> Callable[[F], F]:
    """Mark a tool whose upstream cannot deduplicate. Its body returns the payload; Tape's outbox makes the call.

    The tool's result is `{"status": "confirmed", "external_ref": ..., "result": ...}`, `{"status": "failed", "error":
    ...}`, or, when the outcome is not known in time, `{"status": "pending" | "stuck", "idempotency_key": ...}`.

    connector, operation: who dispatches the payload.
    business_key: makes the name under which the upstream's books know it, from the tool's arguments by their names
        (and `payload`, `tool_context`). It happens at most once per business key, across runs.
    status_check: a module-level function, or its "module:attr", that tells whether the request took hold.
    compensate: a function as above, a `Compensation`, or True for the connector's own.
    wait: whether the tool waits for the outcome; timeout_ms: for how long at most, in milliseconds; 0 = as long as it takes.
    allow_unsafe: accept that nothing can ever settle an UNKNOWN. The server journals a warning.

    Raises ValueError at decoration without any of the three ways to settle an UNKNOWN.
    """

    def mark(body: F) -> F:
        name = getattr(body, "__name__", repr(body))
        if not connector:
            raise ValueError(f"@tape.outbox_tool {name} requires connector=")
        if business_key is None and status_check is None and not compensate and not allow_unsafe:
            raise ValueError(
                f"@tape.outbox_tool {name} requires at least one of business_key=, status_check=, compensate="
                " (or allow_unsafe=True, after review): without them nothing could tell whether a call whose answer was"
                " lost took hold."
            )
        _check_parameters(body, business_key, f"@tape.outbox_tool {name}: business_key")
        _check_parameters(body, key_from, f"@tape.outbox_tool {name}: key_from")
        spec = OutboxSpec(
            connector=connector,
            operation=operation,
            business_key=business_key,
            status_check=functions.reference(status_check),
            compensate=_compensation(compensate, connector),
            key_from=key_from,
            scope=scope,
            wait=wait,
            timeout_ms=timeout_ms,
            allow_unsafe=allow_unsafe,
        )
        setattr(body, MARK, spec)
        return body

    return mark


def not_journalled(function: F) -> F:
    """Mark a plain tool whose results shall not be recorded: it runs again on every re-drive."""
    setattr(function, MARK, EffectSpec(semantics="observe_only", journalled=False))
    return function


def call_by_name(function: Callable[..., Any], available: dict[str, Any]) -> Any:
    """Call `function` with what its parameters name; a single parameter of another name gets all arguments as a dict."""
    parameters = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return function(**available.get("args", {}))
    if len(parameters) == 1 and next(iter(parameters)) not in available:
        return function(available.get("args", {}))
    return function(**{name: available[name] for name in parameters if name in available})


def _check_parameters(body: Callable[..., Any], function: Callable[..., Any] | None, what: str) -> None:
    if function is None:
        return
    wanted = inspect.signature(function).parameters
    offered = set(inspect.signature(body).parameters) | {"payload", "tool_context", "args"}
    if len(wanted) == 1 or any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in wanted.values()):
        return
    unknown = [
        name for name, parameter in wanted.items() if name not in offered and parameter.default is inspect.Parameter.empty
    ]
    if unknown:
        raise ValueError(f"{what} wants {', '.join(unknown)}, but the tool has {', '.join(sorted(offered))}")


def _compensation(given: Callable[..., Any] | str | Compensation | bool | None, connector: str) -> Compensation | None:
    if given is None or given is False:
        return None
    if given is True:
        return Compensation(connector=connector)
    if isinstance(given, Compensation):
        functions.reference(given.function)
        return given
    return Compensation(function=functions.reference(given))


def _retry(given: Retry | int | None) -> Retry:
    if given is None:
        return Retry(attempts=1)
    return Retry(attempts=max(1, given)) if isinstance(given, int) else given
