"""The wrapper around every model of an agent tree: recorded answers are given back, new ones are recorded first.

It sits in the model's place, not in a callback, because an answer given by a before-model callback skips the
after-model callbacks and the streaming partials that a replay must not skip.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from google.adk.models.base_llm import BaseLlm
from google.adk.models.llm_request import LlmRequest
from google.adk.models.llm_response import LlmResponse
from google.genai import types

from tape import budget as budgets
from tape import faults, report
from tape.decisions import to_json
from tape.effects import is_being_cancelled
from tape.gates import Parked
from tape.run import DurableRun, current_run

_log = logging.getLogger("tape")

# What the model is asked, without how it is reached: http options may hold credentials.
_REQUEST_FIELDS = {"model", "contents", "config"}
_CONFIG_LEFT_OUT = {"http_options", "cached_content", "abort_signal"}
# Only for the estimate that a budget is asked to admit.
_CHARS_PER_TOKEN = 4
# ADK takes ids with this prefix away before a model sees them.
_CALL_ID_PREFIX = "adk-"


@dataclass
class Ask:
    """Who is about to ask a model: set by the plugin before the call, used up by it."""

    scope: str
    agent: str
    used: bool = False


current_ask: contextvars.ContextVar[Ask | None] = contextvars.ContextVar("tape_current_ask", default=None)


class TapeModel(BaseLlm):
    """A model whose answers are decisions of the run. Outside a run it is the model that it wraps."""

    inner: BaseLlm

    def __init__(self, inner: BaseLlm) -> None:
        super().__init__(model=inner.model, inner=inner)  # pyright: ignore[reportCallIssue]

    @property
    def capabilities(self) -> Any:
        """Those of the wrapped model."""
        return getattr(self.inner, "capabilities", None)

    def connect(self, llm_request: LlmRequest) -> Any:
        """A live connection of the wrapped model; live sessions are not journalled."""
        return self.inner.connect(llm_request)

    async def generate_content_async(
        self, llm_request: LlmRequest, stream: bool = False
    ) -> AsyncGenerator[LlmResponse, None]:
        """Replay the decision made at this place, or ask the model and record its answer before handing it on."""
        run = current_run.get()
        if run is None:
            async for response in self.inner.generate_content_async(llm_request, stream=stream):
                yield response
            return
        run.check()
        if run.parked:
            # A sibling waits at a gate: there is nothing to ask a model before it is answered.
            await run.quiet()
            raise Parked
        ask = current_ask.get()
        if ask is None or ask.used:
            ask = Ask(scope="outside the agents", agent=self.model)  # a summarizer, or a tool of the user's own
        ask.used = True
        place = run.decisions.place(ask.scope, ask.agent)
        request = describe(run, f"{ask.scope}\0{ask.agent}", llm_request)
        decision = run.decisions.find(place)
        if decision is not None:
            if decision.request_hash != request["hash"]:
                _log.warning(
                    "run %s, decision %d: %s is asked something else than was recorded; the recorded answer holds",
                    run.run_id,
                    decision.index,
                    ask.agent,
                )
                report.emit("decision_diverged", run_id=run.run_id, decision_index=decision.index, agent=ask.agent)
            report.emit("decision_replayed", run_id=run.run_id, decision_index=decision.index)
            responses = _responses(decision.response)
            learn_calls(run, decision.index, responses)
            if stream:
                for response in responses:
                    if response.content is not None and not response.error_code:
                        yield response.model_copy(update={"partial": True})
            for response in responses:
                yield response
            return

        spend = f"{run.run_id}/fence-{run.fence}/{place.scope}/{place.agent}/{place.ordinal}"
        if run.budget is not None:
            guess = len(to_json(request)) // _CHARS_PER_TOKEN
            await budgets.admit(run, run.budget, request_id=spend, model=self.model, input_tokens=guess)
        faults.point("before_model")
        report.emit("model_called", run_id=run.run_id, decision_index=run.decisions.next_index)
        final: list[LlmResponse] = []
        try:
            async for response in self.inner.generate_content_async(llm_request, stream=stream):
                if response.partial:
                    yield response
                else:
                    final.append(response)
        except asyncio.CancelledError:
            if not is_being_cancelled():
                raise RuntimeError("the call of the model was cancelled from within") from None
            run.interrupted = True  # ADK ends "normally" then, and this run has not
            raise
        faults.point("after_model")
        if run.budget is not None:
            used = [response.usage_metadata for response in final if response.usage_metadata is not None]
            await budgets.charge(
                run,
                run.budget,
                request_id=spend,
                model=self.model,
                input_tokens=sum(one.prompt_token_count or 0 for one in used),
                output_tokens=sum(one.candidates_token_count or 0 for one in used),
            )

        def answer(index: int) -> Any:
            name_calls(run, index, final)
            dumped = [response.model_dump(mode="json", exclude_none=True) for response in final]
            return dumped[0] if len(dumped) == 1 else dumped

        recorded = await run.decisions.record(place, model=self.model, request=request, answer=answer)
        learn_calls(run, recorded.index, final)
        for response in final:
            yield response


def durable(inner: BaseLlm) -> TapeModel:
    """`inner`, wrapped. The wrapper is also an instance of its class, because ADK asks models what they are: whether they
    pair calls by id, whether they keep the conversation themselves."""
    if isinstance(inner, TapeModel):
        return inner
    fields: dict[str, Any] = {**inner.__dict__, "model": inner.model, "inner": inner}
    try:
        kind: type[TapeModel] = type(f"Tape{type(inner).__name__}", (TapeModel, type(inner)), {})
        return kind.model_construct(None, **fields)
    except Exception as error:
        _log.debug("%s cannot be derived from; it is wrapped all the same: %s", type(inner).__name__, error)
        return TapeModel(inner)


def describe(run: DurableRun, chain: str, llm_request: LlmRequest) -> dict[str, Any]:
    """What the model is asked, for the journal: a hash of all of it, and only what the last request did not have."""
    whole = llm_request.model_dump(
        mode="json", exclude_none=True, include={name: True for name in _REQUEST_FIELDS}, fallback=str
    )
    config = {name: value for name, value in whole.get("config", {}).items() if name not in _CONFIG_LEFT_OUT}
    contents: list[Any] = whole.get("contents", [])
    hashes = [_hash(content) for content in contents]
    config_hash = _hash(config)
    before, config_before = run.decisions.chains.get(chain, ([], ""))
    run.decisions.chains[chain] = (hashes, config_hash)
    same = 0
    while same < min(len(before), len(hashes)) and before[same] == hashes[same]:
        same += 1
    described: dict[str, Any] = {
        "hash": _hash([whole.get("model"), hashes, config_hash]),
        "contents_from": same,
        "contents": contents[same:],
    }
    if config_hash != config_before:
        described["config"] = config
    return described


def name_calls(run: DurableRun, index: int, responses: list[LlmResponse]) -> None:
    """Give every function call an id that is the same on every attempt, because it is recorded with the answer."""
    for position, call in enumerate(_calls(responses)):
        known = run.calls.get(call.id or "")
        if not call.id or (known is not None and known[0] != index):
            call.id = f"{_CALL_ID_PREFIX}{run.run_id}-{index}-{position}"


def learn_calls(run: DurableRun, index: int, responses: list[LlmResponse]) -> None:
    """Remember which decision asked for which call."""
    counts: dict[str, int] = {}
    for call in _calls(responses):
        tool = call.name or ""
        run.calls[call.id or ""] = (index, tool, counts.get(tool, 0))
        counts[tool] = counts.get(tool, 0) + 1


def _calls(responses: list[LlmResponse]) -> list[types.FunctionCall]:
    return [
        part.function_call
        for response in responses
        if response.content is not None
        for part in response.content.parts or []
        if part.function_call is not None
    ]


def _responses(recorded: Any) -> list[LlmResponse]:
    return [LlmResponse.model_validate(one) for one in (recorded if isinstance(recorded, list) else [recorded])]


def _hash(value: Any) -> str:
    return hashlib.sha256(to_json(value).encode()).hexdigest()
