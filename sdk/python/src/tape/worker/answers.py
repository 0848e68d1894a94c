"""Answers to the server's questions: status checks, compensations, timers; connectors in this process are asked by `acting`.

A function that raises has said nothing about the world: a status check is then inconclusive, a compensation UNKNOWN if
it may have acted, and what was not found is refused, before any part of it was done.
"""

from __future__ import annotations

import logging
from typing import Any

from tape import functions
from tape.connectors import METHODS, Rejected
from tape.errors import AckLost
from tape.functions import Inconclusive, Timer
from tape.v1 import calls_pb2 as c
from tape.v1 import workers_pb2 as w
from tape.worker import acting
from tape.worker.records import decoded, failure, info, receipt, status_answer

_log = logging.getLogger("tape.worker")


async def answer_call(call: w.WorkerCall, kind: str, connectors: dict[str, Any]) -> w.WorkerAnswer:
    """The answer to any call but a re-drive."""
    if kind in METHODS and acting.named(call, kind):
        return await acting.ask(call, kind, connectors)
    if kind == "status_check":
        return await _status(call.status_check)
    if kind == "compensate":
        return await _compensate(call.compensate)
    if kind == "timer":
        return await _timer(call.timer)
    return refused("unknown_call", f"this SDK does not know {kind!r}")


def refused(code: str, message: str, *, retryable: bool = False) -> w.WorkerAnswer:
    """Nothing was done."""
    return w.WorkerAnswer(refused=w.Refused(code=code, message=message, retryable=retryable))


async def _status(call: w.StatusCheckCall) -> w.WorkerAnswer:
    function = _function(call.function)
    if function is None:
        return refused("unknown_function", f"{call.function} is not a function of this app")
    try:
        found = await functions.call(function, info(call.effect, external_ref=call.external_ref))
    except Exception as error:
        _log.warning("status check %s", call.function, exc_info=error)
        found = Inconclusive(f"{type(error).__name__}: {error}")
    return w.WorkerAnswer(status=status_answer(found))


async def _compensate(call: w.CompensateCall) -> w.WorkerAnswer:
    function = _function(call.function)
    if function is None:
        return refused("unknown_function", f"{call.function} is not a function of this app")
    told = info(
        call.effect,
        external_ref=call.external_ref,
        response=decoded(call.response_json),
        kind=call.kind,
        compensation=decoded(call.payload_json),
        idempotency_key=call.idempotency_key,
        attempt=call.attempt,
    )
    try:
        done = await functions.call(function, told)
    except AckLost as lost:
        return w.WorkerAnswer(compensate=c.CompensateAnswer(unknown=c.Doubt(reason=str(lost))))
    except Rejected as no:
        return w.WorkerAnswer(compensate=c.CompensateAnswer(failed=failure(no)))
    except Exception as error:
        # The function bears being called again with its key: a failure that can be tried again.
        _log.warning("compensation %s", call.function, exc_info=error)
        no_yet = c.Failure(
            kind=c.FAILURE_KIND_UNAVAILABLE,
            code=type(error).__name__,
            message=str(error),
            retryable=True,
        )
        return w.WorkerAnswer(compensate=c.CompensateAnswer(failed=no_yet))
    if isinstance(done, Inconclusive):
        return w.WorkerAnswer(compensate=c.CompensateAnswer(unknown=c.Doubt(reason=done.reason)))
    return w.WorkerAnswer(compensate=c.CompensateAnswer(resolved=receipt(done)))


async def _timer(call: w.TimerCall) -> w.WorkerAnswer:
    handler = functions.timer_handler(call.kind)
    if handler is None:
        return refused("unknown_function", f"no handler for timers of kind {call.kind!r}: use @tape.on_timer")
    timer = Timer(call.run_id, call.timer_id, call.kind, decoded(call.payload_json), call.fire_at_ms)
    try:
        await functions.call(handler, timer)
    except Exception as error:
        _log.exception("timer %s of run %s", call.timer_id, call.run_id)
        return refused("handler_failed", f"{type(error).__name__}: {error}", retryable=True)
    return w.WorkerAnswer(timer=w.TimerAck())


def _function(name: str) -> Any:
    try:
        return functions.resolve(name)
    except (ImportError, AttributeError) as error:
        _log.warning("%s cannot be imported: %s", name, error)
        return None
