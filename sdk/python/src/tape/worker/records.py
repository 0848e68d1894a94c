"""Records of the wire as the app's own functions and connectors see them, and back."""

from __future__ import annotations

import json
from typing import Any

from tape.connectors import Rejected
from tape.decisions import to_json
from tape.functions import Committed, EffectInfo, Inconclusive, InProgress, NotCommitted
from tape.v1 import calls_pb2 as c


def info(effect: c.EffectForConnector, **more: Any) -> EffectInfo:
    """An effect, with what a status check or a compensation is told beside it."""
    key = effect.idempotency_key
    facts: dict[str, Any] = {"idempotency_key": key, "effect_key": key, "attempt": effect.attempt, **more}
    return EffectInfo(
        run_id=effect.run_id,
        tool_name=effect.tool_name,
        payload=decoded(effect.payload_json),
        operation=effect.operation,
        business_key=effect.business_key,
        tenant_id=effect.tenant_id,
        app_name=effect.app_name,
        decision_index=effect.decision_index,
        deadline_ms=effect.deadline_ms,
        trace_parent=effect.trace_parent,
        idempotent=effect.idempotent,
        **facts,
    )


def receipt(found: Any) -> c.Receipt:
    """What took hold: `Committed`, the upstream's own name for it, or what it answered. Raises for what is no JSON."""
    if isinstance(found, Committed):
        response = "" if found.response is None else to_json(found.response)
        return c.Receipt(external_ref=found.external_ref, response_json=response)
    if found is True or found is None:
        return c.Receipt()
    if isinstance(found, str):
        return c.Receipt(external_ref=found)
    return c.Receipt(response_json=to_json(found))


def failure(no: Rejected) -> c.Failure:
    """A definite no."""
    return c.Failure(kind=c.FAILURE_KIND_REJECTED, code=no.code, message=str(no), retryable=no.retryable)


def status_answer(found: Any) -> c.StatusAnswer:
    """What a status check found."""
    if isinstance(found, InProgress):
        return c.StatusAnswer(in_progress=c.InProgress(retry_after_ms=found.retry_after_ms))
    if isinstance(found, Inconclusive):
        return c.StatusAnswer(inconclusive=c.Doubt(reason=found.reason))
    if found is None or found is False or isinstance(found, NotCommitted):
        return c.StatusAnswer(not_committed=c.NotCommitted())
    return c.StatusAnswer(committed=receipt(found))


def decoded(text: str) -> Any:
    """JSON, or nothing."""
    return json.loads(text) if text else None
