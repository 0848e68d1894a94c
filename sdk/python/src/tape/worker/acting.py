"""Asking a connector that lives in this process, and what its methods mean by what they return or raise."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

from tape import connectors
from tape.connectors import Rejected
from tape.errors import AckLost
from tape.functions import EffectInfo, Inconclusive
from tape.v1 import calls_pb2 as c
from tape.v1 import workers_pb2 as w
from tape.worker.records import decoded, failure, info, receipt, status_answer

_log = logging.getLogger("tape.worker")

# The answer has its own way to go.
_OF_ITS_TIME = 0.95


class _TooLate(Exception):
    """It would begin after the server has given up on it."""


class _NoAnswer(Exception):
    """Nothing definite is known: the reason."""


def named(call: w.WorkerCall, kind: str) -> str:
    """The connector that a call is to; empty if it is to none."""
    return str(getattr(getattr(call, kind, None), "connector", ""))


async def ask(call: w.WorkerCall, kind: str, known: dict[str, Any]) -> w.WorkerAnswer:
    """The answer to `dispatch`, `observe`, `status_check` or `compensate`."""
    question = getattr(call, kind)
    one = known.get(question.connector)
    if one is None:
        return _refused("unknown_connector", f"{question.connector} does not live in this process")
    if not connectors.supports(one, kind):
        return _refused("unsupported", f"{question.connector} has no {kind}")
    effect = _told(question, kind)
    try:
        found = await _call(getattr(one, kind), effect, call)
        return _answers(kind, found)
    except _TooLate:
        return _refused("too_late", f"{question.connector}: it was read after it had to be begun", retryable=True)
    except Rejected as no:
        return _rejected(kind, no)
    except (AckLost, _NoAnswer) as lost:
        return _doubt(kind, str(lost))
    except Exception as error:
        _log.warning("%s of connector %s", kind, question.connector, exc_info=error)
        return _doubt(kind, f"{type(error).__name__}: {error}")


async def _call(method: Callable[..., Any], effect: EffectInfo, call: w.WorkerCall) -> Any:
    """Calls it in time: not after `begin_by_ms`, and no longer than its answer is waited for."""

    def in_thread() -> Any:
        # A thread may come late, too.
        _in_time(call)
        return method(effect)

    async def made() -> Any:
        if inspect.iscoroutinefunction(method):
            _in_time(call)
            return await method(effect)
        result = await asyncio.to_thread(in_thread)
        return await result if inspect.isawaitable(result) else result

    within_s = call.answer_within_ms * _OF_ITS_TIME / 1000 or None
    limit = asyncio.timeout(within_s)
    try:
        async with limit:
            return await made()
    except TimeoutError as error:
        # Or the method's own, which says less than this.
        if limit.expired():
            raise _NoAnswer(f"no answer within {call.answer_within_ms} ms") from error
        raise


def _in_time(call: w.WorkerCall) -> None:
    if call.begin_by_ms and time.time() * 1000 > call.begin_by_ms:
        raise _TooLate


def _told(question: Any, kind: str) -> EffectInfo:
    if kind == "status_check":
        return info(question.effect, external_ref=question.external_ref)
    if kind == "compensate":
        return info(
            question.effect,
            external_ref=question.external_ref,
            response=decoded(question.response_json),
            kind=question.kind,
            compensation=decoded(question.payload_json),
            idempotency_key=question.idempotency_key,
            attempt=question.attempt,
        )
    return info(question.effect)


def _answers(kind: str, found: Any) -> w.WorkerAnswer:
    if isinstance(found, Inconclusive):
        return _doubt(kind, found.reason)
    if kind == "dispatch":
        return w.WorkerAnswer(dispatch=c.DispatchAnswer(confirmed=receipt(found)))
    if kind == "compensate":
        return w.WorkerAnswer(compensate=c.CompensateAnswer(resolved=receipt(found)))
    if kind == "status_check":
        return w.WorkerAnswer(status=status_answer(found))
    return w.WorkerAnswer(observe=_observed(found))


def _observed(found: Any) -> c.ObserveAnswer:
    if found is None:
        raise _NoAnswer("observe returned nothing: return [] where the books certainly have none")
    receipts = [receipt(one) for one in (found if isinstance(found, list | tuple) else [found])]
    if not receipts:
        return c.ObserveAnswer(absent=c.Absent())
    if len(receipts) == 1:
        return c.ObserveAnswer(present=receipts[0])
    return c.ObserveAnswer(duplicate=c.Duplicate(receipts=receipts))


def _rejected(kind: str, no: Rejected) -> w.WorkerAnswer:
    if kind == "dispatch":
        return w.WorkerAnswer(dispatch=c.DispatchAnswer(failed=failure(no)))
    if kind == "compensate":
        return w.WorkerAnswer(compensate=c.CompensateAnswer(failed=failure(no)))
    # A refusal to tell says nothing about what there is.
    return _doubt(kind, f"the upstream refuses to tell: {no}")


def _doubt(kind: str, reason: str) -> w.WorkerAnswer:
    doubt = c.Doubt(reason=reason)
    if kind == "dispatch":
        return w.WorkerAnswer(dispatch=c.DispatchAnswer(unknown=doubt))
    if kind == "compensate":
        return w.WorkerAnswer(compensate=c.CompensateAnswer(unknown=doubt))
    if kind == "status_check":
        return w.WorkerAnswer(status=c.StatusAnswer(inconclusive=doubt))
    return w.WorkerAnswer(observe=c.ObserveAnswer(inconclusive=doubt))


def _refused(code: str, message: str, *, retryable: bool = False) -> w.WorkerAnswer:
    return w.WorkerAnswer(refused=w.Refused(code=code, message=message, retryable=retryable))
