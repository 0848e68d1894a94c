"""Agents of every shape, driven, interrupted and driven again."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from conftest import until
from fake_server import FakeTape, pb
from google.adk.agents import LlmAgent, LoopAgent, ParallelAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.apps.app import EventsCompactionConfig
from google.adk.apps.llm_event_summarizer import LlmEventSummarizer
from google.adk.events.event import Event
from google.adk.models.google_llm import Gemini
from google.adk.tools.agent_tool import AgentTool
from google.adk.tools.base_tool import BaseTool
from google.adk.tools.base_toolset import BaseToolset
from google.adk.tools.exit_loop_tool import exit_loop
from google.adk.tools.function_tool import FunctionTool
from google.genai import types
from script import Script, call, drive, effects_of, reopen, responses, runner_of, said

import tape
from tape.adk import check_adk_version
from tape.adk.model import TapeModel, durable
from tape.client import TapeClient
from tape.run import current_run


def agent_of(*turns: Any, name: str = "a", **options: Any) -> LlmAgent:
    return LlmAgent(name=name, model=Script(*turns), **options)


# ---- Decisions


async def test_a_recorded_decision_is_replayed_through_the_after_model_callbacks(fake: FakeTape) -> None:
    def shout(callback_context: Any, llm_response: Any) -> Any:
        for part in llm_response.content.parts:
            part.text = part.text.upper()
        return llm_response

    def fresh() -> LlmAgent:
        return agent_of("hello", after_model_callback=shout)

    assert said(await drive(runner_of(fake, fresh()))) == ["HELLO"]
    run = reopen(fake)
    again = fresh()
    script = again.model
    assert said(await drive(runner_of(fake, again), None)) == ["HELLO"]
    assert isinstance(script, Script) and script.asked == []
    assert run.state.status == pb.RUN_STATUS_TERMINAL


async def test_a_replay_streams_partials_too(fake: FakeTape) -> None:
    streaming = RunConfig(streaming_mode=StreamingMode.SSE)
    first = await drive(runner_of(fake, agent_of("abc")), run_config=streaming)
    assert [event.partial for event in first] == [True, True, True, None]
    reopen(fake)
    again = await drive(runner_of(fake, agent_of("never")), None, run_config=streaming)
    assert [(event.partial, said([event.model_copy(update={"partial": None})])) for event in again] == [
        (True, ["abc"]),
        (None, ["abc"]),
    ]


async def test_a_changed_prompt_is_reported_and_the_recorded_answer_holds(
    fake: FakeTape, caplog: pytest.LogCaptureFixture
) -> None:
    await drive(runner_of(fake, agent_of("old")))
    reopen(fake)
    with caplog.at_level("INFO", "tape"):
        events = await drive(runner_of(fake, agent_of("new", instruction="Something else.")), None)
    assert said(events) == ["old"]
    assert "decision_diverged" in caplog.text


async def test_an_unchanged_prompt_is_not_reported(fake: FakeTape, caplog: pytest.LogCaptureFixture) -> None:
    def add(x: int) -> int:
        """Add one."""
        return x + 1

    def fresh() -> LlmAgent:
        return agent_of([call("add", x=1), call("add", x=5)], "done", tools=[add])

    await drive(runner_of(fake, fresh()))
    reopen(fake)
    with caplog.at_level("INFO", "tape"):
        await drive(runner_of(fake, fresh()), None)
    assert "decision_diverged" not in caplog.text


async def test_a_request_is_recorded_as_what_is_new_in_it(fake: FakeTape) -> None:
    def look() -> str:
        """Look."""
        return "seen"

    await drive(runner_of(fake, agent_of(call("look"), call("look"), "done", tools=[look])))
    (run,) = fake.runs.values()
    requests = [json.loads(run.decisions[index].request_json) for index in range(3)]
    assert [(request["contents_from"], len(request["contents"])) for request in requests] == [(0, 1), (1, 2), (3, 2)]
    assert ["config" in request for request in requests] == [True, False, False]


async def test_parallel_branches_find_their_own_decisions_again(fake: FakeTape) -> None:
    counts: dict[str, int] = {}
    slow = {"a": 0.05, "b": 0.0}

    def fresh() -> ParallelAgent:
        def agent(name: str) -> LlmAgent:
            async def work() -> str:
                """Work."""
                counts[name] = counts.get(name, 0) + 1
                await asyncio.sleep(slow[name])
                return name

            return agent_of(call("work"), f"{name} done", name=name, tools=[work])

        return ParallelAgent(name="both", sub_agents=[agent("a"), agent("b")])

    first = await drive(runner_of(fake, fresh()))
    assert sorted(said(first)) == ["a done", "b done"]
    run = reopen(fake)
    assert sorted(run.decisions) == [0, 1, 2, 3]
    stored = len(fake.sessions["app", "u", "s"].events)
    slow.update(a=0.0, b=0.05)
    again = fresh()
    models = [agent.model for agent in again.sub_agents if isinstance(agent, LlmAgent)]
    assert sorted(said(await drive(runner_of(fake, again), None))) == ["a done", "b done"]
    assert [model.asked for model in models if isinstance(model, Script)] == [[], []]
    assert counts == {"a": 1, "b": 1}
    assert len(fake.sessions["app", "u", "s"].events) == stored


async def test_a_loop_counts_its_rounds_and_leaves_by_a_control_tool_that_is_not_journalled(fake: FakeTape) -> None:
    rounds: list[int] = []

    def tick(tool_context: Any) -> int:
        """Count."""
        tool_context.state["n"] = tool_context.state.get("n", 0) + 1
        rounds.append(tool_context.state["n"])
        return tool_context.state["n"]

    class Round(Script):
        async def generate_content_async(self, llm_request: Any, stream: bool = False) -> Any:
            done = sum(part.function_response is not None for c in llm_request.contents for part in c.parts or [])
            self.turns = [call("tick") if done < 3 else call("exit_loop")] * 20
            async for response in super().generate_content_async(llm_request, stream):
                yield response

    def fresh() -> LoopAgent:
        return LoopAgent(name="loop", sub_agents=[LlmAgent(name="a", model=Round(), tools=[tick, exit_loop])])

    await drive(runner_of(fake, fresh()))
    assert rounds == [1, 2, 3]
    run = reopen(fake)
    assert {effect.tool_name for effect in run.effects.values()} == {"tick"}
    decisions = len(run.decisions)
    events = await drive(runner_of(fake, fresh()), None)
    assert rounds == [1, 2, 3]
    assert len(run.decisions) == decisions
    assert any(event.actions.escalate for event in events)
    assert json.loads(fake.sessions["app", "u", "s"].state_json) == {"n": 3}


async def test_call_ids_are_the_same_on_every_attempt(fake: FakeTape) -> None:
    def look() -> str:
        """Look."""
        return "seen"

    def ids(events: list[Event]) -> list[str | None]:
        return [one.id for event in events for one in event.get_function_calls()]

    first = ids(await drive(runner_of(fake, agent_of([call("look"), call("look")], "done", tools=[look]))))
    reopen(fake)
    assert first == ids(await drive(runner_of(fake, agent_of("never", tools=[look])), None))
    assert len(set(first)) == 2 and all(first)


async def test_a_model_that_names_its_calls_alike_does_not_confuse_their_effects(fake: FakeTape) -> None:
    seen: list[int] = []

    def look(x: int) -> int:
        """Look."""
        seen.append(x)
        return x

    def named(x: int) -> types.Part:
        return types.Part(function_call=types.FunctionCall(name="look", args={"x": x}, id="call-1"))

    await drive(runner_of(fake, agent_of(named(1), named(2), "done", tools=[look])))
    assert seen == [1, 2]
    (run,) = fake.runs.values()
    assert sorted(run.effects) == ["r-1/d-0/look/0", "r-1/d-1/look/0"]


async def test_the_summarizers_answers_are_decisions_too(fake: FakeTape) -> None:
    summarizer = LlmEventSummarizer(llm=Script("in short"))
    compaction = EventsCompactionConfig(compaction_interval=1, overlap_size=0, summarizer=summarizer)
    runner = runner_of(fake, agent_of("done"), app_options={"events_compaction_config": compaction})
    await drive(runner)
    (run,) = fake.runs.values()
    places = [json.loads(decision.request_json)["place"]["scope"] for decision in run.decisions.values()]
    assert places == ["", "outside the agents"]


async def test_a_model_that_fails_ends_the_run_as_failed(fake: FakeTape) -> None:
    with pytest.raises(OSError, match="no model"):
        await drive(runner_of(fake, agent_of(OSError("no model"))))
    (run,) = fake.runs.values()
    assert run.state.status == pb.RUN_STATUS_FAILED
    assert json.loads(run.state.detail_json) == {"error": {"type": "OSError", "message": "no model"}}


async def test_a_wrapped_model_is_still_what_it_was(fake: FakeTape) -> None:
    agent = agent_of("done")
    runner_of(fake, agent)
    assert isinstance(agent.model, Script) and isinstance(agent.model, TapeModel)
    assert agent.model.model == "script" and agent.model.turns == ["done"]
    gemini = durable(Gemini(model="gemini-2.5-flash", use_interactions_api=True))
    assert isinstance(gemini, Gemini) and gemini.use_interactions_api and gemini.model == "gemini-2.5-flash"


# ---- Effects


async def test_a_tool_that_raises_is_an_answer_and_its_sibling_finishes(fake: FakeTape) -> None:
    @tape.effect
    async def bad() -> str:
        """Fail."""
        raise LookupError("not there")

    @tape.effect
    async def good() -> str:
        """Succeed, later."""
        await asyncio.sleep(0.02)
        return "fine"

    events = await drive(runner_of(fake, agent_of([call("bad"), call("good")], "done", tools=[bad, good])))
    assert responses(events) == {"bad": {"error": "LookupError: not there"}, "good": {"result": "fine"}}
    run = reopen(fake)
    effects = effects_of(run)
    assert effects["bad"].status == pb.EFFECT_STATUS_FAILED
    assert effects["good"].status == pb.EFFECT_STATUS_CONFIRMED
    assert responses(await drive(runner_of(fake, agent_of("never", tools=[bad, good])), None)) == responses(events)


async def test_a_body_that_is_cancelled_with_its_driver_is_run_again_by_the_next(fake: FakeTape) -> None:
    keys: list[str] = []
    go_on = asyncio.Event()

    @tape.effect
    async def slow(tool_context: Any) -> str:
        """Take long."""
        keys.append(tape.idempotency_key(tool_context))
        await go_on.wait()
        return "done"

    driving = asyncio.create_task(drive(runner_of(fake, agent_of(call("slow"), "done", tools=[slow]))))
    await until(lambda: keys)
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    run = reopen(fake)
    assert run.state.ended_at_ms == 0
    assert effects_of(run)["slow"].status == pb.EFFECT_STATUS_PENDING
    go_on.set()
    await drive(runner_of(fake, agent_of("never", "done", tools=[slow])), None)
    assert keys == ["r-1/d-0/slow/0"] * 2
    assert run.state.status == pb.RUN_STATUS_TERMINAL


async def test_a_sibling_that_is_cancelled_in_a_run_that_fails_is_unknown(fake: FakeTape) -> None:
    acting = asyncio.Event()

    @tape.effect
    async def act() -> str:
        """Act for ever."""
        acting.set()
        await asyncio.Event().wait()
        return ""

    async def quick() -> str:
        """Come back once the other acts."""
        await acting.wait()
        return "quick"

    def spoil(tool: Any, args: Any, tool_context: Any, tool_response: Any) -> None:
        raise LookupError("in a callback")

    agent = agent_of([call("act"), call("quick")], "done", tools=[act, quick], after_tool_callback=spoil)
    with pytest.raises(LookupError):
        await drive(runner_of(fake, agent))
    run = fake.runs["r-1"]
    assert run.state.status == pb.RUN_STATUS_FAILED
    assert effects_of(run)["act"].status == pb.EFFECT_STATUS_UNKNOWN


async def test_a_lease_that_only_the_server_lost_is_taken_again(fake: FakeTape) -> None:
    async def long() -> int:
        """Work while the server loses sight of the driver."""
        run = reopen(fake)
        driver = current_run.get()
        assert driver is not None
        # The server knows of the new lease before its driver does.
        await until(lambda: driver.fence == 2)
        return run.state.status

    runner = runner_of(fake, agent_of(call("long"), "done", tools=[long]), lease_ttl_ms=3000)
    assert responses(await drive(runner)) == {"long": {"result": pb.RUN_STATUS_RUNNING}}
    assert fake.runs["r-1"].state.status == pb.RUN_STATUS_TERMINAL


async def test_a_result_that_cannot_be_kept_is_said_to_be_done(fake: FakeTape, monkeypatch: pytest.MonkeyPatch) -> None:
    complete = FakeTape.CompleteEffect

    async def strict(request: Any, context: Any) -> Any:
        if len(request.response_json) > 1000:
            await fake.refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "TAPE-V002", "too large")
        return await complete(fake, request, context)

    monkeypatch.setattr(fake, "CompleteEffect", strict)
    await fake.stop()
    await fake.start()

    @tape.effect
    def big() -> str:
        """Answer at length."""
        return "x" * 2000

    answer = responses(await drive(runner_of(fake, agent_of(call("big"), "done", tools=[big]))))["big"]
    assert "done, but" in answer["error"]
    assert effects_of(fake.runs["r-1"])["big"].status == pb.EFFECT_STATUS_CONFIRMED


async def test_an_unknown_effect_waits_for_whoever_finds_out(fake: FakeTape) -> None:
    calls: list[int] = []

    @tape.effect
    def send() -> str:
        """Lose the answer."""
        calls.append(1)
        raise tape.AckLost("timed out")

    driving = asyncio.create_task(drive(runner_of(fake, agent_of(call("send"), "done", tools=[send]))))
    await until(lambda: fake.runs and effects_of(fake.runs["r-1"]).get("send"))
    effect = effects_of(fake.runs["r-1"])["send"]
    await until(lambda: effect.status == pb.EFFECT_STATUS_UNKNOWN)
    fake.settle(fake.runs["r-1"], effect, pb.EFFECT_STATUS_CONFIRMED, '{"found": true}')
    assert responses(await driving) == {"send": {"found": True}}
    assert calls == [1]


async def test_an_unknown_effect_that_is_found_absent_is_done_again_with_its_key(fake: FakeTape) -> None:
    keys: list[str] = []

    @tape.effect
    def send(tool_context: Any) -> str:
        """Lose the first answer."""
        keys.append(tape.idempotency_key(tool_context))
        if len(keys) == 1:
            raise tape.AckLost("timed out")
        return "sent"

    driving = asyncio.create_task(drive(runner_of(fake, agent_of(call("send"), "done", tools=[send]))))
    effect = await until(lambda: fake.runs and effects_of(fake.runs["r-1"]).get("send"))
    await until(lambda: effect.status == pb.EFFECT_STATUS_UNKNOWN)
    fake.settle(fake.runs["r-1"], effect, pb.EFFECT_STATUS_PENDING)
    assert responses(await driving) == {"send": {"result": "sent"}}
    assert keys == ["r-1/d-0/send/0"] * 2


async def test_nothing_is_journalled_as_a_null_result(fake: FakeTape) -> None:
    def silent() -> None:
        """Say nothing."""

    events = await drive(runner_of(fake, agent_of(call("silent"), "done", tools=[silent])))
    assert responses(events) == {"silent": {"result": None}}
    assert effects_of(reopen(fake))["silent"].response_json == '{"result":null}'
    assert responses(await drive(runner_of(fake, agent_of("never", tools=[silent])), None)) == responses(events)


async def test_state_and_artifacts_of_a_tool_come_back_on_a_replay(fake: FakeTape) -> None:
    seen: list[Any] = []

    def learn(tool_context: Any) -> str:
        """Write state."""
        seen.append(tool_context.state.get("n"))
        tool_context.state["n"] = (tool_context.state.get("n") or 0) + 1
        tool_context.state["temp:secret"] = 1
        tool_context.actions.artifact_delta["file"] = 3
        return "ok"

    def fresh() -> LlmAgent:
        return agent_of(call("learn"), "n is {n}", instruction="n was {n?}", tools=[learn])

    await drive(runner_of(fake, fresh()))
    run = reopen(fake)
    # The response event was never stored: state is what it was before.
    session = fake.sessions["app", "u", "s"]
    del session.events[2:]
    session.state_json = "{}"
    events = await drive(runner_of(fake, fresh()), None)
    (answer,) = [event for event in events if event.get_function_responses()]
    assert answer.actions.state_delta == {"n": 1} and answer.actions.artifact_delta == {"file": 3}
    assert json.loads(session.state_json) == {"n": 1}
    assert seen == [None]
    assert "secret" not in effects_of(run)["learn"].response_json


async def test_a_redriven_run_sees_the_state_as_it_was_before_it(fake: FakeTape) -> None:
    prompts: list[str] = []

    def bump(tool_context: Any) -> int:
        """Count up."""
        tool_context.state["n"] = tool_context.state.get("n", 0) + 1
        return tool_context.state["n"]

    def fresh() -> LlmAgent:
        agent = agent_of(call("bump"), "done", instruction="n is {n?}", tools=[bump])
        return agent

    runner = runner_of(fake, fresh())
    await drive(runner, invocation="i1")
    await drive(runner, invocation="i2")
    assert json.loads(fake.sessions["app", "u", "s"].state_json) == {"n": 2}
    reopen(fake, "r-2")
    again = runner_of(fake, fresh())
    original = again.session_service.get_session

    async def spy(**arguments: Any) -> Any:
        session = await original(**arguments)
        assert session is not None
        prompts.append(f"{session.state} {len(session.events)}")
        return session

    again.session_service.get_session = spy  # type: ignore[method-assign]
    await drive(again, None, invocation="i2")
    assert prompts[-1] == "{'n': 1} 4"
    assert json.loads(fake.sessions["app", "u", "s"].state_json) == {"n": 2}
    assert len(fake.sessions["app", "u", "s"].events) == 8


async def test_a_transfer_is_replayed_as_a_transfer(fake: FakeTape) -> None:
    looked: list[int] = []

    def look() -> str:
        """Look."""
        looked.append(1)
        return "seen"

    class Clerk(Script):
        async def generate_content_async(self, llm_request: Any, stream: bool = False) -> Any:
            done = any(
                part.function_response and part.function_response.name == "look"
                for content in llm_request.contents
                for part in content.parts or []
            )
            self.turns = ["clerk here" if done else call("look")] * 9
            async for response in super().generate_content_async(llm_request, stream):
                yield response

    def staff() -> LlmAgent:
        clerk = LlmAgent(name="clerk", model=Clerk(), description="Clerk.", tools=[look])
        return agent_of(call("transfer_to_agent", agent_name="clerk"), name="chief", sub_agents=[clerk])

    first = await drive(runner_of(fake, staff()))
    assert said(first)[-1] == "clerk here"
    run = reopen(fake)
    assert {effect.tool_name for effect in run.effects.values()} == {"look"}
    again = await drive(runner_of(fake, staff()), None)
    assert [event.author for event in again] == [event.author for event in first]
    assert any(event.actions.transfer_to_agent == "clerk" for event in again)
    assert looked == [1]


async def test_an_agent_that_is_a_tool_replays_its_own_decisions_and_effects(fake: FakeTape) -> None:
    looked: list[int] = []

    @tape.effect
    def look() -> str:
        """Look."""
        looked.append(1)
        return "seen"

    def fresh() -> tuple[LlmAgent, LlmAgent]:
        expert = agent_of(call("look"), "expertise", name="expert", description="Knows.", tools=[look])
        boss = agent_of(
            [call("expert", request="one"), call("expert", request="two")], "done", tools=[AgentTool(agent=expert)]
        )
        return boss, expert

    first = await drive(runner_of(fake, fresh()[0]))
    assert looked == [1, 1]
    run = reopen(fake)
    assert len(run.decisions) == 6 and len(run.effects) == 2
    boss, expert = fresh()
    scripts = [boss.model, expert.model]
    again = await drive(runner_of(fake, boss), None)
    assert said(again) == said(first) and responses(again) == responses(first)
    assert [script.asked for script in scripts if isinstance(script, Script)] == [[], []]
    assert looked == [1, 1]


async def test_a_tool_without_a_body_to_wrap_is_journalled_between_callbacks(fake: FakeTape) -> None:
    ran: list[str] = []

    class Remote(BaseTool):
        def _get_declaration(self) -> types.FunctionDeclaration:
            return types.FunctionDeclaration(name=self.name, description=self.description)

        async def run_async(self, *, args: dict[str, Any], tool_context: Any) -> Any:
            ran.append(self.name)
            if self.name == "broken":
                raise OSError("down")
            return {"remote": True}

    tools = [Remote(name="remote", description="Far away."), Remote(name="broken", description="Down.")]
    first = await drive(runner_of(fake, agent_of([call("remote"), call("broken")], "done", tools=list(tools))))
    assert responses(first) == {"remote": {"remote": True}, "broken": {"error": "OSError: down"}}
    reopen(fake)
    assert responses(await drive(runner_of(fake, agent_of("x", tools=list(tools))), None)) == responses(first)
    assert sorted(ran) == ["broken", "remote"]


async def test_a_marked_function_out_of_a_toolset_is_adapted_when_it_is_called(fake: FakeTape) -> None:
    class Kit(BaseToolset):
        async def get_tools(self, readonly_context: Any = None) -> list[BaseTool]:
            return [FunctionTool(wire_tool())]

    events = await drive(runner_of(fake, agent_of(call("wire", to="x"), "done", tools=[Kit()])))
    assert responses(events)["wire"]["status"] == "confirmed" and len(fake.wires) == 1


async def test_an_agents_own_guard_keeps_an_effect_from_beginning(fake: FakeTape) -> None:
    @tape.outbox_tool(connector="bank", business_key=lambda to: to)
    def wire(to: str) -> dict[str, str]:
        """Wire."""
        return {"to": to}

    def guard(tool: Any, args: Any, tool_context: Any) -> Any:
        return {"refused": True}

    agent = agent_of(call("wire", to="x"), "done", tools=[wire], before_tool_callback=guard)
    assert responses(await drive(runner_of(fake, agent))) == {"wire": {"refused": True}}
    assert fake.runs["r-1"].effects == {} and fake.wires == []


async def test_an_idempotent_body_is_tried_as_often_as_declared_with_one_key(fake: FakeTape) -> None:
    keys: list[str] = []

    @tape.effect(retry=tape.Retry(attempts=3, first_ms=1))
    def flaky(tool_context: Any) -> str:
        """Fail twice."""
        keys.append(tape.idempotency_key(tool_context))
        if len(keys) < 3:
            raise OSError("down")
        return "up"

    assert responses(await drive(runner_of(fake, agent_of(call("flaky"), "done", tools=[flaky])))) == {
        "flaky": {"result": "up"}
    }
    assert keys == ["r-1/d-0/flaky/0"] * 3


async def test_what_a_body_draws_is_drawn_once(fake: FakeTape) -> None:
    drawn: list[Any] = []
    go_on = asyncio.Event()

    @tape.effect
    async def draw(tool_context: Any) -> str:
        """Draw."""
        values = [
            await tape.now(tool_context),
            await tape.sample(tool_context, lambda: len(drawn)),
            str(tape.uuid(tool_context)),
            str(tape.uuid(tool_context)),
            tape.random(tool_context).random(),
        ]
        drawn.append(values)
        await go_on.wait()
        return "ok"

    driving = asyncio.create_task(drive(runner_of(fake, agent_of(call("draw"), "done", tools=[draw]))))
    await until(lambda: drawn)
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    run = reopen(fake)
    assert run.state.ended_at_ms == 0
    effects_of(run)["draw"].status = pb.EFFECT_STATUS_PENDING
    go_on.set()
    await drive(runner_of(fake, agent_of("x", "done", tools=[draw])), None)
    assert len(drawn) == 2 and drawn[0] == drawn[1]
    assert drawn[0][2] != drawn[0][3]


async def test_a_cancellation_that_comes_out_of_a_body_is_a_doubt_and_not_an_end(fake: FakeTape) -> None:
    @tape.effect
    async def leaky() -> str:
        """Let a cancellation escape."""
        raise asyncio.CancelledError

    driving = asyncio.create_task(drive(runner_of(fake, agent_of(call("leaky"), "done", tools=[leaky]))))
    effect = await until(lambda: fake.runs and effects_of(fake.runs["r-1"]).get("leaky"))
    await until(lambda: effect.status == pb.EFFECT_STATUS_UNKNOWN)
    fake.settle(fake.runs["r-1"], effect, pb.EFFECT_STATUS_FAILED)
    assert "error" in responses(await driving)["leaky"]
    assert fake.runs["r-1"].state.status == pb.RUN_STATUS_TERMINAL


# ---- Outbox


def wire_tool(**options: Any) -> Any:
    @tape.outbox_tool(connector="bank", operation="wire", business_key=lambda to, memo: f"{to}/{memo}", **options)
    def wire(to: str, memo: str = "m") -> dict[str, str]:
        """Wire."""
        return {"to": to, "memo": memo}

    return wire


async def test_a_wire_leaves_through_the_outbox_once(fake: FakeTape) -> None:
    tool = wire_tool(compensate="apps.undo:refund", status_check="apps.undo:check")
    events = await drive(runner_of(fake, agent_of(call("wire", to="x"), "done", tools=[tool])))
    assert responses(events)["wire"] == {"status": "confirmed", "external_ref": "W-1", "result": {"wire_id": "W-1"}}
    effect = effects_of(fake.runs["r-1"])["wire"]
    assert (effect.semantics, effect.dispatch_mode) == (
        pb.EFFECT_SEMANTICS_NON_IDEMPOTENT,
        pb.EFFECT_DISPATCH_MODE_OUTBOX,
    )
    assert (effect.connector, effect.operation, effect.business_key) == ("bank", "wire", "x/m")
    assert json.loads(effect.request_json) == {"to": "x", "memo": "m"}
    assert effect.compensation.function == "apps.undo:refund" and effect.status_check == "apps.undo:check"


async def test_the_same_business_key_in_another_run_is_not_dispatched_again(fake: FakeTape) -> None:
    runner = runner_of(fake, agent_of(call("wire", to="x"), "done", tools=[wire_tool()]))
    first = await drive(runner, invocation="i1")
    second = await drive(runner, invocation="i2")
    assert responses(first) == responses(second)
    assert len(fake.wires) == 1


async def test_a_wire_that_takes_too_long_is_pending_and_stays_so_on_a_replay(fake: FakeTape) -> None:
    fake.outbox_open.clear()
    tool = wire_tool(timeout_ms=50)
    first = await drive(runner_of(fake, agent_of(call("wire", to="x"), "done", tools=[tool])))
    told = {"wire": {"status": "pending", "idempotency_key": "r-1/d-0/wire/0"}}
    assert responses(first) == told
    fake.outbox_open.set()
    await until(lambda: fake.wires)
    reopen(fake)
    assert responses(await drive(runner_of(fake, agent_of("x", tools=[tool])), None)) == told


async def test_a_stuck_wire_says_so(fake: FakeTape) -> None:
    fake.outbox_open.clear()
    runner = runner_of(fake, agent_of(call("wire", to="x"), "done", tools=[wire_tool()]))
    driving = asyncio.create_task(drive(runner))
    effect = await until(lambda: fake.runs and effects_of(fake.runs["r-1"]).get("wire"))
    effect.stuck = True
    fake.settle(fake.runs["r-1"], effect, pb.EFFECT_STATUS_UNKNOWN)
    assert responses(await driving)["wire"]["status"] == "stuck"


async def test_a_tool_can_be_told_not_to_wait(fake: FakeTape) -> None:
    fake.outbox_open.clear()
    runner = runner_of(fake, agent_of(call("wire", to="x"), "done", tools=[wire_tool(wait=False)]))
    assert responses(await drive(runner))["wire"]["status"] == "pending"


# ---- Gates


def gated() -> LlmAgent:
    @tape.gate_tool("approval", timeout_ms=900_000)
    async def approval(amount: str, tool_context: Any) -> Any:
        """Ask."""
        return await tape.await_signal(tool_context, "approval")

    @tape.effect
    async def prepare() -> str:
        """Act meanwhile."""
        await asyncio.sleep(0.02)
        return "prepared"

    return agent_of([call("approval", amount="5"), call("prepare")], "done", tools=[approval, prepare])


async def test_a_gate_parks_the_run_and_a_signal_lets_it_go_on(fake: FakeTape) -> None:
    events = await drive(runner_of(fake, gated()))
    (run,) = fake.runs.values()
    assert run.state.status == pb.RUN_STATUS_WAITING
    assert effects_of(run)["prepare"].status == pb.EFFECT_STATUS_CONFIRMED
    assert said(events) == []
    assert "approval" not in responses(events)

    async with TapeClient(fake.url) as client:
        await tape.send_signal("approval", {"ok": True}, run_id="r-1", client=client)
    again = gated()
    script = again.model
    events = await drive(runner_of(fake, again), None)
    assert responses(events) == {"approval": {"ok": True}, "prepare": {"result": "prepared"}}
    assert said(events) == ["done"] and run.state.status == pb.RUN_STATUS_TERMINAL
    assert isinstance(script, Script) and len(script.asked) == 1
    authors = [
        (event.author, event.content_json.count("function_response")) for event in fake.sessions["app", "u", "s"].events
    ]
    assert authors == [("user", 0), ("a", 0), ("a", 2), ("a", 0)]


async def test_a_gate_whose_body_never_ran_is_opened_by_the_next_driver(fake: FakeTape) -> None:
    await drive(runner_of(fake, gated()))
    run = reopen(fake)
    run.awaited.clear()
    del fake.sessions["app", "u", "s"].events[2:]
    await drive(runner_of(fake, gated()), None)
    assert run.awaited == {("approval", 0)} and run.state.status == pb.RUN_STATUS_WAITING


async def test_a_gate_that_times_out_raises_in_the_body(fake: FakeTape) -> None:
    backup = tape.gate_tool("backup")

    async def ask(tool_context: Any) -> Any:
        """Ask one, then the other."""
        try:
            return await tape.gate_tool("first", timeout_ms=10)(tool_context)
        except tape.GateTimeout:
            return await backup(tool_context)

    def fresh() -> LlmAgent:
        return agent_of(call("ask"), "done", tools=[ask])

    await drive(runner_of(fake, fresh()))
    run = fake.runs["r-1"]
    assert run.state.status == pb.RUN_STATUS_WAITING
    run.gates["first", 0] = '{"signal":"gate.timeout"}'
    reopen(fake)
    await drive(runner_of(fake, fresh()), None)
    assert run.state.waiting_on_gate == "backup"
    run.gates["backup", 0] = '"yes"'
    reopen(fake)
    assert responses(await drive(runner_of(fake, fresh()), None)) == {"ask": {"result": "yes"}}


# ---- Lease, fence, cancel, server gone


async def test_a_lost_fence_stops_the_run_at_once_and_nothing_more_is_written(fake: FakeTape) -> None:
    @tape.effect
    async def steal() -> str:
        """Be taken over."""
        run = fake.runs["r-1"]
        run.state.fence += 1
        run.driver = run.state.lease_owner = "somebody newer"
        return "done too late"

    with pytest.raises(tape.Fenced):
        await drive(runner_of(fake, agent_of(call("steal"), "done", tools=[steal])))
    run = fake.runs["r-1"]
    assert run.state.status == pb.RUN_STATUS_RUNNING
    assert effects_of(run)["steal"].status == pb.EFFECT_STATUS_PENDING
    assert len(fake.sessions["app", "u", "s"].events) == 2


async def test_a_run_that_another_driver_leases_is_left_alone(fake: FakeTape) -> None:
    async with TapeClient(fake.url) as client:
        await client.begin_run(
            app_name="app", user_id="u", session_id="s", invocation_id="i", lease_owner="other", fenced=True
        )
    with pytest.raises(tape.LeaseHeld):
        await drive(runner_of(fake, agent_of("never")))


async def test_one_process_does_not_drive_a_run_twice(fake: FakeTape) -> None:
    hold = asyncio.Event()

    async def wait() -> str:
        """Wait."""
        await hold.wait()
        return "waited"

    runner = runner_of(fake, agent_of(call("wait"), "done", tools=[wait]))
    driving = asyncio.create_task(drive(runner))
    await until(lambda: fake.runs and fake.runs["r-1"].effects)
    with pytest.raises(tape.Fenced):
        await drive(runner)
    hold.set()
    assert said(await driving) == ["done"]


async def test_a_cancelled_run_stops_with_run_cancelled(fake: FakeTape) -> None:
    @tape.effect
    async def work() -> str:
        """Be cancelled."""
        async with TapeClient(fake.url) as client:
            await tape.cancel_run("r-1", reason="enough", client=client)
        return "late"

    with pytest.raises(tape.RunCancelled):
        await drive(runner_of(fake, agent_of(call("work"), "done", tools=[work])))
    assert fake.runs["r-1"].state.status == pb.RUN_STATUS_CANCELLED


async def test_the_lease_is_renewed_while_a_body_works(fake: FakeTape) -> None:
    async def long() -> int:
        """Outlive the lease."""
        run = fake.runs["r-1"]
        before = run.state.lease_expires_at_ms
        await until(lambda: run.state.lease_expires_at_ms > before)
        return run.state.fence

    runner = runner_of(fake, agent_of(call("long"), "done", tools=[long]), lease_ttl_ms=300)
    assert responses(await drive(runner)) == {"long": {"result": 1}}


async def test_without_a_server_a_body_does_not_run(fake: FakeTape) -> None:
    ran: list[int] = []

    @tape.effect
    def act() -> str:
        """Act."""
        ran.append(1)
        return "acted"

    async def gone(callback_context: Any, llm_response: Any) -> None:
        await fake.stop()

    agent = agent_of(call("act"), "done", tools=[act], after_model_callback=gone)
    with pytest.raises(tape.Unavailable):
        await drive(runner_of(fake, agent, patience_s=0.3))
    assert ran == []


async def test_a_server_that_comes_back_in_time_is_not_noticed(fake: FakeTape) -> None:
    async def restart(callback_context: Any, llm_response: Any) -> None:
        assert fake.server is not None
        await fake.server.stop(None)
        asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(fake.start()))

    def look() -> str:
        """Look."""
        return "seen"

    agent = agent_of(call("look"), "done", tools=[look], after_model_callback=restart)
    agent.after_model_callback = restart
    assert said(await drive(runner_of(fake, agent))) == ["done"]


# ---- Budget


async def test_a_run_stops_at_its_cap_and_goes_on_when_the_cap_is_raised(fake: FakeTape) -> None:
    def look() -> str:
        """Look."""
        return "seen"

    def fresh() -> LlmAgent:
        return agent_of(call("look"), "done", tools=[look])

    budget = tape.Budget(tokens=2000, usd=1.0, price=lambda model, tokens_in, tokens_out: 0.001 * (tokens_in + tokens_out))
    with pytest.raises(tape.BudgetExceeded, match="token_cap"):
        await drive(runner_of(fake, fresh(), budget=tape.Budget(tokens=100)))
    run = fake.runs["r-1"]
    assert run.state.status == pb.RUN_STATUS_FAILED and run.decisions == {}
    run.budget.token_cap = 5000
    reopen(fake)
    assert said(await drive(runner_of(fake, fresh(), budget=budget), None)) == ["done"]
    assert (run.budget.token_cap, run.budget.tokens_spent, run.reserved) == (5000, 30, {})
    assert run.budget.usd_spent == pytest.approx(0.03)
    reopen(fake)
    await drive(runner_of(fake, fresh(), budget=budget), None)
    assert run.budget.tokens_spent == 30


def test_a_budget_in_dollars_needs_a_price() -> None:
    with pytest.raises(ValueError, match="price="):
        tape.Budget(usd=1.0)


# ---- Sessions


async def test_an_ended_run_answers_with_what_it_stored(fake: FakeTape) -> None:
    runner = runner_of(fake, agent_of("done"))
    first = await drive(runner)
    again = await drive(runner)
    assert said(again) == said(first) == ["done"]
    assert [event.id for event in again] == [event.id for event in first]
    assert len(fake.runs) == 1


async def test_events_come_back_from_the_store_as_they_went_in(fake: FakeTape) -> None:
    def look() -> dict[str, Any]:
        """Look."""
        return {"list": [1, 2.5, None], "text": "ü"}

    runner = runner_of(fake, agent_of(call("look"), "done", tools=[look]))
    events = await drive(runner)
    session = await runner.session_service.get_session(app_name="app", user_id="u", session_id="s")
    assert session is not None
    assert [event.model_dump(mode="json") for event in session.events[1:]] == [
        event.model_dump(mode="json") for event in events
    ]


async def test_bare_errors_and_half_answered_batches_are_not_stored(fake: FakeTape) -> None:
    runner = runner_of(fake, agent_of("unused"))
    service = runner.session_service
    session = await service.create_session(app_name="app", user_id="u", session_id="s")
    calls = [call("x"), call("y")]
    for part, name in zip(calls, ["c1", "c2"], strict=True):
        assert part.function_call is not None
        part.function_call.id = name
    answer = types.Part(function_response=types.FunctionResponse(name="x", id="c1", response={"ok": True}))
    await service.append_event(session, Event(author="a", content=types.Content(role="model", parts=calls)))
    await service.append_event(session, Event(author="a", error_code="BROKEN", error_message="no"))
    await service.append_event(session, Event(author="a", content=types.Content(role="user", parts=[answer])))
    assert [len(json.loads(event.content_json)["parts"]) for event in fake.sessions["app", "u", "s"].events] == [2]


async def test_a_second_message_of_the_session_sees_the_first(fake: FakeTape) -> None:
    agent = agent_of("answer")
    script = agent.model
    runner = runner_of(fake, agent)
    await drive(runner, "one", invocation="i1")
    await drive(runner, "two", invocation="i2")
    assert isinstance(script, Script)
    assert [part.text for content in script.asked[1].contents for part in content.parts or []] == ["one", "answer", "two"]


async def test_sessions_are_listed_deleted_and_keep_shared_state(fake: FakeTape) -> None:
    service = runner_of(fake, agent_of("x")).session_service
    await service.create_session(app_name="app", user_id="u", session_id="s1", state={"k": 1, "temp:x": 2})
    await service.create_session(app_name="app", user_id="v", session_id="s2")
    listed = await service.list_sessions(app_name="app")
    assert [session.id for session in listed.sessions] == ["s1", "s2"]
    one = await service.get_session(app_name="app", user_id="u", session_id="s1")
    assert one is not None and one.state == {"k": 1}
    await service.delete_session(app_name="app", user_id="u", session_id="s1")
    assert await service.get_session(app_name="app", user_id="u", session_id="s1") is None


# ---- Versions and misuse


@pytest.mark.parametrize("version", ["1.39.1", "2.0.0", "2.7.0", "3.0.0"])
def test_other_versions_of_adk_are_refused(version: str) -> None:
    with pytest.raises(RuntimeError, match=r">=2\.7\.1,<3"):
        check_adk_version(version)


@pytest.mark.parametrize("version", ["2.7.1", "2.13.0", "2.99.0"])
def test_known_versions_of_adk_are_taken(version: str) -> None:
    check_adk_version(version)


async def test_making_an_agent_durable_twice_changes_nothing(fake: FakeTape) -> None:
    agent = agent_of("done", tools=[wire_tool()])
    runner_of(fake, agent)
    model, tools = agent.model, list(agent.tools)
    runner_of(fake, agent)
    assert agent.model is model and agent.tools == tools
