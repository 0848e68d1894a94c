"""A Tape server in memory: enough of what the real one promises to test a driver against it.

Runs with leases and fences, decisions, effects, an outbox whose upstream is `wires`, gates, sessions, and a worker
stream with recovery. Time is real; nothing is kept on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from tape.v1 import admin_pb2, admin_pb2_grpc, errors_pb2, tape_pb2, tape_pb2_grpc, workers_pb2, workers_pb2_grpc

pb: Any = tape_pb2
LIVE = {pb.RUN_STATUS_RUNNABLE, pb.RUN_STATUS_RUNNING, pb.RUN_STATUS_WAITING}


def now_ms() -> int:
    return int(time.time() * 1000)


@dataclass
class Run:
    state: Any
    fenced: bool = False
    driver: str = ""
    cancelled: str = ""
    decisions: dict[int, Any] = field(default_factory=dict)
    effects: dict[str, Any] = field(default_factory=dict)
    gates: dict[tuple[str, int], str] = field(default_factory=dict)
    awaited: set[tuple[str, int]] = field(default_factory=set)
    entries: list[Any] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    offered: float = 0.0
    feed: list[Any] | None = None
    budget: Any = field(default_factory=pb.BudgetState)
    reserved: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, subject: str = "", index: int = -1) -> None:
        self.state.seq_cursor += 1
        self.entries.append(
            pb.JournalEntry(seq=self.state.seq_cursor, kind=kind, ts_ms=now_ms(), subject=subject, decision_index=index)
        )
        if self.feed is not None:
            self.feed.append(
                pb.EventEntry(
                    run_id=self.state.run_id,
                    seq=self.state.seq_cursor,
                    kind=kind,
                    subject=subject,
                    ts_ms=now_ms(),
                    global_seq=len(self.feed) + 1,
                )
            )
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def lease_lives(self) -> bool:
        return self.state.status == pb.RUN_STATUS_RUNNING and self.state.lease_expires_at_ms > now_ms()


class FakeTape(tape_pb2_grpc.TapeServicer, admin_pb2_grpc.AdminServicer, workers_pb2_grpc.WorkersServicer):
    """All services in one object; tests read and bend its fields."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.by_identity: dict[tuple[str, ...], str] = {}
        self.sessions: dict[tuple[str, str, str], Any] = {}
        self.business: dict[tuple[str, str], tuple[str, str]] = {}
        self.wires: list[Any] = []
        self.dispatch_delay_s = 0.02
        self.outbox_open = asyncio.Event()
        self.outbox_open.set()
        self.workers: dict[str, tuple[str, asyncio.Queue[Any]]] = {}
        self.worker_hellos: list[Any] = []
        self.answers: dict[str, asyncio.Future[Any]] = {}
        self.numbers = itertools.count(1)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.appends: list[str] = []
        self.seen_methods: list[str] = []
        self.server: grpc.aio.Server | None = None
        self.port = 0
        self.values: dict[tuple[str, str], Any] = {}
        self.feed: list[Any] = []
        self.reaction_tasks: dict[str, list[Any]] = {}
        self.settled: list[tuple[str, str, str, bool]] = []
        self.lost_tasks: set[str] = set()

    @property
    def url(self) -> str:
        return f"tape://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> FakeTape:
        self.server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        tape_pb2_grpc.add_TapeServicer_to_server(self, self.server)
        admin_pb2_grpc.add_AdminServicer_to_server(self, self.server)
        workers_pb2_grpc.add_WorkersServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port or self.port}")
        await self.server.start()
        self.spawn(self._recover())
        return self

    async def stop(self) -> None:
        assert self.server is not None
        await self.server.stop(None)
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.workers.clear()

    def spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    # ---- refusals

    async def refuse(self, context: Any, status: grpc.StatusCode, code: str, message: str, **detail: Any) -> Any:
        trailer = errors_pb2.ErrorDetail(code=code, cure="See the test.", **detail).SerializeToString()
        await context.abort(status, message, (("tape-error-bin", trailer),))

    async def run_of(self, context: Any, run_id: str) -> Run:
        if run_id not in self.runs:
            await self.refuse(context, grpc.StatusCode.NOT_FOUND, "TAPE-R001", f"no run {run_id}")
        return self.runs[run_id]

    async def driven(self, context: Any, request: Any) -> Run:
        run = await self.run_of(context, request.run_id)
        late = request.fence != run.state.fence if request.fence else run.fenced
        other = run.state.status == pb.RUN_STATUS_RUNNING and request.lease_owner not in ("", run.state.lease_owner)
        if late or other:
            await self.refuse(
                context, grpc.StatusCode.ABORTED, "TAPE-R002", "fenced off", owner=run.driver, fence=run.state.fence
            )
        if run.cancelled:
            await self.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "TAPE-R004", "the run was cancelled")
        if run.state.status not in LIVE:
            await self.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "TAPE-R003", "the run has ended")
        return run

    # ---- runs

    async def BeginRun(self, request: Any, context: Any) -> Any:
        identity = (request.app_name, request.user_id, request.session_id, request.invocation_id)
        resumed = identity in self.by_identity
        run = self.runs[self.by_identity[identity]] if resumed else self._new_run(identity, request.input_json)
        if run.state.status in LIVE:
            await self._lease(context, run, request)
        state = run.state
        return pb.BeginRunResponse(
            run_id=state.run_id,
            resumed=resumed,
            next_seq=state.seq_cursor + 1,
            status=state.status,
            fence=state.fence if state.status in LIVE else 0,
            next_decision_index=state.next_decision_index,
        )

    def _new_run(self, identity: tuple[str, ...], input_json: str) -> Run:
        run_id = f"r-{next(self.numbers)}"
        app, user, session, invocation = identity
        state = pb.RunState(
            run_id=run_id,
            app_name=app,
            user_id=user,
            session_id=session,
            invocation_id=invocation,
            status=pb.RUN_STATUS_RUNNABLE,
            started_at_ms=now_ms(),
            input_json=input_json,
        )
        self.by_identity[identity] = run_id
        run = self.runs[run_id] = Run(state, feed=self.feed)
        run.note("run.started")
        return run

    async def _lease(self, context: Any, run: Run, request: Any) -> None:
        state = run.state
        expires = now_ms() + (request.lease_ttl_ms or 120_000)
        if state.status == pb.RUN_STATUS_RUNNING and state.lease_owner == request.lease_owner:
            if request.fence and request.fence != state.fence:
                await self.refuse(context, grpc.StatusCode.ABORTED, "TAPE-R002", "fenced off", fence=state.fence)
            state.lease_expires_at_ms = max(state.lease_expires_at_ms, expires)
            return
        if request.fence:
            await self.refuse(context, grpc.StatusCode.ABORTED, "TAPE-R006", "the lease is gone", fence=state.fence)
        if run.lease_lives:
            await self.refuse(
                context, grpc.StatusCode.ABORTED, "TAPE-R005", f"driven by {state.lease_owner}", owner=state.lease_owner
            )
        state.fence += 1
        state.status = pb.RUN_STATUS_RUNNING
        state.lease_owner = run.driver = request.lease_owner
        state.lease_expires_at_ms = expires
        run.fenced = request.fenced
        run.note("run.leased")

    async def ResumeRun(self, request: Any, context: Any) -> Any:
        run = await self.run_of(context, request.run_id)
        if run.state.status not in LIVE:
            code = "TAPE-R004" if run.cancelled else "TAPE-R003"
            await self.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, code, "the run has ended")
        await self._lease(context, run, request)
        return pb.ResumeRunResponse(run=run.state)

    async def EndRun(self, request: Any, context: Any) -> Any:
        run = await self.run_of(context, request.run_id)
        if run.state.status != request.status:
            run = await self.driven(context, request)
            self._end(run, request.status, request.detail_json)
        return pb.EndRunResponse(run=run.state)

    def _end(self, run: Run, status: int, detail: str) -> None:
        run.state.status = status
        run.state.detail_json = detail
        run.state.ended_at_ms = now_ms()
        run.state.lease_owner = ""
        run.note("run.ended")

    async def GetRun(self, request: Any, context: Any) -> Any:
        return (await self.run_of(context, request.run_id)).state

    async def SubscribeRun(self, request: Any, context: Any) -> AsyncIterator[Any]:
        run = await self.run_of(context, request.run_id)
        at = max(request.from_seq, 1)
        while True:
            changed = run.changed
            ended = run.state.status not in LIVE
            for entry in run.entries[at - 1 :]:
                yield entry
                at = entry.seq + 1
            if ended:
                return
            await changed.wait()

    # ---- decisions

    async def RecordDecision(self, request: Any, context: Any) -> Any:
        run = await self.driven(context, request)
        content = (request.model, request.request_json, request.response_json, request.policy_version)
        old = run.decisions.get(request.decision_index)
        if old is not None:
            if (old.model, old.request_json, old.response_json, old.policy_version) != content:
                await self.refuse(context, grpc.StatusCode.ALREADY_EXISTS, "TAPE-D001", "recorded with other content")
            return old
        record = run.decisions[request.decision_index] = pb.DecisionRecord(
            run_id=request.run_id,
            decision_index=request.decision_index,
            model=request.model,
            request_json=request.request_json,
            response_json=request.response_json,
            policy_version=request.policy_version,
            ts_ms=now_ms(),
        )
        while run.state.next_decision_index in run.decisions:
            run.state.next_decision_index += 1
        run.state.decisions += 1
        run.note("decision.recorded", index=request.decision_index)
        return record

    async def GetDecision(self, request: Any, context: Any) -> Any:
        run = await self.run_of(context, request.run_id)
        record = run.decisions.get(request.decision_index)
        return pb.GetDecisionResponse(found=record is not None, decision=record)

    # ---- effects

    async def BeginEffect(self, request: Any, context: Any) -> Any:
        run = await self.driven(context, request)
        key = request.custom_key or (f"{request.run_id}/d-{request.decision_index}/{request.tool_name}/{request.call_index}")
        outbox = request.dispatch_mode == pb.EFFECT_DISPATCH_MODE_OUTBOX
        if request.semantics == pb.EFFECT_SEMANTICS_NON_IDEMPOTENT and not outbox:
            await self.refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "TAPE-E003", "NON_IDEMPOTENT cannot be INLINE")
        old = run.effects.get(key)
        if old is None and request.business_key:
            place = (request.connector, request.business_key)
            owner_run, owner_key = self.business.get(place, ("", ""))
            owner = self.runs[owner_run].effects[owner_key] if owner_run else None
            if owner is not None and owner.status != pb.EFFECT_STATUS_FAILED:
                return pb.BeginEffectResponse(
                    idempotency_key=owner_key,
                    status=owner.status,
                    response_json=owner.response_json,
                    external_ref=owner.external_ref,
                    deduplicated=True,
                    owner_run_id=owner_run,
                )
            self.business[place] = (request.run_id, key)
        if old is None:
            old = run.effects[key] = pb.EffectRecord(
                run_id=request.run_id,
                decision_index=request.decision_index,
                tool_name=request.tool_name,
                idempotency_key=key,
                status=pb.EFFECT_STATUS_PENDING,
                request_json=request.request_json,
                semantics=request.semantics or pb.EFFECT_SEMANTICS_IDEMPOTENT,
                dispatch_mode=request.dispatch_mode or pb.EFFECT_DISPATCH_MODE_INLINE,
                business_key=request.business_key,
                connector=request.connector,
                operation=request.operation,
                compensation=request.compensation if request.HasField("compensation") else None,
                status_check=request.status_check,
                ts_ms=now_ms(),
            )
            run.state.effects += 1
            run.note("effect.begun", key, request.decision_index)
            if outbox:
                self.spawn(self._dispatch(run, old))
        return pb.BeginEffectResponse(
            seq=run.state.seq_cursor,
            idempotency_key=key,
            status=old.status,
            response_json=old.response_json,
            error_json=old.error_json,
            external_ref=old.external_ref,
            stuck=old.stuck,
        )

    async def _dispatch(self, run: Run, effect: Any) -> None:
        await asyncio.sleep(self.dispatch_delay_s)
        await self.outbox_open.wait()
        if effect.status != pb.EFFECT_STATUS_PENDING:
            return
        self.wires.append(json.loads(effect.request_json))
        reference = f"W-{len(self.wires)}"
        self.settle(run, effect, pb.EFFECT_STATUS_CONFIRMED, json.dumps({"wire_id": reference}), reference)

    def settle(self, run: Run, effect: Any, status: int, response_json: str = "", external_ref: str = "") -> None:
        effect.status = status
        effect.response_json = response_json
        effect.external_ref = external_ref
        run.note("effect.settled", effect.idempotency_key, effect.decision_index)

    async def CompleteEffect(self, request: Any, context: Any) -> Any:
        run = await self.driven(context, request)
        effect = run.effects.get(request.idempotency_key)
        if effect is None:
            await self.refuse(context, grpc.StatusCode.NOT_FOUND, "TAPE-E001", "no such effect")
        if effect.status == pb.EFFECT_STATUS_PENDING:
            effect.error_json = request.error_json
            self.settle(run, effect, request.status, request.response_json)
        return effect

    async def GetEffect(self, request: Any, context: Any) -> Any:
        run = await self.run_of(context, request.run_id)
        effect = run.effects.get(request.idempotency_key)
        return pb.GetEffectResponse(found=effect is not None, effect=effect)

    # ---- budget

    async def SetBudget(self, request: Any, context: Any) -> Any:
        run = await self.driven(context, request)
        run.budget.usd_cap, run.budget.token_cap = request.usd_cap, request.token_cap
        return run.budget

    async def AdmitBudget(self, request: Any, context: Any) -> Any:
        run = await self.driven(context, request)
        tokens = run.budget.tokens_spent + sum(run.reserved.values()) + request.token_estimate
        admitted = not run.budget.token_cap or tokens <= run.budget.token_cap
        if admitted and request.request_id:
            run.reserved[request.request_id] = request.token_estimate
        return pb.AdmitBudgetResponse(admitted=admitted, reason="" if admitted else "token_cap", budget=run.budget)

    async def ChargeBudget(self, request: Any, context: Any) -> Any:
        run = await self.driven(context, request)
        run.reserved.pop(request.request_id, None)
        run.budget.tokens_spent += request.tokens
        run.budget.usd_spent += request.usd
        return run.budget

    # ---- gates

    async def AwaitSignal(self, request: Any, context: Any) -> Any:
        run = await self.driven(context, request)
        place = (request.gate_name, request.await_index)
        run.awaited.add(place)
        if place in run.gates:
            return pb.AwaitSignalResponse(delivered=True, resolution_json=run.gates[place])
        run.state.status = pb.RUN_STATUS_WAITING
        run.state.waiting_on_gate = request.gate_name
        run.state.lease_owner = ""
        run.note("gate.opened")
        return pb.AwaitSignalResponse()

    async def SendSignal(self, request: Any, context: Any) -> Any:
        run = await self.run_of(context, request.run_id)
        index = sum(1 for name, _ in run.gates if name == request.gate_name)
        run.gates[request.gate_name, index] = request.resolution_json
        if run.state.status == pb.RUN_STATUS_WAITING:
            run.state.status = pb.RUN_STATUS_RUNNABLE
        run.note("gate.signalled")
        return pb.SendSignalResponse(accepted=True, run_id=request.run_id, run_status=run.state.status)

    # ---- values and the feed of all runs

    async def WriteValue(self, request: Any, context: Any) -> Any:
        place = (request.namespace, request.key)
        old = self.values.get(place)
        version = old.version if old is not None else 0
        if request.if_version >= 0 and request.if_version != version:
            await self.refuse(context, grpc.StatusCode.ABORTED, "TAPE-K001", "another version", version=version)
        self.values[place] = pb.ValueRecord(
            namespace=request.namespace, key=request.key, value_json=request.value_json, version=version + 1
        )
        return self.values[place]

    async def GetValue(self, request: Any, context: Any) -> Any:
        value = self.values.get((request.namespace, request.key))
        return pb.GetValueResponse(found=value is not None, value=value)

    async def DeleteValue(self, request: Any, context: Any) -> Any:
        old = self.values.pop((request.namespace, request.key), None)
        return pb.DeleteValueResponse(deleted=old is not None)

    async def SubscribeEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        at = max(request.from_global_seq, 1)
        while True:
            for entry in self.feed[at - 1 :]:
                if entry.ts_ms >= request.from_ts_ms and request.kind in ("", entry.kind):
                    yield entry
                at = entry.global_seq + 1
            await asyncio.sleep(0.01)

    # ---- tasks

    async def ClaimTasks(self, request: Any, context: Any) -> Any:
        if request.reaction_id not in self.reaction_tasks:
            await self.refuse(context, grpc.StatusCode.NOT_FOUND, "TAPE-Q001", "no such reaction")
        waiting = self.reaction_tasks[request.reaction_id]
        claimed = waiting[: request.max]
        del waiting[: request.max]
        return pb.ClaimTasksResponse(tasks=claimed)

    async def CompleteTask(self, request: Any, context: Any) -> Any:
        if request.task_id in self.lost_tasks:
            await self.refuse(context, grpc.StatusCode.ABORTED, "TAPE-Q003", "not yours", owner="other")
        self.settled.append((request.task_id, request.owner, "", False))
        return pb.CompleteTaskResponse(task=pb.Task(task_id=request.task_id))

    async def NackTask(self, request: Any, context: Any) -> Any:
        self.settled.append((request.task_id, request.owner, request.error, request.permanent))
        return pb.NackTaskResponse(task=pb.Task(task_id=request.task_id))

    # ---- sessions

    async def CreateSession(self, request: Any, context: Any) -> Any:
        place = (request.app_name, request.user_id, request.session_id)
        if place in self.sessions:
            await self.refuse(context, grpc.StatusCode.ALREADY_EXISTS, "TAPE-S001", "the session exists")
        self.sessions[place] = pb.Session(
            app_name=request.app_name,
            user_id=request.user_id,
            session_id=request.session_id,
            state_json=request.state_json or "{}",
            last_update_time_ms=now_ms(),
        )
        return self.sessions[place]

    async def GetSession(self, request: Any, context: Any) -> Any:
        session = self.sessions.get((request.app_name, request.user_id, request.session_id))
        if session is None:
            return pb.GetSessionResponse(found=False)
        copy = pb.Session()
        copy.CopyFrom(session)
        if request.max_events:
            del copy.events[: -request.max_events]
        return pb.GetSessionResponse(found=True, session=copy)

    async def ListSessions(self, request: Any, context: Any) -> Any:
        return pb.ListSessionsResponse(
            sessions=[
                pb.Session(
                    app_name=app,
                    user_id=user,
                    session_id=session,
                    state_json=kept.state_json,
                    last_update_time_ms=kept.last_update_time_ms,
                )
                for (app, user, session), kept in self.sessions.items()
                if app == request.app_name and request.user_id in ("", user)
            ]
        )

    async def DeleteSession(self, request: Any, context: Any) -> Any:
        gone = self.sessions.pop((request.app_name, request.user_id, request.session_id), None)
        return pb.DeleteSessionResponse(deleted=gone is not None)

    async def AppendEvent(self, request: Any, context: Any) -> Any:
        session = self.sessions.get((request.app_name, request.user_id, request.session_id))
        if session is None:
            await self.refuse(context, grpc.StatusCode.NOT_FOUND, "TAPE-S002", "no such session")
        self.appends.append(request.event.id)
        if all(event.id != request.event.id for event in session.events):
            session.events.append(request.event)
            state = json.loads(session.state_json)
            for key, value in json.loads(request.state_delta_json or "{}").items():
                if value is None:
                    state.pop(key, None)
                else:
                    state[key] = value
            session.state_json = json.dumps(state)
            session.last_update_time_ms = now_ms()
        return pb.AppendEventResponse(event=request.event, last_update_time_ms=session.last_update_time_ms)

    # ---- admin

    async def StartRun(self, request: Any, context: Any) -> Any:
        invocation = request.invocation_id or f"i-{next(self.numbers)}"
        identity = (request.app_name, request.user_id, request.session_id, invocation)
        created = identity not in self.by_identity
        run = self._new_run(identity, request.input_json) if created else self.runs[self.by_identity[identity]]
        return admin_pb2.StartRunResponse(run_id=run.state.run_id, created=created, run=run.state)

    async def CancelRun(self, request: Any, context: Any) -> Any:
        run = await self.run_of(context, request.run_id)
        run.cancelled = request.reason or "cancelled"
        self._end(run, pb.RUN_STATUS_CANCELLED, "")
        for queue in [queue for app, queue in self.workers.values() if app == run.state.app_name]:
            call = workers_pb2.CancelCall(run_id=request.run_id, reason=run.cancelled)
            queue.put_nowait(workers_pb2.WorkerCall(call_id=f"c-{next(self.numbers)}", cancel=call))
        return admin_pb2.CancelRunResponse(run=run.state)

    async def ListRuns(self, request: Any, context: Any) -> Any:
        return admin_pb2.ListRunsResponse(runs=[run.state for run in reversed(self.runs.values())])

    # ---- workers

    async def Attach(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        first = await anext(requests)
        hello = first.hello
        self.worker_hellos.append(hello)
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self.workers[hello.worker_id] = (hello.app_name, queue)

        async def listen() -> None:
            async for message in requests:
                if message.WhichOneof("message") == "answer":
                    waiting = self.answers.pop(message.answer.call_id, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message.answer)
            queue.put_nowait(None)

        listening = asyncio.create_task(listen())
        try:
            yield workers_pb2.WorkerCall(welcome=workers_pb2.Welcome(server_version="fake", heartbeat_interval_ms=500))
            while (call := await queue.get()) is not None:
                yield call
        finally:
            listening.cancel()
            if self.workers.get(hello.worker_id, (None, None))[1] is queue:
                del self.workers[hello.worker_id]
            for run in self.runs.values():
                if run.state.status == pb.RUN_STATUS_RUNNING and run.state.lease_owner == hello.worker_id:
                    run.state.status = pb.RUN_STATUS_RUNNABLE
                    run.state.lease_owner = ""
                    run.note("run.worker_lost")

    async def ask(self, worker_id: str, **call: Any) -> Any:
        """Put a question to a worker and await its answer."""
        call_id = f"c-{next(self.numbers)}"
        self.answers[call_id] = asyncio.get_running_loop().create_future()
        waiting = self.answers[call_id]
        self.workers[worker_id][1].put_nowait(workers_pb2.WorkerCall(call_id=call_id, **call))
        return await asyncio.wait_for(waiting, 10)

    async def _recover(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            for run in list(self.runs.values()):
                state = run.state
                if state.status == pb.RUN_STATUS_RUNNING and not run.lease_lives:
                    state.status = pb.RUN_STATUS_RUNNABLE
                if state.status != pb.RUN_STATUS_RUNNABLE or time.monotonic() - run.offered < 1:
                    continue
                for worker_id, (app, _) in list(self.workers.items()):
                    if app != state.app_name:
                        continue
                    run.offered = time.monotonic()
                    call = workers_pb2.RedriveCall(
                        run_id=state.run_id,
                        app_name=app,
                        user_id=state.user_id,
                        session_id=state.session_id,
                        invocation_id=state.invocation_id,
                        input_json=state.input_json,
                        reason="recovery",
                    )
                    with contextlib.suppress(KeyError):
                        self.workers[worker_id][1].put_nowait(
                            workers_pb2.WorkerCall(call_id=f"c-{next(self.numbers)}", redrive=call)
                        )
                    break


async def main() -> None:
    fake = await FakeTape().start()
    print(fake.url, flush=True)
    assert fake.server is not None
    await fake.server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
