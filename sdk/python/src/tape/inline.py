"""How a tool call that acts by itself becomes an effect: intent first, then the body, then the outcome.

    begin ── CONFIRMED ─▶ the recorded result; the body does not run
      │  ── FAILED ────▶ the recorded error
      │  ── UNKNOWN ───▶ wait until somebody finds out
      ▼ PENDING
    body ── returns ─▶ CONFIRMED    raises ─▶ FAILED    AckLost ─▶ UNKNOWN, then wait
      │  ── cancelled with its driver: stays PENDING, and runs again with the same key

Knows no agent framework: a tool call comes as a `ToolCall` and a body, and goes as a result or `{"error": ...}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import Any

from tape import faults, report
from tape.decisions import to_json
from tape.effects import Body, ToolCall, begin, is_being_cancelled, names_of, recorded
from tape.errors import AckLost, InvalidRequest, NotGranted, RunCancelled, RunStopped, SafetyRefused
from tape.shapes import decode, encode, error_text, shape
from tape.tools import EffectSpec, call_by_name
from tape.v1 import tape_pb2 as pb

_log = logging.getLogger("tape")
_POLL_S = 2.0

_SETTLED = (pb.EFFECT_STATUS_CONFIRMED, pb.EFFECT_STATUS_FAILED)
_IN_DOUBT = object()

_SEMANTICS = {
    "idempotent": pb.EFFECT_SEMANTICS_IDEMPOTENT,
    "observe_only": pb.EFFECT_SEMANTICS_OBSERVE_ONLY,
}


async def run_inline(call: ToolCall, spec: EffectSpec, body: Body) -> Any:
    """Carry out an inline effect, or replay it. Never raises an ordinary exception: a failure is `{"error": ...}`."""
    if spec.key_from is not None:
        call.key = str(call_by_name(spec.key_from, names_of(call)))
    try:
        begun = await begin(
            call,
            request=call.args,
            custom_key=call.key,
            semantics=_SEMANTICS[spec.semantics],
            scope=spec.scope,
            compensation=spec.compensate,
            status_check=spec.status_check,
        )
    except (SafetyRefused, NotGranted, InvalidRequest) as refusal:
        _log.warning("the server refuses %s: %s", call.tool, refusal)
        return {"error": str(refusal)}
    if begun.status in _SETTLED:
        return _replay(call, begun)
    in_doubt = begun.status == pb.EFFECT_STATUS_UNKNOWN
    while True:
        result = _IN_DOUBT if in_doubt else await _carry_out(call, spec, body)
        if result is not _IN_DOUBT:
            return result
        found = await _await_found_out(call)
        if found.status in _SETTLED:
            return _replay(call, found)
        in_doubt = False  # it is certainly absent upstream, and may be done now


async def begin_plain(call: ToolCall) -> tuple[bool, Any]:
    """Announce a call whose body the framework runs by itself. (True, result) if it is only to be replayed."""
    begun = await begin(call, request=call.args, custom_key=call.key, semantics=pb.EFFECT_SEMANTICS_OBSERVE_ONLY)
    found = await _await_found_out(call) if begun.status == pb.EFFECT_STATUS_UNKNOWN else begun
    if found.status in _SETTLED:
        return True, _replay(call, found)
    call.run.opened(call.key)
    return False, None


async def confirm(call: ToolCall, result: Any) -> Any:
    """Record the result of an inline body. Returns it in the shape in which it will be replayed."""
    shaped = shape(result)
    faults.point("after_body", call.tool)
    try:
        await _complete(call, pb.EFFECT_STATUS_CONFIRMED, response_json=encode(shaped, call.read_actions()))
    except InvalidRequest as refusal:
        # It took hold, and what it answered is too large to keep: that much is recorded, and said.
        shaped = {"error": f"done, but its result could not be recorded: {refusal}"}
        await _complete(call, pb.EFFECT_STATUS_CONFIRMED, response_json=to_json(shaped))
    faults.point("after_complete_effect", call.tool)
    return shaped


async def fail(call: ToolCall, error: BaseException) -> dict[str, Any]:
    """Record that an inline body failed, definitely. Returns what the model is told."""
    told = {"error": f"{type(error).__name__}: {error}"}
    await _complete(
        call, pb.EFFECT_STATUS_FAILED, error_json=to_json({"type": type(error).__name__, "message": str(error), **told})
    )
    return told


async def doubt(call: ToolCall, reason: str) -> None:
    """Record that nobody knows whether an inline body took hold."""
    await _complete(call, pb.EFFECT_STATUS_UNKNOWN, error_json=to_json({"error": reason}))


async def _carry_out(call: ToolCall, spec: EffectSpec, body: Body) -> Any:
    """Run the body and record what came of it. Returns the result, or _IN_DOUBT if nobody knows."""
    run = call.run
    run.opened(call.key)
    try:
        for attempt in range(1, spec.retry.attempts + 1):
            call.attempt = attempt
            run.check()
            try:
                result = await body()
            except AckLost as lost:
                if spec.semantics == "observe_only":
                    return await fail(call, lost)
                await doubt(call, str(lost) or "the acknowledgement was lost")
                return _IN_DOUBT
            except RunCancelled as cancelled:
                return await _land_cancelled(call, cancelled)
            except asyncio.CancelledError:
                if is_being_cancelled():
                    # As if the process had died here: the next driver runs the body again, with the same key.
                    run.interrupted = True
                    if spec.semantics != "observe_only":
                        run.cut_short.append(call.key)
                    raise
                if spec.semantics == "observe_only":
                    return await fail(call, RuntimeError("cancelled from within"))
                await doubt(call, "the call was cancelled from within")
                return _IN_DOUBT
            except Exception as error:
                _log.warning("%s failed (attempt %d)", call.tool, attempt, exc_info=error)
                if attempt < spec.retry.attempts:
                    bound_ms = min(spec.retry.max_ms, spec.retry.first_ms * 2 ** (attempt - 1))
                    await asyncio.sleep(random.uniform(0, bound_ms) / 1000)
                    continue
                if spec.status_check and isinstance(error, TimeoutError | ConnectionError):
                    await doubt(call, f"{type(error).__name__}: {error}")
                    return _IN_DOUBT
                return await fail(call, error)
            return await confirm(call, result)
        raise AssertionError("a body is tried at least once")
    finally:
        run.closed(call.key)


async def _land_cancelled(call: ToolCall, cancelled: RunCancelled) -> dict[str, Any]:
    """The body gave up because the run was cancelled: the effect lands as FAILED(cancelled), and the run ends here."""
    run = call.run
    with contextlib.suppress(RunStopped):  # the server has landed the effect itself, with the cancel
        await fail(call, cancelled)
    run.stop(cancelled)
    raise RunStopped(cancelled) from cancelled


async def _complete(call: ToolCall, status: int, *, response_json: str = "", error_json: str = "") -> None:
    run = call.run
    await run.write(
        run.client.complete_effect(
            run_id=run.run_id,
            idempotency_key=call.key,
            status=status,
            response_json=response_json,
            error_json=error_json,
            fence=run.fence,
            lease_owner=run.owner,
        )
    )


def _replay(call: ToolCall, settled: pb.BeginEffectResponse | pb.EffectRecord) -> Any:
    status = pb.EffectStatus.Name(settled.status).removeprefix("EFFECT_STATUS_")
    report.emit("effect_replayed", run_id=call.run.run_id, tool=call.tool, key=call.key, status=status)
    if settled.status == pb.EFFECT_STATUS_CONFIRMED:
        return _given_back(call, settled.response_json)
    return {"error": error_text(settled.error_json)}


async def _await_found_out(call: ToolCall) -> pb.EffectRecord:
    """Wait until somebody has found out what became of an effect. A stuck one waits for a person."""
    run = call.run
    report.emit("effect_waiting", run_id=run.run_id, tool=call.tool, key=call.key)
    while True:
        effect = await recorded(run, call.key)
        if effect is not None and effect.status != pb.EFFECT_STATUS_UNKNOWN:
            return effect
        await run.changed(_POLL_S)


def _given_back(call: ToolCall, response_json: str) -> Any:
    """The recorded result; what the body did beside returning it is done again."""
    result, actions = decode(response_json)
    if actions:
        call.apply_actions(actions)
    return result
