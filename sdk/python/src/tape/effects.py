"""How one tool call becomes an effect: intent first, then the body, then the outcome.

    begin ── CONFIRMED ─▶ the recorded result; the body does not run
      │  ── FAILED ────▶ the recorded error
      │  ── UNKNOWN ───▶ wait until somebody finds out
      ▼ PENDING
    inline: body ── returns ─▶ CONFIRMED    raises ─▶ FAILED    AckLost, cancelled ─▶ UNKNOWN, then wait
    outbox: wait until the dispatcher has settled it

Knows no agent framework: a tool call comes as a `ToolCall` and a body, and goes as a result or `{"error": ...}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tape import faults, functions, report
from tape.decisions import to_json
from tape.errors import AckLost, InvalidRequest, NotGranted, RunCancelled, RunStopped, SafetyRefused, TapeError
from tape.functions import Compensation
from tape.run import DurableRun
from tape.tools import EffectSpec, OutboxSpec, call_by_name
from tape.v1 import tape_pb2 as pb

Body = Callable[[], Awaitable[Any]]

_log = logging.getLogger("tape")
_POLL_S = 2.0
_ACTIONS = "tape_actions"

_SEMANTICS = {
    "idempotent": pb.EFFECT_SEMANTICS_IDEMPOTENT,
    "non_idempotent": pb.EFFECT_SEMANTICS_NON_IDEMPOTENT,
    "observe_only": pb.EFFECT_SEMANTICS_OBSERVE_ONLY,
}


@dataclass
class ToolCall:
    """One call of one tool, and where in the journal it stands."""

    run: DurableRun
    tool: str
    call_id: str
    args: dict[str, Any]
    decision_index: int
    call_index: int
    tool_context: Any = None
    # Reads what the body did to the framework's own state, and does it again on a replay.
    read_actions: Callable[[], dict[str, Any]] = dict
    apply_actions: Callable[[dict[str, Any]], None] = lambda actions: None
    key: str = ""
    business_key: str = ""
    external_ref: str = ""
    attempt: int = 1
    # How long a gate in this call waits, if the tool says so; 0 = forever.
    timeout_ms: int = 0
    draws: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def derived_key(self) -> str:
        """The key that the server gives to an effect at this place."""
        return f"{self.run.run_id}/d-{self.decision_index}/{self.tool}/{self.call_index}"


current_call: contextvars.ContextVar[ToolCall | None] = contextvars.ContextVar("tape_current_call", default=None)


async def run_inline(call: ToolCall, spec: EffectSpec, body: Body) -> Any:
    """Carry out an inline effect, or replay it. Never raises an ordinary exception: a failure is `{"error": ...}`."""
    if spec.key_from is not None:
        call.key = str(call_by_name(spec.key_from, _names(call)))
    try:
        begun = await _begin(
            call,
            request=call.args,
            custom_key=call.key,
            semantics=_SEMANTICS[spec.semantics],
            scope=spec.scope,
            compensation=spec.compensate,
            status_check=spec.status_check,
        )
    except (SafetyRefused, NotGranted, InvalidRequest) as refusal:
        return {"error": str(refusal)}
    if begun.status != pb.EFFECT_STATUS_PENDING:
        return await _replay_inline(call, begun)
    return await _carry_out(call, spec, body)


async def begin_plain(call: ToolCall) -> tuple[bool, Any]:
    """Announce a call whose body the framework runs by itself. (True, result) if it is only to be replayed."""
    begun = await _begin(call, request=call.args, custom_key=call.key, semantics=pb.EFFECT_SEMANTICS_OBSERVE_ONLY)
    if begun.status == pb.EFFECT_STATUS_PENDING:
        call.run.opened(call.key)
        return False, None
    return True, await _replay_inline(call, begun)


async def confirm(call: ToolCall, result: Any) -> Any:
    """Record the result of an inline body. Returns it in the shape in which it will be replayed."""
    shaped = shape(result)
    faults.point("after_body", call.tool)
    try:
        await _complete(call, pb.EFFECT_STATUS_CONFIRMED, response_json=_encode(shaped, call.read_actions()))
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


async def run_outbox(call: ToolCall, spec: OutboxSpec, body: Body) -> dict[str, Any]:
    """Hand the body's payload to the outbox, or find it there already, and wait for the outcome as `spec` says."""
    run = call.run
    if spec.key_from is not None:
        call.key = str(call_by_name(spec.key_from, _names(call)))
    custom_key = call.key
    known = await _recorded(run, custom_key or call.derived_key) if run.resumed else None
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
            business_key = str(call_by_name(spec.business_key, {**_names(call), "payload": payload}))
    call.business_key = business_key
    try:
        begun = await _begin(
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
        return {"status": "failed", "error": str(refusal)}
    if begun.deduplicated:
        owner = begun.owner_run_id
        report.emit("effect_deduplicated", run_id=run.run_id, tool=call.tool, key=call.key, owner_run_id=owner)
    if known is not None:
        told = await _told(call)
        if told is not None:
            return told
    return await _await_outbox(call, spec, owner, replayed=known is not None or begun.deduplicated)


async def sample(call: ToolCall | None, run: DurableRun, name: str, draw: Callable[[], Awaitable[Any]]) -> Any:
    """Draw a value once and journal it; on a replay, the recorded one."""
    if call is not None:
        prefix, index, place = call.derived_key, call.decision_index, call.draws
    else:
        prefix, index, place = (
            f"{run.run_id}/d-{max(run.decisions.last_index, 0)}",
            run.decisions.last_index,
            run.awaits,
        )
    count = place.get(f"sample:{name}", 0)
    place[f"sample:{name}"] = count + 1
    key = f"{prefix}/{name}/{count}"
    begun = await run.write(
        run.client.begin_effect(
            run_id=run.run_id,
            decision_index=max(index, 0),
            tool_name=f"tape.{name}",
            call_index=count,
            custom_key=key,
            request_json="{}",
            semantics=pb.EFFECT_SEMANTICS_OBSERVE_ONLY,
            fence=run.fence,
            lease_owner=run.owner,
        )
    )
    if begun.status == pb.EFFECT_STATUS_CONFIRMED:
        return json.loads(begun.response_json)
    value = await draw()
    await run.write(
        run.client.complete_effect(
            run_id=run.run_id,
            idempotency_key=begun.idempotency_key,
            status=pb.EFFECT_STATUS_CONFIRMED,
            response_json=to_json(value),
            fence=run.fence,
            lease_owner=run.owner,
        )
    )
    # As it will be replayed, so that the first time is no different.
    return json.loads(to_json(value))


def is_being_cancelled() -> bool:
    """Whether a CancelledError caught just now was meant for this task, and did not come out of what it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def shape(result: Any) -> dict[str, Any]:
    """A tool's result as the model sees it and the journal keeps it: a dict of JSON; anything else as `{"result": x}`."""
    value = result if isinstance(result, dict) else {"result": result}
    return json.loads(to_json(_plain(value)))


async def _begin(
    call: ToolCall,
    *,
    request: Any = None,
    request_json: str = "",
    custom_key: str,
    semantics: int,
    dispatch_mode: int = pb.EFFECT_DISPATCH_MODE_INLINE,
    connector: str = "",
    operation: str = "",
    business_key: str = "",
    scope: str = "",
    compensation: Compensation | None = None,
    status_check: str = "",
    allow_unsafe: bool = False,
) -> pb.BeginEffectResponse:
    run = call.run
    faults.point("before_begin_effect", call.tool)
    begun = await run.write(
        run.client.begin_effect(
            run_id=run.run_id,
            decision_index=call.decision_index,
            tool_name=call.tool,
            call_index=call.call_index,
            request_json=request_json or to_json(_plain(request)),
            custom_key=custom_key,
            semantics=semantics,
            dispatch_mode=dispatch_mode,
            business_key=business_key,
            connector=connector,
            operation=operation,
            scope=scope,
            compensation=_handle(compensation),
            status_check=status_check,
            allow_unsafe=allow_unsafe,
            fence=run.fence,
            lease_owner=run.owner,
        )
    )
    call.key = begun.idempotency_key
    call.external_ref = begun.external_ref
    faults.point("after_begin_effect", call.tool)
    return begun


async def _carry_out(call: ToolCall, spec: EffectSpec, body: Body) -> Any:
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
                return await _await_inline(call)
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
                return await _await_inline(call)
            except Exception as error:
                _log.warning("%s failed (attempt %d)", call.tool, attempt, exc_info=error)
                if attempt < spec.retry.attempts:
                    bound_ms = min(spec.retry.max_ms, spec.retry.first_ms * 2 ** (attempt - 1))
                    await asyncio.sleep(random.uniform(0, bound_ms) / 1000)
                    continue
                if spec.status_check and isinstance(error, TimeoutError | ConnectionError):
                    await doubt(call, f"{type(error).__name__}: {error}")
                    return await _await_inline(call)
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


async def _replay_inline(call: ToolCall, begun: pb.BeginEffectResponse) -> Any:
    if begun.status == pb.EFFECT_STATUS_UNKNOWN:
        return await _await_inline(call)
    status = pb.EffectStatus.Name(begun.status).removeprefix("EFFECT_STATUS_")
    report.emit("effect_replayed", run_id=call.run.run_id, tool=call.tool, key=call.key, status=status)
    if begun.status == pb.EFFECT_STATUS_CONFIRMED:
        return _decode(call, begun.response_json)
    return {"error": _error_text(begun.error_json)}


async def _await_inline(call: ToolCall) -> Any:
    """Wait until somebody has found out what became of an inline effect. A stuck one waits for a person."""
    run = call.run
    report.emit("effect_waiting", run_id=run.run_id, tool=call.tool, key=call.key)
    while True:
        effect = await _recorded(run, call.key)
        if effect is not None and effect.status == pb.EFFECT_STATUS_CONFIRMED:
            report.emit("effect_replayed", run_id=run.run_id, tool=call.tool, key=call.key, status="CONFIRMED")
            return _decode(call, effect.response_json)
        if effect is not None and effect.status == pb.EFFECT_STATUS_FAILED:
            return {"error": _error_text(effect.error_json)}
        await run.changed(_POLL_S)


async def _await_outbox(call: ToolCall, spec: OutboxSpec, owner: str, *, replayed: bool) -> dict[str, Any]:
    run = call.run
    deadline = time.monotonic() + spec.timeout_ms / 1000 if spec.timeout_ms else None
    waiting = False
    while True:
        effect = await _recorded(run, call.key, owner)
        settled = effect is not None and effect.status in (pb.EFFECT_STATUS_CONFIRMED, pb.EFFECT_STATUS_FAILED)
        if effect is not None and settled:
            call.external_ref = effect.external_ref
            status = pb.EffectStatus.Name(effect.status).removeprefix("EFFECT_STATUS_")
            event = "effect_replayed" if replayed else "effect_settled"
            report.emit(event, run_id=run.run_id, tool=call.tool, key=call.key, status=status)
            faults.point("after_complete_effect", call.tool)
            return _outbox_result(effect)
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
    record = await _recorded(call.run, f"{call.derived_key}/answer/0")
    if record is None or record.status != pb.EFFECT_STATUS_CONFIRMED:
        return None
    return json.loads(record.response_json)


async def _recorded(run: DurableRun, key: str, owner: str = "") -> pb.EffectRecord | None:
    answer = await run.write(run.client.get_effect(run_id=owner or run.run_id, idempotency_key=key))
    return answer.effect if answer.found else None


def _outbox_result(effect: pb.EffectRecord) -> dict[str, Any]:
    if effect.status == pb.EFFECT_STATUS_FAILED:
        return {"status": "failed", "error": _error_text(effect.error_json)}
    response = json.loads(effect.response_json) if effect.response_json else None
    return {"status": "confirmed", "external_ref": effect.external_ref, "result": response}


def _handle(compensation: Compensation | None) -> pb.CompensationHandle | None:
    if compensation is None:
        return None
    return pb.CompensationHandle(
        connector=compensation.connector,
        function=functions.reference(compensation.function),
        kind=compensation.kind,
        payload_json="" if compensation.payload is None else to_json(compensation.payload),
    )


def _names(call: ToolCall) -> dict[str, Any]:
    return {**call.args, "args": call.args, "tool_context": call.tool_context}


def _encode(shaped: dict[str, Any], actions: dict[str, Any]) -> str:
    return to_json({"result": shaped, _ACTIONS: _plain(actions)} if actions else shaped)


def _decode(call: ToolCall, response_json: str) -> Any:
    """The recorded result; what the body did beside returning it is done again."""
    value: Any = json.loads(response_json) if response_json else {"result": None}
    if isinstance(value, dict) and _ACTIONS in value:
        call.apply_actions(value[_ACTIONS])
        return value["result"]
    return value


def _error_text(error_json: str) -> str:
    try:
        value = json.loads(error_json)
    except ValueError:
        return error_json or "failed"
    if isinstance(value, dict):
        return str(value.get("error") or value.get("message") or error_json)
    return str(value)


def _plain(value: Any) -> Any:
    """Pydantic models and the like as JSON; what has no JSON as its text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    return value
