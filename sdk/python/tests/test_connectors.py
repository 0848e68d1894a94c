"""Connectors in the worker's process: which word of theirs becomes which answer, and when they are not asked."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from conftest import until
from fake_server import FakeTape
from google.adk.agents import LlmAgent
from script import Script
from test_worker import EFFECT, Attached, attach

import tape
from tape import connectors
from tape.v1 import workers_pb2 as w

QUESTIONS: dict[str, Any] = {
    "dispatch": w.DispatchCall(connector="ledger", effect=EFFECT),
    "observe": w.ObserveCall(connector="ledger", effect=EFFECT),
    "status_check": w.StatusCheckCall(connector="ledger", effect=EFFECT, external_ref="L-1"),
    "compensate": w.CompensateCall(
        connector="ledger", effect=EFFECT, external_ref="L-1", idempotency_key="compensate:k", attempt=1
    ),
}
ANSWER_OF = {"status_check": "status"}
# Nobody can write that down as JSON.
CIRCLE: dict[str, Any] = {}
CIRCLE["itself"] = CIRCLE


class Ledger:
    """Says what it is told to say, whatever it is asked."""

    name = "ledger"

    def __init__(self, word: Any) -> None:
        self.word = word
        self.asked: list[tape.EffectInfo] = []

    async def _say(self, effect: tape.EffectInfo) -> Any:
        self.asked.append(effect)
        if isinstance(self.word, BaseException):
            raise self.word
        return self.word

    dispatch = observe = status_check = compensate = _say


class Bare:
    """Can do one thing alone."""

    def dispatch(self, effect: tape.EffectInfo) -> str:
        return f"B-{effect.business_key}"


def with_connectors(fake: FakeTape, *given: Any, **by_name: Any) -> Attached:
    return attach(fake, LlmAgent(name="a", model=Script("done")), connectors=by_name or list(given))


async def said(attached: Attached, kind: str, **more: Any) -> Any:
    return await attached.ask(**{kind: QUESTIONS[kind]}, **more)


@pytest.mark.parametrize(
    ("word", "dispatch", "observe", "status_check", "compensate"),
    [
        (tape.Committed("L-1", {"ok": True}), "confirmed", "present", "committed", "resolved"),
        ("L-1", "confirmed", "present", "committed", "resolved"),
        (tape.Inconclusive("busy"), "unknown", "inconclusive", "inconclusive", "unknown"),
        (tape.AckLost("cut"), "unknown", "inconclusive", "inconclusive", "unknown"),
        (tape.Rejected("no", code="funds"), "failed", "inconclusive", "inconclusive", "failed"),
        (OSError("down"), "unknown", "inconclusive", "inconclusive", "unknown"),
        (TimeoutError("slow"), "unknown", "inconclusive", "inconclusive", "unknown"),
        (CIRCLE, "unknown", "inconclusive", "inconclusive", "unknown"),
    ],
)
async def test_each_word_has_its_answer(
    fake: FakeTape, word: Any, dispatch: str, observe: str, status_check: str, compensate: str
) -> None:
    ledger = Ledger(word)
    found = with_connectors(fake, ledger)
    expected = {"dispatch": dispatch, "observe": observe, "status_check": status_check, "compensate": compensate}
    for kind, answer in expected.items():
        answered = getattr(await said(found, kind), ANSWER_OF.get(kind, kind))
        assert answered.WhichOneof("answer") == answer, (kind, answered)
    assert [one.idempotency_key for one in ledger.asked] == ["k", "k", "k", "compensate:k"]
    assert [one.external_ref for one in ledger.asked] == ["", "", "L-1", "L-1"]
    await found.stop()


async def test_a_rejection_keeps_its_code_and_whether_it_may_be_tried_again(fake: FakeTape) -> None:
    found = with_connectors(fake, Ledger(tape.Rejected("later", code="429", retryable=True)))
    failed = (await said(found, "dispatch")).dispatch.failed
    assert (failed.code, failed.message, failed.retryable) == ("429", "later", True)
    await found.stop()


@pytest.mark.parametrize(
    ("books", "answer"),
    [
        ([], "absent"),
        (["L-1"], "present"),
        ([tape.Committed("L-1"), tape.Committed("L-2")], "duplicate"),
        # Forgotten to return: that is not "certainly none".
        (None, "inconclusive"),
    ],
)
async def test_the_books_are_counted(fake: FakeTape, books: Any, answer: str) -> None:
    found = with_connectors(fake, Ledger(books))
    assert (await said(found, "observe")).observe.WhichOneof("answer") == answer
    await found.stop()


async def test_the_hello_says_what_each_can_be_asked(fake: FakeTape) -> None:
    found = with_connectors(fake, ledger=Ledger("L"), bare=Bare)
    assert (await said(found, "dispatch")).dispatch.confirmed.external_ref == "L"
    hello = fake.worker_hellos[-1]
    assert list(hello.connectors) == ["bare", "ledger"]
    described = {one.name: (one.observe, one.status_check, one.compensate) for one in hello.described}
    assert described == {"bare": (False, False, False), "ledger": (True, True, True)}
    bare = await found.ask(dispatch=w.DispatchCall(connector="bare", effect=EFFECT))
    assert bare.dispatch.confirmed.external_ref == "B-b"
    assert (await found.ask(observe=w.ObserveCall(connector="bare"))).refused.code == "unsupported"
    await found.stop()


async def test_what_is_read_too_late_is_not_begun(fake: FakeTape) -> None:
    ledger = Ledger("L-1")
    found = with_connectors(fake, ledger)
    now_ms = int(time.time() * 1000)
    late = await said(found, "dispatch", begin_by_ms=now_ms - 1)
    assert (late.refused.code, late.refused.retryable) == ("too_late", True)
    assert not ledger.asked
    in_time = await said(found, "dispatch", begin_by_ms=now_ms + 60_000)
    assert in_time.dispatch.confirmed.external_ref == "L-1"
    await found.stop()


async def test_a_method_that_blocks_is_not_begun_late_by_its_thread(fake: FakeTape, monkeypatch: Any) -> None:
    calls: list[Any] = []

    class Blocks:
        name = "ledger"

        def dispatch(self, effect: tape.EffectInfo) -> str:
            calls.append(effect)
            return "L-1"

    found = with_connectors(fake, Blocks())
    # The threads are all busy: its turn comes after the time.
    free, real = threading.Event(), asyncio.to_thread

    async def waits(function: Any, *arguments: Any) -> Any:
        def turn() -> Any:
            free.wait(10)
            return function(*arguments)

        return await real(turn)

    monkeypatch.setattr(asyncio, "to_thread", waits)
    begin_by_ms = int(time.time() * 1000) + 50
    asking = asyncio.create_task(said(found, "dispatch", begin_by_ms=begin_by_ms))
    await until(lambda: time.time() * 1000 > begin_by_ms)
    free.set()
    assert (await asking).refused.code == "too_late"
    assert not calls
    await found.stop()


async def test_what_takes_longer_than_its_answer_is_waited_for_is_given_up(fake: FakeTape) -> None:
    given_up = asyncio.Event()

    class Slow:
        name = "ledger"

        async def dispatch(self, effect: tape.EffectInfo) -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                given_up.set()
                raise
            return "never"

    found = with_connectors(fake, Slow())
    answer = await said(found, "dispatch", answer_within_ms=50)
    assert "50 ms" in answer.dispatch.unknown.reason
    assert given_up.is_set()
    await found.stop()


async def test_a_worker_that_stops_finishes_what_it_was_asked_and_begins_no_more(fake: FakeTape) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Waits:
        name = "ledger"

        async def dispatch(self, effect: tape.EffectInfo) -> str:
            begun.set()
            await go_on.wait()
            return "L-1"

    found = with_connectors(fake, Waits())
    asking = asyncio.create_task(said(found, "dispatch"))
    await begun.wait()
    found.worker.stop()
    assert (await said(found, "dispatch")).refused.code == "draining"
    go_on.set()
    assert (await asking).dispatch.confirmed.external_ref == "L-1"
    await asyncio.wait_for(found.task, 10)


async def test_a_decorated_class_is_there_wherever_its_module_is_imported(fake: FakeTape, monkeypatch: Any) -> None:
    monkeypatch.setattr(connectors, "_registered", {})

    @tape.connector("ledger")
    class Decorated(Bare):
        pass

    assert isinstance(connectors.collect(None)["ledger"], Decorated)
    found = attach(fake, LlmAgent(name="a", model=Script("done")))
    assert (await said(found, "dispatch")).dispatch.confirmed.external_ref == "B-b"
    await found.stop()


def test_what_is_no_connector_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'ledger'.*dispatch"):
        tape.connector("ledger")(object())
    with pytest.raises(ValueError, match="has no name"):
        connectors.collect([Bare()])
