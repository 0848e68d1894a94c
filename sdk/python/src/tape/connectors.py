"""Connectors that live in this process: classes through which the outbox reaches an upstream.

@tape.connector("ledger")
class Ledger:
    async def dispatch(self, effect): ...        carry it out                        required
    async def observe(self, effect): ...         what do the books say               or nobody can settle an UNKNOWN by it
    async def status_check(self, effect): ...    did this very request commit
    async def compensate(self, effect): ...      undo it

What a method returns or raises is its answer, and all that is known: there is no sandbox, and nobody sees what leaves.

| | dispatch | observe | status_check | compensate |
|---|---|---|---|---|
| returns | confirmed: `Committed`, a reference, JSON | `[]` absent, one present, more duplicate | as a function | resolved |
| `Inconclusive` returned, `AckLost` raised | unknown | inconclusive | inconclusive | unknown |
| `Rejected` raised | failed, tried again if `retryable` | inconclusive | inconclusive | failed, likewise |
| anything else raised, over time, no JSON | unknown | inconclusive | inconclusive | unknown |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from tape.functions import EffectInfo

C = TypeVar("C")

_registered: dict[str, Any] = {}

METHODS = ("dispatch", "observe", "status_check", "compensate")


class Connector(Protocol):
    """What every connector has. `observe`, `status_check` and `compensate` beside it are called if they are there.

    Methods may be async or block; one that blocks runs in a thread, and cannot be stopped when its time is over.
    """

    def dispatch(self, effect: EffectInfo) -> Any:
        """Carry the effect out. Raise `Rejected` for a definite no."""
        ...


class Rejected(Exception):
    """Raised by a connector or a compensation: the upstream understood and refused, and nothing happened.

    `retryable`: a later attempt with the same input can succeed, and will be made.
    """

    def __init__(self, message: str, *, code: str = "", retryable: bool = False) -> None:
        self.code = code
        self.retryable = retryable
        super().__init__(message)


def connector(name: str) -> Callable[[C], C]:
    """Decorate a connector's class, or hand in an object: the workers of this process serve effects of `connector=name`.

    A class is made an object of, without arguments, when a worker starts. Raises ValueError for what is no connector.
    """

    def wrap(made: C) -> C:
        _check(name, made)
        _registered[name] = made
        return made

    return wrap


def collect(given: Mapping[str, Any] | Iterable[Any] | None) -> dict[str, Any]:
    """The connectors of a worker by name: the registered ones, and `given` (by name, or objects with a `name`) before them.

    Raises ValueError for what is no connector.
    """
    found = dict(_registered)
    if given is not None:
        pairs = given.items() if isinstance(given, Mapping) else [(getattr(one, "name", ""), one) for one in given]
        for name, one in pairs:
            _check(name, one)
            found[name] = one
    return {name: one() if inspect.isclass(one) else one for name, one in found.items()}


def supports(one: Any, method: str) -> bool:
    """Whether a connector can be asked this."""
    return callable(getattr(one, method, None))


def _check(name: str, one: Any) -> None:
    if not name:
        raise ValueError(f"{one!r} has no name: give it a `name`, or say @tape.connector('ledger')")
    if not supports(one, "dispatch"):
        raise ValueError(f"connector {name!r}: {one!r} has no dispatch(effect)")


__all__ = ["METHODS", "Connector", "Rejected", "collect", "connector", "supports"]
