"""One run as its driver sees it: lease, fence, heartbeat, and the way every write goes.

Knows no agent framework. A write that is refused because somebody newer drives the run, because the run was cancelled,
or because no server answers, stops the run at once: `RunStopped` passes through everything that catches `Exception`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import os
import socket
import uuid
from collections.abc import Awaitable
from typing import Any, TypeVar

from tape import faults
from tape.budget import Budget, set_caps
from tape.client import TapeClient
from tape.decisions import Decisions
from tape.errors import Fenced, NotFound, RunCancelled, RunStopped, SafetyRefused, TapeError, Unavailable
from tape.v1 import tape_pb2 as pb

T = TypeVar("T")
_log = logging.getLogger("tape")

LEASE_TTL_MS = 120_000
_CODE_LEASE_GONE = "TAPE-R006"
_ENDED = frozenset({pb.RUN_STATUS_TERMINAL, pb.RUN_STATUS_FAILED, pb.RUN_STATUS_STUCK, pb.RUN_STATUS_CANCELLED})

current_run: contextvars.ContextVar[DurableRun | None] = contextvars.ContextVar("tape_current_run", default=None)

# Which runs this process drives now. A second drive of the same run in one process would hold the same lease.
_driving: dict[str, DurableRun] = {}


def lease_owner() -> str:
    """The name under which this process takes leases: unique per process, stable over reconnects."""
    global _owner
    if _owner[0] != os.getpid():
        _owner = (os.getpid(), f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
    return _owner[1]


_owner: tuple[int, str] = (0, "")


def driving() -> list[str]:
    """The ids of the runs that this process drives."""
    return sorted(_driving)


def is_driving(run_id: str) -> bool:
    """Whether this process drives the run."""
    return run_id in _driving


def find(run_id: str) -> DurableRun | None:
    """The run, if this process drives it."""
    return _driving.get(run_id)


class DurableRun:
    """A run under this process's lease. Made by `begin`, ended by `end` or left by `leave`."""

    def __init__(
        self, client: TapeClient, begun: pb.BeginRunResponse, *, owner: str, ttl_ms: int, policy_version: str
    ) -> None:
        self.client = client
        self.run_id: str = begun.run_id
        self.fence: int = begun.fence
        self.owner = owner
        self.ttl_ms = ttl_ms
        self.resumed: bool = begun.resumed
        self.status: int = begun.status
        self.next_seq: int = begun.next_seq
        self.decisions = Decisions(self, policy_version=policy_version)
        self.stopped: Exception | None = None
        self.parked = False
        self.budget: Budget | None = None
        self.cancelled = False
        self._cancel_reason = ""
        self.loop = asyncio.get_running_loop()
        # call id -> (decision_index, tool name, the how-manieth call of that tool in the decision)
        self.calls: dict[str, tuple[int, str, int]] = {}
        # Effects whose body is running: a gate waits for them before it parks the run.
        self.open_effects: set[str] = set()
        self.effects_changed = asyncio.Event()
        self.awaits: dict[str, int] = {}
        # Events of this run that the session holds already (id -> timestamp), and how often each was said in this attempt.
        self.stored_events: dict[str, float] = {}
        self.event_counts: dict[str, int] = {}
        # The session's state as the server has it.
        self.stored_state: dict[str, Any] = {}
        # A body or a model was cancelled while it ran: however the framework ends then, the run has not.
        self.interrupted = False
        # Effects whose body was cancelled while it ran. They stay PENDING, as after a crash, unless the run ends.
        self.cut_short: list[str] = []
        self._heart: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._seen = asyncio.Event()

    @classmethod
    async def begin(
        cls,
        client: TapeClient,
        *,
        app_name: str,
        user_id: str,
        session_id: str,
        invocation_id: str,
        input_json: str = "",
        ttl_ms: int = LEASE_TTL_MS,
        policy_version: str = "",
        scopes: list[str] | None = None,
        labels: dict[str, str] | None = None,
        owner: str = "",
        budget: Budget | None = None,
    ) -> DurableRun:
        """Take the run's lease, creating the run if need be, and load the decisions that it holds.

        Raises LeaseHeld while another driver's lease lives. A run that has ended is returned without a lease (`ended`).
        """
        faults.point("before_begin_run")
        holder = owner or lease_owner()
        begun = await client.begin_run(
            app_name=app_name,
            user_id=user_id,
            session_id=session_id,
            invocation_id=invocation_id,
            lease_owner=holder,
            lease_ttl_ms=ttl_ms,
            fenced=True,
            input_json=input_json,
            scopes=scopes,
            labels=labels,
        )
        run = cls(client, begun, owner=holder, ttl_ms=ttl_ms, policy_version=policy_version)
        if run.ended:
            return run
        if run.run_id in _driving:
            raise Fenced(f"Run {run.run_id} is being driven by this process already.")
        _driving[run.run_id] = run
        try:
            faults.point("after_begin_run")
            run._heart = asyncio.create_task(run._beat(), name=f"tape-heartbeat-{run.run_id}")
            if run.resumed:
                await run.decisions.load(begun.next_decision_index)
            if budget is not None:
                run.budget = budget
                await set_caps(run, budget)
        except BaseException:
            await run.leave()
            raise
        return run

    @property
    def ended(self) -> bool:
        """The run had ended when it was begun."""
        return self.status in _ENDED

    def cancel(self, reason: str) -> None:
        """The run was cancelled: it stops here at the next boundary, and bodies that ask are told."""
        self.cancelled = True
        self._cancel_reason = reason
        self._seen.set()

    def check(self) -> None:
        """Raise RunStopped if the run may not go on here."""
        if self.cancelled and self.stopped is None:
            self.stop(RunCancelled(f"Run {self.run_id} was cancelled: {self._cancel_reason}"))
        if self.stopped is not None:
            raise RunStopped(self.stopped)

    def stop(self, cause: Exception) -> None:
        """Let nothing more be written by this driver."""
        if self.stopped is None:
            self.stopped = cause
            self.cancelled = self.cancelled or isinstance(cause, RunCancelled)
            _log.warning("run %s stops here: %s", self.run_id, cause)
        self._seen.set()

    async def write(self, call: Awaitable[T]) -> T:
        """Await a driver's write. What ends the driver's part (fence, cancel, no server) raises RunStopped."""
        if self.stopped is not None:
            if asyncio.iscoroutine(call):
                call.close()
            raise RunStopped(self.stopped)
        try:
            return await call
        except (Fenced, RunCancelled, Unavailable) as cause:
            self.stop(cause)
            raise RunStopped(cause) from cause

    async def heartbeat(self) -> None:
        """Renew the lease. Raises RunStopped when it is lost or the run has ended."""
        try:
            await self.write(self._renew())
        except (SafetyRefused, NotFound) as cause:
            self.stop(cause)
            raise RunStopped(cause) from cause

    async def reclaim(self) -> None:
        """The server believes that nobody drives this run: renew at once, or stop. Never raises."""
        try:
            await self._renew()
        except (Fenced, RunCancelled, SafetyRefused, NotFound) as cause:
            if not self.parked:
                self.stop(cause)
        except TapeError as error:
            # Not a reason to stop: the next write says whether the run still is ours.
            _log.warning("heartbeat of run %s: %s", self.run_id, error)

    async def _renew(self) -> None:
        """Renew under our fence. A lease that is gone although nobody else has had the run since is taken again."""
        lease: dict[str, Any] = {
            "run_id": self.run_id,
            "lease_owner": self.owner,
            "lease_ttl_ms": self.ttl_ms,
            "fenced": True,
        }
        timeout_s = self.ttl_ms / 3000
        try:
            await self.client.resume_run(**lease, fence=self.fence, timeout_s=timeout_s)
        except Fenced as lost:
            if lost.code != _CODE_LEASE_GONE:
                raise
            answer = await self.client.resume_run(**lease, timeout_s=timeout_s)
            if answer.run.fence != self.fence + 1:
                raise  # somebody drove in between: what is in memory here is no longer the run
            self.fence = answer.run.fence

    async def end(self, status: int, detail: Any) -> None:
        """End the run as TERMINAL or FAILED. `detail` is kept as JSON."""
        faults.point("before_end_run")
        for key in self.cut_short:
            await self.write(
                self.client.complete_effect(
                    run_id=self.run_id,
                    idempotency_key=key,
                    status=pb.EFFECT_STATUS_UNKNOWN,
                    error_json='{"error":"the call was cancelled while it ran"}',
                    fence=self.fence,
                    lease_owner=self.owner,
                )
            )
        await self.write(
            self.client.end_run(
                run_id=self.run_id,
                status=status,
                detail_json=json.dumps(detail, ensure_ascii=False, default=str),
                fence=self.fence,
                lease_owner=self.owner,
            )
        )
        faults.point("after_end_run")

    async def leave(self) -> None:
        """Stop heartbeat and watching. The lease ends by itself, or with the worker's stream."""
        _driving.pop(self.run_id, None)
        for task in (self._heart, self._watch):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def changed(self, timeout_s: float) -> None:
        """Return when the run's journal has grown, or after `timeout_s`. May return early: look again at what matters."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._follow(), name=f"tape-watch-{self.run_id}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._seen.wait(), timeout_s)
        self._seen.clear()
        self.check()

    def opened(self, key: str) -> None:
        """An effect's body starts."""
        self.open_effects.add(key)

    def closed(self, key: str) -> None:
        """An effect's body has ended."""
        self.open_effects.discard(key)
        self.effects_changed.set()

    async def quiet(self, besides: str = "") -> None:
        """Return when no effect's body runs, besides one."""
        while self.open_effects - {besides}:
            self.effects_changed.clear()
            await self.effects_changed.wait()

    async def _beat(self) -> None:
        while self.stopped is None and not self.parked:
            await asyncio.sleep(self.ttl_ms / 3000)
            if not self.parked:
                await self.reclaim()

    async def _follow(self) -> None:
        """Turn the run's journal into wake-ups. Lost streams are opened again; a lost wake-up costs latency only."""
        seq = self.next_seq
        while self.stopped is None:
            try:
                async for entry in self.client.subscribe_run(run_id=self.run_id, from_seq=seq):
                    seq = entry.seq + 1
                    self._seen.set()
            except TapeError as error:
                _log.debug("the feed of run %s broke: %s", self.run_id, error)
            await asyncio.sleep(0.2)
