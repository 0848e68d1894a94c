"""A run's decisions: which are recorded, and the recording of new ones.

A decision is found again by its place in the agent, not by its number: (scope, agent, how-manieth call of its model
there). The number is given when it is recorded, one after the other, so that numbers have no holes even when branches
decide in parallel. The request's hash is compared, never used to look up: a prompt that changed is reported and the
recorded answer still holds.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tape import faults
from tape.errors import Divergence
from tape.v1 import tape_pb2 as pb

if TYPE_CHECKING:
    from tape.run import DurableRun

_LOAD_AT_ONCE = 16
# A prompt may hold pictures; its hash is enough to tell whether a replay asks the same.
_REQUEST_CHARS_MAX = 1_000_000


@dataclass(frozen=True)
class Place:
    """Where in the agent a decision is made. `scope` tells branches and nested agents apart; `ordinal` counts from 0."""

    scope: str
    agent: str
    ordinal: int


@dataclass(frozen=True)
class Decision:
    """A recorded decision: its number, what the model answered (decoded), and the hash of what it was asked."""

    index: int
    response: Any
    request_hash: str
    policy_version: str = ""


class Decisions:
    """The decisions of one run under its driver."""

    def __init__(self, run: DurableRun, *, policy_version: str) -> None:
        self._run = run
        self._policy_version = policy_version
        self._recorded: dict[Place, Decision] = {}
        self._counts: dict[tuple[str, str], int] = {}
        self._next = 0
        self._recording = asyncio.Lock()
        self.last_index = -1
        self.recorded_policy = policy_version
        # By chain of requests: the hashes of the last one, so that only what is new is recorded of the next.
        self.chains: dict[str, tuple[list[str], str]] = {}

    @property
    def next_index(self) -> int:
        """The number that the next new decision will get."""
        return self._next

    async def load(self, count: int) -> None:
        """Read the first `count` decisions, a few at a time."""
        run = self._run
        for first in range(0, count, _LOAD_AT_ONCE):
            indexes = range(first, min(first + _LOAD_AT_ONCE, count))
            answers = await asyncio.gather(
                *(run.write(run.client.get_decision(run_id=run.run_id, decision_index=index)) for index in indexes)
            )
            for answer in answers:
                if answer.found:
                    self._remember(answer.decision)
        self._next = max(self._next, count)

    def place(self, scope: str, agent: str) -> Place:
        """The place of the decision that this agent makes next in this scope."""
        ordinal = self._counts.get((scope, agent), 0)
        self._counts[scope, agent] = ordinal + 1
        return Place(scope, agent, ordinal)

    def find(self, place: Place) -> Decision | None:
        """The decision recorded for this place."""
        decision = self._recorded.get(place)
        if decision is not None:
            self.last_index = max(self.last_index, decision.index)
            self.recorded_policy = decision.policy_version
        return decision

    async def record(self, place: Place, *, model: str, request: dict[str, Any], answer: Any) -> Decision:
        """Record what a model answered, before anybody sees it. `answer(index)` is given the number and returns JSON."""
        run = self._run
        async with self._recording:
            index = self._next
            response = answer(index)
            request_json = to_json({"place": vars(place), **request})
            if len(request_json) > _REQUEST_CHARS_MAX:
                request_json = to_json({"place": vars(place), "hash": request.get("hash"), "left_out": len(request_json)})
            try:
                await run.write(
                    run.client.record_decision(
                        run_id=run.run_id,
                        decision_index=index,
                        model=model,
                        request_json=request_json,
                        response_json=to_json(response),
                        policy_version=self._policy_version,
                        fence=run.fence,
                        lease_owner=run.owner,
                    )
                )
            except Divergence as cause:
                raise Divergence(
                    f"Decision {index} of run {run.run_id} is recorded with another answer: two drivers, or a hand edit.",
                    code=cause.code,
                    cure=cause.cure,
                ) from cause
            self._next = index + 1
        faults.point("after_decision")
        self.last_index = max(self.last_index, index)
        self.recorded_policy = self._policy_version
        decision = Decision(index, response, str(request.get("hash", "")), self._policy_version)
        self._recorded[place] = decision
        return decision

    def _remember(self, record: pb.DecisionRecord) -> None:
        request = json.loads(record.request_json or "{}")
        place = request.get("place") if isinstance(request, dict) else None
        if not isinstance(place, dict):
            return  # recorded by a client that keeps no places: nothing here can ask for it
        at = Place(str(place.get("scope", "")), str(place.get("agent", "")), int(place.get("ordinal", 0)))
        self._recorded[at] = Decision(
            index=record.decision_index,
            response=json.loads(record.response_json or "null"),
            request_hash=str(request.get("hash", "")),
            policy_version=record.policy_version,
        )


def to_json(value: Any) -> str:
    """Compact JSON with sorted keys: the same value is always the same text."""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: they become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
