"""The worker: what it answers, and how it comes and goes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from apps import undo
from conftest import Process, until
from fake_server import FakeTape, pb
from google.adk.agents import LlmAgent
from script import Script, call, effects_of, runner_of

import tape
from tape import run as runs
from tape.client import TapeClient
from tape.v1 import calls_pb2 as c
from tape.v1 import workers_pb2 as w
from tape.worker import Worker
from tape.worker.config import load


class Attached:
    def __init__(self, fake: FakeTape, worker: Worker) -> None:
        self.fake = fake
        self.worker = worker
        self.task = asyncio.create_task(worker.run(drain_s=5))

    async def ask(self, **question: Any) -> Any:
        await until(lambda: self.worker.worker_id in self.fake.workers)
        return await self.fake.ask(self.worker.worker_id, **question)

    async def stop(self) -> None:
        self.worker.stop()
        await asyncio.wait_for(self.task, 10)


def attach(fake: FakeTape, agent: LlmAgent, **options: Any) -> Attached:
    worker = Worker(runner_of(fake, agent), app_name="app", client=TapeClient(fake.url), **options)
    return Attached(fake, worker)


@pytest_asyncio.fixture
async def attached(fake: FakeTape) -> Any:
    undo.CALLS.clear()
    undo.ANSWERS.clear()
    found = attach(fake, LlmAgent(name="a", model=Script("done")))
    yield found
    if not found.task.done():
        await found.stop()


EFFECT = c.EffectForConnector(
    run_id="r-1", idempotency_key="k", tool_name="wire", business_key="b", payload_json='{"to":"x"}', attempt=2
)


async def start(fake: FakeTape, text: str = "go", app: str = "app") -> str:
    async with TapeClient(fake.url) as client:
        answer = await client.admin.start_run(app_name=app, user_id="u", session_id="s", input_json=json.dumps(text))
    return answer.run_id


async def test_it_drives_what_it_is_handed(fake: FakeTape, attached: Attached) -> None:
    run_id = await start(fake)
    await until(lambda: fake.runs[run_id].state.status == pb.RUN_STATUS_TERMINAL)
    session = fake.sessions["app", "u", "s"]
    assert [event.author for event in session.events] == ["user", "a"]
    assert json.loads(session.events[0].content_json)["parts"] == [{"text": "go"}]
    assert fake.worker_hellos[0].app_name == "app" and fake.worker_hellos[0].sdk.startswith("tape-py/")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (tape.Committed("W-1", {"ok": True}), "committed"),
        ({"ok": True}, "committed"),
        (None, "not_committed"),
        (tape.NotCommitted(), "not_committed"),
        (tape.InProgress(500), "in_progress"),
        (tape.Inconclusive("down"), "inconclusive"),
        (OSError("down"), "inconclusive"),
    ],
)
async def test_a_status_check_answers_what_the_function_found(attached: Attached, answer: Any, expected: str) -> None:
    undo.ANSWERS["check"] = answer
    said = await attached.ask(status_check=w.StatusCheckCall(function="apps.undo:check", effect=EFFECT, external_ref="W-1"))
    assert said.status.WhichOneof("answer") == expected
    (asked,) = undo.CALLS
    assert isinstance(asked, tape.EffectInfo)
    assert (asked.payload, asked.external_ref, asked.business_key, asked.attempt) == ({"to": "x"}, "W-1", "b", 2)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("R-1", "resolved"), (tape.AckLost("?"), "unknown"), (OSError("down"), "failed"), (tape.Inconclusive(), "unknown")],
)
async def test_a_compensation_answers_what_became_of_it(attached: Attached, answer: Any, expected: str) -> None:
    undo.ANSWERS["refund"] = answer
    said = await attached.ask(
        compensate=w.CompensateCall(
            function="apps.undo:refund", effect=EFFECT, idempotency_key="compensate:k", response_json="1", kind="refund"
        )
    )
    assert said.compensate.WhichOneof("answer") == expected
    (asked,) = undo.CALLS
    assert isinstance(asked, tape.EffectInfo)
    assert (asked.idempotency_key, asked.effect_key, asked.response, asked.kind) == ("compensate:k", "k", 1, "refund")


async def test_a_function_that_nobody_registered_is_never_called(attached: Attached) -> None:
    said = await attached.ask(status_check=w.StatusCheckCall(function="os:getcwd", effect=EFFECT))
    assert said.refused.code == "unknown_function"


async def test_a_timer_is_acknowledged_once_its_handler_has_done_its_work(attached: Attached) -> None:
    timer = w.TimerCall(run_id="r-1", timer_id="t", kind="reminder", payload_json='{"n":1}', fire_at_ms=5)
    assert (await attached.ask(timer=timer)).WhichOneof("answer") == "timer"
    assert [tape.Timer("r-1", "t", "reminder", {"n": 1}, 5)] == undo.CALLS
    undo.ANSWERS["remind"] = OSError("down")
    assert (await attached.ask(timer=timer)).refused.retryable
    other = w.TimerCall(run_id="r-1", timer_id="t", kind="other")
    assert (await attached.ask(timer=other)).refused.code == "unknown_function"


async def test_a_connector_can_live_in_the_worker(fake: FakeTape) -> None:
    class Bank:
        async def dispatch(self, effect: tape.EffectInfo) -> tape.Committed:
            if effect.attempt == 9:
                raise OSError("cut off")
            return tape.Committed("W-7")

        async def observe(self, effect: tape.EffectInfo) -> list[tape.Committed]:
            return [tape.Committed("W-7"), tape.Committed("W-8")]

    found = attach(fake, LlmAgent(name="a", model=Script("done")), connectors={"bank": Bank()})
    said = await found.ask(dispatch=w.DispatchCall(connector="bank", effect=EFFECT))
    assert said.dispatch.confirmed.external_ref == "W-7"
    lost = c.EffectForConnector(attempt=9)
    said = await found.ask(dispatch=w.DispatchCall(connector="bank", effect=lost))
    assert "cut off" in said.dispatch.unknown.reason
    said = await found.ask(observe=w.ObserveCall(connector="bank", effect=EFFECT))
    assert [receipt.external_ref for receipt in said.observe.duplicate.receipts] == ["W-7", "W-8"]
    assert (await found.ask(observe=w.ObserveCall(connector="post"))).refused.code == "unknown_connector"
    assert list(fake.worker_hellos[-1].connectors) == ["bank"]
    await found.stop()


async def test_a_run_goes_on_while_the_server_is_killed_and_comes_back(fake: FakeTape) -> None:
    hold = asyncio.Event()

    async def work() -> str:
        """Work meanwhile."""
        await hold.wait()
        return "worked"

    found = attach(fake, LlmAgent(name="a", model=Script(call("work"), "done"), tools=[work]))
    run_id = await start(fake)
    await until(lambda: effects_of(fake.runs[run_id]).get("work"))
    assert fake.server is not None
    await fake.server.stop(None)
    hold.set()
    await until(lambda: found.worker.worker_id not in fake.workers)
    await fake.start()
    await until(lambda: fake.runs[run_id].state.status == pb.RUN_STATUS_TERMINAL)
    await until(lambda: found.worker.worker_id in fake.workers)
    assert fake.runs[run_id].state.decisions == 2
    assert len(fake.worker_hellos) >= 2 and len({hello.worker_id for hello in fake.worker_hellos}) == 1
    await found.stop()


async def test_it_finishes_what_runs_for_a_server_that_goes_away_and_comes_back(fake: FakeTape) -> None:
    hold = asyncio.Event()

    async def work() -> str:
        """Work meanwhile."""
        await hold.wait()
        return "worked"

    found = attach(fake, LlmAgent(name="a", model=Script(call("work"), "done"), tools=[work]))
    first = await start(fake)
    await until(lambda: runs.driving() == [first])
    assert (await found.ask(drain=w.Drain())).WhichOneof("answer") == "accepted"
    said = await found.ask(redrive=w.RedriveCall(run_id="r-other"))
    assert said.refused.code == "draining" and said.refused.retryable
    assert len(fake.worker_hellos) == 1, "it stays until what runs has finished"
    hold.set()
    await until(lambda: len(fake.worker_hellos) == 2)
    assert fake.runs[first].state.status == pb.RUN_STATUS_TERMINAL
    await until(lambda: found.worker.worker_id in fake.workers)
    assert not found.task.done()
    second = await start(fake)
    await until(lambda: fake.runs[second].state.status == pb.RUN_STATUS_TERMINAL)
    await found.stop()


async def test_it_refuses_more_than_it_can_carry(fake: FakeTape) -> None:
    hold = asyncio.Event()

    async def work() -> str:
        """Work."""
        await hold.wait()
        return ""

    agent = LlmAgent(name="a", model=Script(call("work"), "done"), tools=[work])
    found = attach(fake, agent, max_concurrent_runs=1)
    run_id = await start(fake)
    await until(lambda: runs.driving() == [run_id])
    again = await found.ask(redrive=w.RedriveCall(run_id=run_id))
    assert again.WhichOneof("answer") == "accepted"
    said = await found.ask(redrive=w.RedriveCall(run_id="r-other"))
    assert said.refused.code == "busy" and said.refused.retryable
    hold.set()
    await found.stop()
    assert fake.runs[run_id].state.status == pb.RUN_STATUS_TERMINAL


async def test_a_cancel_reaches_a_body_that_asks(fake: FakeTape) -> None:
    @tape.effect
    async def loop(tool_context: Any) -> str:
        """Work until cancelled."""
        await until(lambda: tape.is_cancelled(tool_context))
        raise tape.RunCancelled("noticed")

    found = attach(fake, LlmAgent(name="a", model=Script(call("loop"), "done"), tools=[loop]))
    run_id = await start(fake)
    await until(lambda: effects_of(fake.runs[run_id]).get("loop"))
    async with TapeClient(fake.url) as client:
        await tape.cancel_run(run_id, reason="enough", client=client)
    await until(lambda: not runs.driving())
    assert fake.runs[run_id].state.status == pb.RUN_STATUS_CANCELLED
    await found.stop()


async def test_it_stops_on_sigterm_after_what_runs_has_ended(fake: FakeTape, payer: Path) -> None:
    fake.outbox_open.clear()
    process = await Process.start(payer, TAPE_URL=fake.url, PAYER_LOG=str(payer / "log"))
    run_id = await start(fake, app="payer")
    await until(lambda: process.named("effect_waiting"))
    process.process.terminate()
    fake.outbox_open.set()
    assert await process.ended() == 0
    assert fake.runs[run_id].state.status == pb.RUN_STATUS_TERMINAL
    assert [one["event"] for one in process.events][-1] == "run_ended"


async def test_its_events_are_json_lines_with_the_promised_fields(fake: FakeTape, payer: Path) -> None:
    process = await Process.start(payer, TAPE_URL=fake.url, PAYER_LOG=str(payer / "log"))
    run_id = await start(fake, app="payer")
    await until(lambda: process.named("run_ended"))
    assert await process.terminate() == 0
    (attached,) = process.named("run_attached")
    assert (attached["run_id"], attached["decision_index"], attached["resumed"]) == (run_id, 0, False)
    assert attached["seq"] == 3
    assert [called["decision_index"] for called in process.named("model_called")] == [0, 1, 2]
    assert process.named("run_ended")[0]["status"] == "TERMINAL"


def test_the_configuration_fills_in_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tape.yaml"
    path.write_text("agent: {app_name: a, runner_factory: 'm:f'}\ntape: {url: '${WHERE:-tape://x:1}'}\n")
    monkeypatch.delenv("TAPE_URL", raising=False)
    assert load(path).url == "tape://x:1"
    monkeypatch.setenv("WHERE", "tape://y:2")
    assert load(path).url == "tape://y:2"
    monkeypatch.setenv("TAPE_URL", "tape://z:3")
    assert load(path).url == "tape://z:3"
    path.write_text("agent: {}\n")
    with pytest.raises(ValueError, match="runner_factory"):
        load(path)
