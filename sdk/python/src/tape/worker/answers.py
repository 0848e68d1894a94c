"""Answers to the server's questions: status checks, compensations, connectors in this process, timers.

A function that raises has said nothing about the world: a status check is then inconclusive, a compensation UNKNOWN if
it may have acted, and what was not found is refused, before any part of it was done.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Protocol

from tape import functions
from tape.decisions import to_json
from tape.errors import AckLost
from tape.functions import Committed, EffectInfo, Inconclusive, InProgress, NotCommitted, Timer
from tape.v1 import calls_pb2 as c
from tape.v1 import workers_pb2 as w

_log = logging.getLogger("tape.worker")


class Connector(Protocol):
    """A connector that lives in the worker's process. Any exception but `Rejected` means: nobody knows."""

    async def dispatch(self, effect: EffectInfo) -> Committed:
        """Carry the effect out. Raise `Rejected` for a definite no."""
        ...

    async def observe(self, effect: EffectInfo) -> list[Committed]:
        """Everything that the upstream has under the effect's business key or idempotency key; empty = certainly none."""
        ...


class Rejected(Exception):
    """The upstream understood and refused: nothing happened."""

    def __init__(self, message: str, *, code: str = "", retryable: bool = False) -> None:
        self.code = code
        self.retryable = retryable
        super().__init__(message)


async def answer_call(call: w.WorkerCall, kind: str, connectors: dict[str, Connector]) -> w.WorkerAnswer:
    """The answer to any call but a re-drive."""
    if kind == "status_check":
        return await _status(call.status_check)
    if kind == "compensate":
        return await _compensate(call.compensate)
    if kind == "timer":
        return await _timer(call.timer)
    if kind == "dispatch":
        return await _dispatch(call.dispatch, connectors)
    if kind == "observe":
        return await _observe(call.observe, connectors)
    return refused("unknown_call", f"this SDK does not know {kind!r}")


def refused(code: str, message: str, *, retryable: bool = False) -> w.WorkerAnswer:
    """Nothing was done."""
    return w.WorkerAnswer(refused=w.Refused(code=code, message=message, retryable=retryable))


async def _status(call: w.StatusCheckCall) -> w.WorkerAnswer:
    function = _function(call.function)
    if function is None:
        return refused("unknown_function", f"{call.function} is not a function of this app")
    try:
        found = await functions.call(function, _info(call.effect, external_ref=call.external_ref))
    except Exception as error:
        _log.warning("status check %s", call.function, exc_info=error)
        found = Inconclusive(f"{type(error).__name__}: {error}")
    return w.WorkerAnswer(status=_status_answer(found))


def _status_answer(found: Any) -> c.StatusAnswer:
    if isinstance(found, InProgress):
        return c.StatusAnswer(in_progress=c.InProgress(retry_after_ms=found.retry_after_ms))
    if isinstance(found, Inconclusive):
        return c.StatusAnswer(inconclusive=c.Doubt(reason=found.reason))
    if found is None or found is False or isinstance(found, NotCommitted):
        return c.StatusAnswer(not_committed=c.NotCommitted())
    return c.StatusAnswer(committed=_receipt(found))


async def _compensate(call: w.CompensateCall) -> w.WorkerAnswer:
    function = _function(call.function)
    if function is None:
        return refused("unknown_function", f"{call.function} is not a function of this app")
    info = _info(
        call.effect,
        external_ref=call.external_ref,
        response=_load(call.response_json),
        kind=call.kind,
        compensation=_load(call.payload_json),
        idempotency_key=call.idempotency_key,
        attempt=call.attempt,
    )
    try:
        done = await functions.call(function, info)
    except AckLost as lost:
        return w.WorkerAnswer(compensate=c.CompensateAnswer(unknown=c.Doubt(reason=str(lost))))
    except Rejected as no:
        return w.WorkerAnswer(compensate=c.CompensateAnswer(failed=_failure(no)))
    except Exception as error:
        # The function bears being called again with its key: a failure that can be tried again.
        _log.warning("compensation %s", call.function, exc_info=error)
        failure = c.Failure(
            kind=c.FAILURE_KIND_UNAVAILABLE,
            code=type(error).__name__,
            message=str(error),
            retryable=True,
        )
        return w.WorkerAnswer(compensate=c.CompensateAnswer(failed=failure))
    if isinstance(done, Inconclusive):
        return w.WorkerAnswer(compensate=c.CompensateAnswer(unknown=c.Doubt(reason=done.reason)))
    return w.WorkerAnswer(compensate=c.CompensateAnswer(resolved=_receipt(done)))


async def _timer(call: w.TimerCall) -> w.WorkerAnswer:
    handler = functions.timer_handler(call.kind)
    if handler is None:
        return refused("unknown_function", f"no handler for timers of kind {call.kind!r}: use @tape.on_timer")
    timer = Timer(call.run_id, call.timer_id, call.kind, _load(call.payload_json), call.fire_at_ms)
    try:
        await functions.call(handler, timer)
    except Exception as error:
        _log.exception("timer %s of run %s", call.timer_id, call.run_id)
        return refused("handler_failed", f"{type(error).__name__}: {error}", retryable=True)
    return w.WorkerAnswer(timer=w.TimerAck())


async def _dispatch(call: w.DispatchCall, connectors: dict[str, Connector]) -> w.WorkerAnswer:
    connector = connectors.get(call.connector)
    if connector is None:
        return refused("unknown_connector", f"{call.connector} does not live in this process")
    try:
        receipt = await connector.dispatch(_info(call.effect))
    except Rejected as no:
        return w.WorkerAnswer(dispatch=c.DispatchAnswer(failed=_failure(no)))
    except Exception as error:
        doubt = c.Doubt(reason=f"{type(error).__name__}: {error}")
        return w.WorkerAnswer(dispatch=c.DispatchAnswer(unknown=doubt))
    return w.WorkerAnswer(dispatch=c.DispatchAnswer(confirmed=_receipt(receipt)))


async def _observe(call: w.ObserveCall, connectors: dict[str, Connector]) -> w.WorkerAnswer:
    connector = connectors.get(call.connector)
    if connector is None:
        return refused("unknown_connector", f"{call.connector} does not live in this process")
    try:
        found = await connector.observe(_info(call.effect))
    except Exception as error:
        doubt = c.Doubt(reason=f"{type(error).__name__}: {error}")
        return w.WorkerAnswer(observe=c.ObserveAnswer(inconclusive=doubt))
    receipts = [_receipt(one) for one in found]
    if not receipts:
        return w.WorkerAnswer(observe=c.ObserveAnswer(absent=c.Absent()))
    if len(receipts) == 1:
        return w.WorkerAnswer(observe=c.ObserveAnswer(present=receipts[0]))
    return w.WorkerAnswer(observe=c.ObserveAnswer(duplicate=c.Duplicate(receipts=receipts)))


def _function(name: str) -> Any:
    try:
        return functions.resolve(name)
    except (ImportError, AttributeError) as error:
        _log.warning("%s cannot be imported: %s", name, error)
        return None


def _info(effect: c.EffectForConnector, **more: Any) -> EffectInfo:
    key = effect.idempotency_key
    facts: dict[str, Any] = {"idempotency_key": key, "effect_key": key, "attempt": effect.attempt, **more}
    return EffectInfo(
        run_id=effect.run_id,
        tool_name=effect.tool_name,
        payload=_load(effect.payload_json),
        operation=effect.operation,
        business_key=effect.business_key,
        **facts,
    )


def _receipt(found: Any) -> c.Receipt:
    if isinstance(found, Committed):
        response = "" if found.response is None else to_json(found.response)
        return c.Receipt(external_ref=found.external_ref, response_json=response)
    if found is True or found is None:
        return c.Receipt()
    if isinstance(found, str):
        return c.Receipt(external_ref=found)
    return c.Receipt(response_json=to_json(found))


def _failure(no: Rejected) -> c.Failure:
    return c.Failure(kind=c.FAILURE_KIND_REJECTED, code=no.code, message=str(no), retryable=no.retryable)


def _load(text: str) -> Any:
    return json.loads(text) if text else None
