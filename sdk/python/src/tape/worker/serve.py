"""A worker's life: attach, answer calls, drive runs, come back when the server was away, end without leaving work."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

import grpc

from tape import connectors as living
from tape import functions, report
from tape._calls import backoff_s
from tape.client import TapeClient
from tape.errors import Fenced, LeaseHeld, RunCancelled, TapeError
from tape.run import driving, find, is_driving, lease_owner
from tape.v1 import workers_pb2
from tape.worker import acting
from tape.worker.answers import answer_call

_log = logging.getLogger("tape.worker")

_ATTACH = "/tape.v1.Workers/Attach"
_SDK = "tape-py/0.1.0"
_DRAIN_S = 30.0


class DurableRunnerLike(Protocol):
    """What a runner factory makes: `tape.adk.DurableRunner`, or anything that drives a run the same way."""

    app_name: str

    def run_async(self, *, user_id: str, session_id: str, invocation_id: str | None = None, new_message: Any = None) -> Any:
        """Drive one run; yields what happens."""
        ...


async def serve(
    runner_factory: Callable[[], Any],
    *,
    app_name: str = "",
    url: str | None = None,
    max_concurrent_runs: int = 16,
    connectors: Mapping[str, Any] | Iterable[Any] | None = None,
    drain_s: float = _DRAIN_S,
) -> None:
    """Serve an app until SIGTERM or SIGINT. Then nothing new is taken and what runs may finish for `drain_s` seconds.

    `runner_factory` returns a DurableRunner, or durable_app's pair; it may be async. `app_name` defaults to the
    runner's. `connectors` live in this process, beside those of `@tape.connector`: by name, or objects with a `name`.
    They have no sandbox; they are for what cannot be a component.
    """
    if url:
        os.environ.setdefault("TAPE_URL", url)
    made = runner_factory()
    if inspect.isawaitable(made):
        made = await made
    runner = cast("DurableRunnerLike", made[1] if isinstance(made, tuple) else made)
    worker = Worker(
        runner,
        app_name=app_name or runner.app_name,
        client=TapeClient(url or None),
        max_concurrent_runs=max_concurrent_runs,
        connectors=connectors,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError):  # not in the main thread, or not on this system
            loop.add_signal_handler(number, worker.stop)
    await worker.run(drain_s=drain_s)


class Worker:
    """One worker process of one app."""

    def __init__(
        self,
        runner: DurableRunnerLike,
        *,
        app_name: str,
        client: TapeClient,
        max_concurrent_runs: int = 16,
        connectors: Mapping[str, Any] | Iterable[Any] | None = None,
    ) -> None:
        self.worker_id = lease_owner()
        self._runner = runner
        self._app_name = app_name
        self._client = client
        self._max = max_concurrent_runs
        self._connectors = living.collect(connectors)
        self._drives: dict[str, asyncio.Task[None]] = {}
        self._answers: set[asyncio.Task[None]] = set()
        # Those of them in which a connector of this process is being asked.
        self._acting: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        # Of the stream that stands: its server is going away and gets nothing new from us.
        self._leaving = asyncio.Event()
        self._writing = asyncio.Lock()

    def stop(self) -> None:
        """Take nothing new; `run` returns when what runs has finished."""
        self._stopping.set()

    async def run(self, *, drain_s: float = _DRAIN_S) -> None:
        """Attach, and attach again whenever the stream breaks or its server goes away, until `stop`."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                if await self._attached(drain_s):
                    attempt = 0
            except grpc.aio.AioRpcError as error:
                _log.info("the server is away (%s): trying again", error.code().name)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), backoff_s(attempt, 0.1, 1.0))
            attempt += 1
        await self._client.close()
        if self._drives:
            _log.warning("%d runs did not finish in %s s; another worker takes them over", len(self._drives), drain_s)
        for task in self._drives.values():
            task.cancel()
        await asyncio.gather(*self._drives.values(), return_exceptions=True)

    async def _attached(self, drain_s: float) -> bool:
        """One stream, from hello until it breaks or what runs has finished. True if the server welcomed us."""
        leaving = self._leaving = asyncio.Event()
        attach: Any = self._client.channel.stream_stream(
            _ATTACH,
            request_serializer=workers_pb2.WorkerMessage.SerializeToString,
            response_deserializer=workers_pb2.WorkerCall.FromString,
        )
        stream = attach()
        beats: asyncio.Task[None] | None = None
        drain: asyncio.Task[None] | None = None
        welcomed = False
        try:
            hello = workers_pb2.WorkerHello(
                app_name=self._app_name,
                worker_id=self.worker_id,
                sdk=_SDK,
                max_concurrent_runs=self._max,
                functions=functions.known(),
                connectors=sorted(self._connectors),
                described=[_described(name, one) for name, one in sorted(self._connectors.items())],
            )
            await self._send(stream, workers_pb2.WorkerMessage(hello=hello))
            drain = asyncio.create_task(self._drain(stream, leaving, drain_s))
            while True:
                call = await stream.read()
                if call is grpc.aio.EOF:
                    return welcomed
                kind = call.WhichOneof("call")
                if kind == "welcome":
                    welcomed = True
                    report.emit("worker_attached", worker_id=self.worker_id, app_name=self._app_name)
                    every_s = max(call.welcome.heartbeat_interval_ms, 100) / 1000
                    beats = asyncio.create_task(self._beat(stream, every_s))
                    continue
                task = asyncio.create_task(self._answer(stream, leaving, call, kind or ""))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)
                if acting.named(call, kind or ""):
                    self._acting.add(task)
                    task.add_done_callback(self._acting.discard)
        except asyncio.CancelledError:
            if (self._stopping.is_set() or leaving.is_set()) and stream.done():
                return welcomed  # we closed it ourselves
            raise
        finally:
            for task in (beats, drain):
                if task is not None:
                    task.cancel()
            stream.cancel()

    async def _drain(self, stream: Any, leaving: asyncio.Event, drain_s: float) -> None:
        stopped, left = (asyncio.create_task(event.wait()) for event in (self._stopping, leaving))
        try:
            await asyncio.wait((stopped, left), return_when=asyncio.FIRST_COMPLETED)
            # How long it waits is the server's to say, by ending the stream: what goes on then keeps its lease.
            while (doing := self._doing()) and not stopped.done():
                await asyncio.wait((stopped, *doing), return_when=asyncio.FIRST_COMPLETED)
            if doing := self._doing():
                await asyncio.wait(doing, timeout=drain_s)
        finally:
            stopped.cancel()
            left.cancel()
        await stream.done_writing()
        await asyncio.sleep(1)
        stream.cancel()

    def _doing(self) -> set[asyncio.Task[None]]:
        """What has to end before this worker goes: runs, and calls of connectors, which would be in doubt."""
        return {*self._drives.values(), *self._acting}

    async def _beat(self, stream: Any, every_s: float) -> None:
        while True:
            beat = workers_pb2.WorkerHeartbeat(running_run_ids=driving())
            await self._send(stream, workers_pb2.WorkerMessage(heartbeat=beat))
            await asyncio.sleep(every_s)

    async def _answer(self, stream: Any, leaving: asyncio.Event, call: workers_pb2.WorkerCall, kind: str) -> None:
        if kind == "redrive":
            answer = self._redrive(call.redrive)
            driven = find(call.redrive.run_id)
            if driven is not None:
                # The server lost sight of us: show it that the run is driven.
                await driven.reclaim()
        elif kind == "cancel":
            run = find(call.cancel.run_id)
            if run is not None:
                run.cancel(call.cancel.reason)
            answer = workers_pb2.WorkerAnswer(accepted=workers_pb2.Accepted())
        elif kind == "drain":
            answer = workers_pb2.WorkerAnswer(accepted=workers_pb2.Accepted())
        elif acting.named(call, kind) and (self._stopping.is_set() or leaving.is_set()):
            answer = _refused("draining", "this worker is going away")
        else:
            answer = await answer_call(call, kind, self._connectors)
        answer.call_id = call.call_id
        # A broken stream loses the answer; the server asks again where that is safe.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._send(stream, workers_pb2.WorkerMessage(answer=answer))
        if kind == "drain":
            _log.info("the server is going away: another one is looked for once what runs has finished")
            leaving.set()

    async def _send(self, stream: Any, message: workers_pb2.WorkerMessage) -> None:
        async with self._writing:
            await stream.write(message)

    def _redrive(self, call: workers_pb2.RedriveCall) -> workers_pb2.WorkerAnswer:
        if call.run_id in self._drives or is_driving(call.run_id):
            return workers_pb2.WorkerAnswer(accepted=workers_pb2.Accepted())
        if self._stopping.is_set() or self._leaving.is_set():
            return _refused("draining", "this worker is going away")
        if len(self._drives) >= self._max:
            return _refused("busy", f"{len(self._drives)} runs are driven here already")
        task = asyncio.create_task(self._drive(call), name=f"tape-drive-{call.run_id}")
        self._drives[call.run_id] = task
        task.add_done_callback(lambda _: self._drives.pop(call.run_id, None))
        return workers_pb2.WorkerAnswer(accepted=workers_pb2.Accepted())

    async def _drive(self, call: workers_pb2.RedriveCall) -> None:
        try:
            events = self._runner.run_async(
                user_id=call.user_id, session_id=call.session_id, invocation_id=call.invocation_id
            )
            async for _ in events:
                pass
        except LeaseHeld as held:
            _log.info("run %s is driven elsewhere: %s", call.run_id, held)
        except (Fenced, RunCancelled) as gone:
            _log.info("run %s is no longer driven here: %s", call.run_id, gone)
        except TapeError as error:
            _log.warning("run %s is left: %s", call.run_id, error)
        except Exception:
            _log.exception("run %s failed", call.run_id)


def _described(name: str, one: Any) -> workers_pb2.ConnectorInWorker:
    return workers_pb2.ConnectorInWorker(
        name=name,
        observe=living.supports(one, "observe"),
        status_check=living.supports(one, "status_check"),
        compensate=living.supports(one, "compensate"),
    )


def _refused(code: str, message: str) -> workers_pb2.WorkerAnswer:
    return workers_pb2.WorkerAnswer(refused=workers_pb2.Refused(code=code, message=message, retryable=True))
