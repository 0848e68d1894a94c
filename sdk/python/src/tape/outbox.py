"""How a tool call that must not happen twice becomes an effect: the body says what is wanted, the outbox does it.

found already ─▶ the body is not needed
body ─▶ payload ─▶ begin ─▶ wait until the dispatcher, the reconciler or a person has settled it
                     │      CONFIRMED, FAILED ─▶ the recorded outcome
                     │      stuck, or too late ─▶ said so, and journalled that it was said
                     └ another run has the business key ─▶ that one's outcome
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from tape import faults, report
from tape.decisions import to_json
from tape.effects import Body, ToolCall, begin, names_of, recorded, sample
from tape.errors import AckLost, InvalidRequest, NotGranted, SafetyRefused, TapeError
from tape.shapes import error_text
from tape.tools import OutboxSpec, call_by_name
from tape.v1 import tape_pb2 as pb

_log = logging.getLogger("tape")
_POLL_S = 2.0


async def run_outbox(call: ToolCall, spec: OutboxSpec, body: Body) -> dict[str, Any]:
    """Hand the body's payload to the outbox, or find it there already, and wait for the outcome as `spec` says."""
    run = call.run
    if spec.key_from is not None:
        call.key = str(call_by_name(spec.key_from, names_of(call)))
    custom_key = call.key
    known = await recorded(run, custom_key or call.derived_key) if run.resumed else None
    owner = run.run_id
    if known is not None:
        call.key = known.idempotency_key
        # The outcome may be another run's; BeginEffect again says whose, without running the body.
        payload_json, business_key = known.request_json, known.business_key
    else:
        try:
            payload = await body()
        except (AckLost, TapeError):
            raise
        except Exception as error:
            _log.warning("the payload of %s could not be made", call.tool, exc_info=error)
            return {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        faults.point("after_body", call.tool)
        payload_json = to_json(payload)
        business_key = ""
        if spec.business_key is not None:
            business_key = str(call_by_name(spec.business_key, {**names_of(call), "payload": payload}))
    call.business_key = business_key
    try:
        begun = await begin(
            call,
            request_json=payload_json,
            custom_key=custom_key,
            semantics=pb.EFFECT_SEMANTICS_NON_IDEMPOTENT,
            dispatch_mode=pb.EFFECT_DISPATCH_MODE_OUTBOX,
            connector=spec.connector,
            operation=spec.operation,
            business_key=business_key,
            scope=spec.scope,
            compensation=spec.compensate,
            status_check=spec.status_check,
            allow_unsafe=spec.allow_unsafe,
        )
    except (SafetyRefused, NotGranted, InvalidRequest) as refusal:
        _log.warning("the server refuses %s: %s", call.tool, refusal)
        return {"status": "failed", "error": str(refusal)}
    if begun.deduplicated:
        owner = begun.owner_run_id
        report.emit("effect_deduplicated", run_id=run.run_id, tool=call.tool, key=call.key, owner_run_id=owner)
    if known is not None:
        told = await _told(call)
        if told is not None:
            return told
    return await _await_outcome(call, spec, owner, replayed=known is not None or begun.deduplicated)


async def _await_outcome(call: ToolCall, spec: OutboxSpec, owner: str, *, replayed: bool) -> dict[str, Any]:
    run = call.run
    deadline = time.monotonic() + spec.timeout_ms / 1000 if spec.timeout_ms else None
    waiting = False
    while True:
        effect = await recorded(run, call.key, owner)
        settled = effect is not None and effect.status in (pb.EFFECT_STATUS_CONFIRMED, pb.EFFECT_STATUS_FAILED)
        if effect is not None and settled:
            call.external_ref = effect.external_ref
            status = pb.EffectStatus.Name(effect.status).removeprefix("EFFECT_STATUS_")
            event = "effect_replayed" if replayed else "effect_settled"
            report.emit(event, run_id=run.run_id, tool=call.tool, key=call.key, status=status)
            faults.point("after_complete_effect", call.tool)
            return _result(effect)
        if effect is not None and effect.stuck:
            return await _tell(call, {"status": "stuck", "idempotency_key": call.key})
        if not spec.wait or (deadline is not None and time.monotonic() >= deadline):
            return await _tell(call, {"status": "pending", "idempotency_key": call.key})
        if not waiting:
            waiting = True
            report.emit("effect_waiting", run_id=run.run_id, tool=call.tool, key=call.key)
        left = _POLL_S if deadline is None else min(_POLL_S, max(deadline - time.monotonic(), 0.0))
        await run.changed(left)


async def _tell(call: ToolCall, answer: dict[str, Any]) -> dict[str, Any]:
    """Give an answer that is not final, and journal that it was given: a replay must tell the model the same."""

    async def draw() -> Any:
        return answer

    return await sample(call, call.run, "answer", draw)


async def _told(call: ToolCall) -> dict[str, Any] | None:
    """The answer that was given before the outcome was known, if one was."""
    record = await recorded(call.run, f"{call.derived_key}/answer/0")
    if record is None or record.status != pb.EFFECT_STATUS_CONFIRMED:
        return None
    return json.loads(record.response_json)


def _result(effect: pb.EffectRecord) -> dict[str, Any]:
    if effect.status == pb.EFFECT_STATUS_FAILED:
        return {"status": "failed", "error": error_text(effect.error_json)}
    response = json.loads(effect.response_json) if effect.response_json else None
    return {"status": "confirmed", "external_ref": effect.external_ref, "result": response}
