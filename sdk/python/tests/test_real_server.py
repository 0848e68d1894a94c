"""The same promises, kept by the real server. Collected where TAPE_SERVER names its binary."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from apps import undo
from conftest import Process
from google.adk.agents import LlmAgent
from real_server import RealServer, dispatch, dump, pb
from script import Script, call, drive, responses, said
from test_kill import AGAIN, POINTS

import tape
from tape.adk import DurableRunner, durable_app
from tape.client import TapeClient
from tape.worker import Worker


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RealServer]:
    running = await RealServer(tmp_path).start()
    yield running
    await running.kill()


@pytest_asyncio.fixture
async def client(server: RealServer) -> AsyncIterator[TapeClient]:
    async with TapeClient(server.url) as connected:
        yield connected


@pytest_asyncio.fixture
async def wires(client: TapeClient) -> AsyncIterator[list[Any]]:
    made: list[Any] = []
    dispatching = asyncio.create_task(dispatch(client, made))
    yield made
    dispatching.cancel()
    await asyncio.gather(dispatching, return_exceptions=True)


async def reaches(client: TapeClient, run_id: str, status: int, timeout_s: float = 60) -> Any:
    """Wait until the run has a status."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        run = await client.get_run(run_id=run_id)
        if run.status == status:
            return run
        assert asyncio.get_running_loop().time() < deadline, f"the run is {pb.RunStatus.Name(run.status)}: {run}"
        await asyncio.sleep(0.02)


def runner_of(client: TapeClient, agent: LlmAgent, **options: Any) -> DurableRunner:
    return durable_app("app", agent, client=client, **options)[1]


@pytest.mark.parametrize("where", POINTS)
async def test_a_run_survives_a_kill(
    server: RealServer, client: TapeClient, wires: list[Any], payer: Path, where: str
) -> None:
    log = payer / "log"
    environment = {"TAPE_URL": server.url, "PAYER_LOG": str(log)}
    first = await Process.start(payer, **environment, TAPE_FAULT_KILL=where, TAPE_FAULT_ONCE=str(payer / "killed"))
    started = await client.admin.start_run(app_name="payer", user_id="u", session_id="s", input_json='"pay"')
    assert await first.ended() == -9, "the fault point was not reached"
    second = await Process.start(payer, **environment)
    await reaches(client, started.run_id, pb.RUN_STATUS_TERMINAL)
    while not second.named("worker_attached" if where == "after_end_run" else "run_ended"):
        await asyncio.sleep(0.02)
    assert await second.terminate() == 0

    happened = Counter(
        f"model {fact['turn']}" if fact["what"] == "model" else fact["what"]
        for fact in map(json.loads, log.read_text().splitlines())
    )
    allowed = AGAIN.get(where, set())
    for what, times in happened.items():
        assert times <= (2 if what.split()[0] in allowed else 1), f"{what} happened {times} times: {happened}"
    assert wires == [{"to": "ACME"}]
    sections = await dump(client, started.run_id)
    assert len(sections["decision"]) == 3 and len(sections["effect"]) == 3
    session = (await client.get_session(app_name="payer", user_id="u", session_id="s")).session
    assert [event.author for event in session.events] == ["user", *["payer"] * 5]
    assert json.loads(session.state_json) == {"pages": 1}


async def test_a_run_goes_on_while_the_server_is_killed_and_comes_back(
    server: RealServer, client: TapeClient, payer: Path
) -> None:
    process = await Process.start(payer, TAPE_URL=server.url, PAYER_LOG=str(payer / "log"))
    started = await client.admin.start_run(app_name="payer", user_id="u", session_id="s", input_json='"pay"')
    while not process.named("effect_waiting"):
        await asyncio.sleep(0.02)
    await server.kill()
    await server.start()
    made: list[Any] = []
    dispatching = asyncio.create_task(dispatch(client, made))
    await reaches(client, started.run_id, pb.RUN_STATUS_TERMINAL)
    dispatching.cancel()
    assert await process.terminate() == 0
    assert made == [{"to": "ACME"}]
    models = [line for line in (payer / "log").read_text().splitlines() if '"model"' in line]
    assert len(models) == 3


async def test_an_invocation_in_this_process_is_a_run(client: TapeClient) -> None:
    @tape.effect
    async def work(tool_context: Any) -> list[Any]:
        """Work."""
        return [tape.idempotency_key(tool_context), await tape.now(tool_context)]

    agent = LlmAgent(name="a", model=Script(call("work"), "done"), tools=[work])
    first = await drive(runner_of(client, agent))
    assert said(first) == ["done"]
    assert said(await drive(runner_of(client, agent))) == ["done"]
    runs = (await client.admin.list_runs(app_name="app")).runs
    assert [run.status for run in runs] == [pb.RUN_STATUS_TERMINAL]
    assert responses(first)["work"]["result"][0].startswith(runs[0].run_id)
    assert json.loads(runs[0].detail_json) == {"output": "done"}


async def test_a_gate_parks_and_a_signal_lets_go_on(client: TapeClient) -> None:
    @tape.gate_tool("approval")
    async def approval(tool_context: Any) -> Any:
        """Ask."""
        return await tape.await_signal(tool_context, "approval")

    agent = LlmAgent(name="a", model=Script(call("approval"), "done"), tools=[approval])
    runner = runner_of(client, agent)
    await drive(runner)
    (run,) = (await client.admin.list_runs(app_name="app")).runs
    assert run.status == pb.RUN_STATUS_WAITING and run.waiting_on_gate == "approval"
    assert await tape.send_signal("approval", {"ok": True}, run_id=run.run_id, client=client)
    assert responses(await drive(runner, None)) == {"approval": {"ok": True}}


async def test_a_gate_times_out(client: TapeClient) -> None:
    @tape.gate_tool("approval", timeout_ms=50)
    async def approval(tool_context: Any) -> Any:
        """Ask, not for long."""
        try:
            return await tape.await_signal(tool_context, "approval")
        except tape.GateTimeout:
            return "nobody came"

    runner = runner_of(client, LlmAgent(name="a", model=Script(call("approval"), "done"), tools=[approval]))
    await drive(runner)
    (run,) = (await client.admin.list_runs(app_name="app")).runs
    await reaches(client, run.run_id, pb.RUN_STATUS_RUNNABLE)
    assert responses(await drive(runner, None)) == {"approval": {"result": "nobody came"}}


async def test_the_same_business_key_is_one_wire(client: TapeClient, wires: list[Any]) -> None:
    @tape.outbox_tool(connector="bank", business_key=lambda to: to)
    def wire(to: str) -> dict[str, str]:
        """Wire."""
        return {"to": to}

    runner = runner_of(client, LlmAgent(name="a", model=Script(call("wire", to="x"), "done"), tools=[wire]))
    first = responses(await drive(runner, invocation="i1"))
    assert first == {"wire": {"status": "confirmed", "external_ref": "W-1", "result": {"wire_id": "W-1"}}}
    assert responses(await drive(runner, invocation="i2")) == first
    assert wires == [{"to": "x"}]


async def test_a_lost_answer_is_settled_by_a_person(client: TapeClient) -> None:
    @tape.effect
    def send() -> str:
        """Lose the answer."""
        raise tape.AckLost("cut off")

    runner = runner_of(client, LlmAgent(name="a", model=Script(call("send"), "done"), tools=[send]))
    driving = asyncio.create_task(drive(runner))
    while not (pending := (await client.list_pending_effects()).effects) or pending[0].status != pb.EFFECT_STATUS_UNKNOWN:
        await asyncio.sleep(0.02)
    await tape.resolve(
        pending[0].run_id,
        pending[0].idempotency_key,
        "confirmed",
        response={"found": True},
        reason="the books say so",
        who="test",
        client=client,
    )
    assert responses(await driving) == {"send": {"found": True}}


async def test_a_cancelled_run_stops(client: TapeClient) -> None:
    @tape.effect
    async def work(tool_context: Any) -> str:
        """Be cancelled."""
        await tape.cancel_run(tape.run_id_of(tool_context), reason="enough", client=client)
        return "late"

    runner = runner_of(client, LlmAgent(name="a", model=Script(call("work"), "done"), tools=[work]))
    with pytest.raises(tape.RunCancelled):
        await drive(runner)


async def test_a_budget_is_kept_by_the_server(client: TapeClient) -> None:
    def look() -> str:
        """Look."""
        return "seen"

    def runner(cap: int) -> DurableRunner:
        agent = LlmAgent(name="a", model=Script(call("look"), "done"), tools=[look])
        return runner_of(client, agent, budget=tape.Budget(tokens=cap))

    with pytest.raises(tape.BudgetExceeded):
        await drive(runner(100))
    assert said(await drive(runner(100_000), invocation="other")) == ["done"]


async def test_a_second_driver_is_kept_out_and_a_late_one_fenced(client: TapeClient) -> None:
    identity = {"app_name": "app", "user_id": "u", "session_id": "s", "invocation_id": "i"}
    first = await client.begin_run(**identity, lease_owner="one", lease_ttl_ms=100, fenced=True)
    with pytest.raises(tape.LeaseHeld):
        await client.begin_run(**identity, lease_owner="two", fenced=True)
    while True:
        try:
            second = await client.begin_run(**identity, lease_owner="two", fenced=True)
            break
        except tape.LeaseHeld:
            await asyncio.sleep(0.02)
    assert second.fence > first.fence
    with pytest.raises(tape.Fenced):
        await client.record_decision(run_id=first.run_id, decision_index=0, response_json="1", fence=first.fence)


@pytest_asyncio.fixture
async def worker(server: RealServer, client: TapeClient) -> AsyncIterator[Worker]:
    """A worker in this process, whose app has an effect that can be checked and undone."""
    undo.CALLS.clear()
    undo.ANSWERS.clear()

    @tape.effect(status_check="apps.undo:check", compensate=tape.Compensation(function="apps.undo:refund", kind="refund"))
    def send(lose: bool) -> str:
        """Send, and lose the answer if told so."""
        if lose:
            raise tape.AckLost("cut off")
        return "sent"

    agent = LlmAgent(name="a", model=Losing(), tools=[send])
    attached = Worker(runner_of(client, agent), app_name="app", client=TapeClient(server.url))
    serving = asyncio.create_task(attached.run(drain_s=5))
    yield attached
    attached.stop()
    await asyncio.wait_for(serving, 30)


class Losing(Script):
    """Sends once, losing the answer if the user says so."""

    def __init__(self) -> None:
        super().__init__()

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> Any:
        lose = any(part.text == "lose" for content in llm_request.contents for part in content.parts or [])
        self.turns = [call("send", lose=lose), "done"]
        async for response in super().generate_content_async(llm_request, stream):
            yield response


async def test_an_unknown_effect_is_settled_by_its_status_check(client: TapeClient, worker: Worker) -> None:
    undo.ANSWERS["check"] = tape.Committed("S-1", {"found": True})
    started = await client.admin.start_run(app_name="app", user_id="u", session_id="s", input_json='"lose"')
    await reaches(client, started.run_id, pb.RUN_STATUS_TERMINAL)
    (effect,) = (await dump(client, started.run_id))["effect"]
    assert effect["status"] == "CONFIRMED"
    assert [one.tool_name for one in undo.CALLS if isinstance(one, tape.EffectInfo)] == ["send"]


async def test_a_worker_outlives_the_server_that_goes_away_in_good_order(
    server: RealServer, client: TapeClient, worker: Worker
) -> None:
    for session in ("before", "after"):
        started = await client.admin.start_run(app_name="app", user_id="u", session_id=session, input_json='"send"')
        await reaches(client, started.run_id, pb.RUN_STATUS_TERMINAL)
        if session == "before":
            assert await server.stop() == 0, "nobody kept it waiting"
            await server.start()


async def test_a_compensated_run_has_its_effects_undone_by_their_functions(client: TapeClient, worker: Worker) -> None:
    undo.ANSWERS["refund"] = "R-1"
    started = await client.admin.start_run(app_name="app", user_id="u", session_id="s", input_json='"send"')
    await reaches(client, started.run_id, pb.RUN_STATUS_TERMINAL)
    await tape.compensate_run(started.run_id, reason="changed our mind", client=client)
    await reaches(client, started.run_id, pb.RUN_STATUS_FAILED)
    (asked,) = undo.CALLS
    assert isinstance(asked, tape.EffectInfo)
    assert (asked.kind, asked.response) == ("refund", {"result": "sent"})
    assert asked.idempotency_key == f"compensate:{asked.effect_key}"


async def test_tasks_of_a_reaction_are_done_once_over_a_restart(server: RealServer, client: TapeClient) -> None:
    reaction = await client.register_reaction(
        name="ended runs",
        subject_pattern="/tape/run/ended/**",
        predicate_cel="app == 'a' && payload.status == 'TERMINAL'",
        max_concurrency=4,
        retry_backoff_ms=10,
    )
    again = await client.register_reaction(
        name="ended runs",
        subject_pattern="/tape/run/ended/**",
        predicate_cel="app == 'a' && payload.status == 'TERMINAL'",
        max_concurrency=4,
        retry_backoff_ms=10,
    )
    assert again == reaction
    with pytest.raises(tape.InvalidRequest, match="TAPE-J002"):
        await client.register_reaction(subject_pattern="/tape/**", predicate_cel="seq +")

    ended: list[str] = []
    for number in range(6):
        identity = {"app_name": "a", "user_id": "u", "session_id": "s", "invocation_id": f"i-{number}"}
        run = await client.begin_run(**identity, lease_owner="me")
        await client.end_run(run_id=run.run_id, status=pb.RUN_STATUS_TERMINAL)
        ended.append(run.run_id)

    done: list[str] = []
    failed: set[str] = set()

    async def handle(task: tape.Task) -> None:
        if task.run_id not in failed:
            failed.add(task.run_id)
            raise ValueError("the first time")
        done.append(task.run_id)
        if len(done) == 3:
            await server.kill()
            await server.start()

    serving = asyncio.create_task(
        tape.serve_tasks(handle, reaction_id=reaction.reaction_id, idle_s=0.05, max_tasks=1, client=client)
    )
    deadline = asyncio.get_running_loop().time() + 60
    while True:
        tasks = await client.list_tasks(reaction_id=reaction.reaction_id, status=pb.TASK_STATUS_DONE)
        if len(tasks.tasks) == len(ended):
            break
        assert asyncio.get_running_loop().time() < deadline, tasks
        await asyncio.sleep(0.05)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert sorted(done) == sorted(ended)
    assert all(task.attempts == 2 for task in tasks.tasks)
