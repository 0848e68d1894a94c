"""From an author's operations to what a component exports."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.connector import (
    CompensateAnswer,
    CompensateAnswer_Failed,
    CompensateAnswer_Resolved,
    CompensateAnswer_Unknown,
    DispatchAnswer,
    DispatchAnswer_Confirmed,
    DispatchAnswer_Failed,
    DispatchAnswer_Unknown,
    Doubt,
    Effect,
    Obligation,
    ObserveAnswer,
    ObserveAnswer_Absent,
    ObserveAnswer_Duplicate,
    ObserveAnswer_Inconclusive,
    ObserveAnswer_Present,
    Receipt,
    StatusAnswer,
    StatusAnswer_Committed,
    StatusAnswer_Inconclusive,
    StatusAnswer_InProgress,
    StatusAnswer_NotCommitted,
)
from wit_world.imports import config as host_config

from .shape import Malformed, read, schema
from .verdict import Doubtful, Refused, invalid

C = TypeVar("C")
P = TypeVar("P")
Semantics: TypeAlias = Literal["NON_IDEMPOTENT", "IDEMPOTENT", "OBSERVE_ONLY"]


@dataclass(frozen=True)
class Call(Generic[C, P]):
    """What every method of an operation is given."""

    effect: Effect
    config: C
    payload: P

    @property
    def reference(self) -> str:
        """What the upstream's books are to know the effect by: the business key, or without one the idempotency key."""
        return self.effect.business_key or self.effect.idempotency_key


@dataclass(frozen=True)
class InProgress:
    """The upstream is still at it: ask again."""

    retry_after_ms: int


class Operation(Generic[C, P]):
    """One thing that the connector can do. What is not overridden is not supported.

    Raise Refused or Doubtful; any other exception is doubt."""

    summary: str
    semantics: Semantics = "NON_IDEMPOTENT"
    payload: type[P]
    """A dataclass."""

    def dispatch(self, call: Call[C, P]) -> Receipt:
        """Do it, once."""
        raise NotImplementedError

    def observe(self, call: Call[C, P]) -> list[Receipt]:
        """What the upstream's books say: all receipts that are found, the one to keep first. Raise Doubtful if they do not tell."""
        raise Doubtful(f"`{call.effect.operation}` cannot be looked up")

    def status_check(self, call: Call[C, P], reference: str) -> Receipt | InProgress | None:
        """Did this very request commit? None: it did not, and will not. `reference` is the upstream's id where one is known, else the idempotency key."""
        raise Doubtful(f"`{call.effect.operation}` cannot be asked about a request")

    def compensate(self, call: Call[C, P], obligation: Obligation) -> Receipt:
        """Undo it, once. Look first: what is not there needs no undoing."""
        raise invalid("not-undoable", f"`{call.effect.operation}` cannot be undone")


def receipt(external_ref: str, response: object) -> Receipt:
    """The upstream's id, and what the agent's tool returns."""
    return Receipt(external_ref=external_ref, response=json.dumps(response, ensure_ascii=False))


def define(
    *,
    name: str,
    version: str,
    summary: str,
    config: type[C],
    operations: dict[str, Operation[C, Any]] | Callable[[C], dict[str, Operation[C, Any]]],
    hosts: dict[str, str] | None = None,
    methods: Sequence[str] = (),
    secrets: dict[str, str] | None = None,
    offline: bool = False,
) -> type[exports.Connector]:
    """What `app.py` exports: `Connector = define(...)`.

    `config` is a dataclass. `operations` may depend on the configuration. `hosts` and `secrets` are what is asked for, and why; `methods`
    are those by which the hosts are asked (none: GET and HEAD). `offline` says that operations need no request at all."""

    def all_operations() -> dict[str, Operation[C, Any]]:
        return operations(configured()) if callable(operations) else operations

    def configured() -> C:
        try:
            return read(config, host_config.get())
        except Malformed as malformed:
            raise invalid("bad-config", f"the configuration: {malformed}") from malformed

    def call(effect: Effect) -> tuple[Operation[C, Any], Call[C, Any]]:
        known = all_operations()
        operation = known.get(effect.operation)
        if operation is None:
            raise invalid("unknown-operation", f"there is no operation `{effect.operation}`, only {', '.join(known)}")
        try:
            payload: object = read(operation.payload, effect.payload)
        except Malformed as malformed:
            raise invalid("bad-payload", f"the payload: {malformed}") from malformed
        return operation, Call(effect, configured(), payload)

    class Connector(exports.Connector):
        def describe(self) -> str:
            try:
                known = all_operations()
            except Refused as refused:
                raise Err(str(refused)) from refused
            described = [
                {"name": one, "summary": operation.summary, "semantics": operation.semantics, "payload_schema": schema(operation.payload)}
                for one, operation in known.items()
            ]
            asks = {
                "hosts": [{"host": host, "methods": list(methods), "why": why} for host, why in (hosts or {}).items()],
                "secrets": [{"name": secret, "why": why} for secret, why in (secrets or {}).items()],
            }
            supports = {method: any(_overrides(operation, method) for operation in known.values()) for method in _ASKED}
            return json.dumps(
                {
                    "name": name,
                    "version": version,
                    "contract": "1.0.0",
                    "summary": summary,
                    "offline": offline,
                    "operations": described,
                    "supports": supports,
                    "config_schema": schema(config),
                    "asks": asks,
                }
            )

        def dispatch(self, effect: Effect) -> DispatchAnswer:
            try:
                operation, given = call(effect)
                return DispatchAnswer_Confirmed(operation.dispatch(given))
            except Refused as refused:
                return DispatchAnswer_Failed(refused.failure)
            except Exception as error:
                return DispatchAnswer_Unknown(_doubt(error))

        def status_check(self, effect: Effect, reference: str) -> StatusAnswer:
            try:
                operation, given = call(effect)
                found = operation.status_check(given, reference)
            except Exception as error:
                return StatusAnswer_Inconclusive(_doubt(error))
            if found is None:
                return StatusAnswer_NotCommitted()
            return StatusAnswer_InProgress(found.retry_after_ms) if isinstance(found, InProgress) else StatusAnswer_Committed(found)

        def observe(self, effect: Effect) -> ObserveAnswer:
            try:
                operation, given = call(effect)
                found = operation.observe(given)
            except Exception as error:
                return ObserveAnswer_Inconclusive(_doubt(error))
            match found:
                case []:
                    return ObserveAnswer_Absent()
                case [one]:
                    return ObserveAnswer_Present(one)
                case several:
                    return ObserveAnswer_Duplicate(several)

        def compensate(self, obligation: Obligation) -> CompensateAnswer:
            try:
                operation, given = call(obligation.effect)
                return CompensateAnswer_Resolved(operation.compensate(given, obligation))
            except Refused as refused:
                return CompensateAnswer_Failed(refused.failure)
            except Exception as error:
                return CompensateAnswer_Unknown(_doubt(error))

    return Connector


_ASKED = ("observe", "status_check", "compensate")


def _overrides(operation: Operation[Any, Any], method: str) -> bool:
    return getattr(type(operation), method) is not getattr(Operation, method)


def _doubt(error: Exception) -> Doubt:
    """An exception that is nobody's verdict is a defect of the connector: whether anything happened is then for the host to say."""
    if isinstance(error, Doubtful):
        return error.doubt
    if isinstance(error, Refused):
        return Doubtful(str(error)).doubt
    return Doubtful(f"the connector failed: {error!r}").doubt
