"""The client: repetition, request ids, errors as exceptions."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from fake_server import FakeTape, pb

import tape
from tape._calls import backoff_s
from tape.client import TapeClient, parse_url


@pytest.mark.parametrize(
    ("url", "target", "secure"),
    [
        ("tape://127.0.0.1:7878", "127.0.0.1:7878", False),
        ("tape://host", "host:7878", False),
        ("tape://[::1]:9", "[::1]:9", False),
        ("tapes://server.run.app", "server.run.app:443", True),
        ("tapes://host:7000", "host:7000", True),
    ],
)
def test_a_url_says_where_and_how(url: str, target: str, secure: bool) -> None:
    assert parse_url(url) == (target, secure)


@pytest.mark.parametrize("url", ["http://x", "tape://", "x:7878", ""])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not a Tape URL"):
        parse_url(url)


async def test_a_call_is_repeated_with_one_request_id_until_the_server_is_back(
    fake: FakeTape, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    deliver = FakeTape.SendSignal

    async def flaky(self: FakeTape, request: Any, context: Any) -> Any:
        seen.append(request.request_id)
        if len(seen) < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return await deliver(self, request, context)

    monkeypatch.setattr(fake, "SendSignal", flaky.__get__(fake))
    await fake.stop()
    await fake.start()
    async with TapeClient(fake.url) as client:
        run = await client.begin_run(app_name="a", user_id="u", session_id="s", invocation_id="i", lease_owner="me")
        await client.send_signal(run_id=run.run_id, gate_name="g", resolution_json="1")
    assert len(seen) == 3 and len(set(seen)) == 1 and seen[0]


async def test_a_server_that_stays_away_is_unavailable(fake: FakeTape) -> None:
    async with TapeClient("tape://127.0.0.1:1", patience_s=0.2) as client:
        with pytest.raises(tape.Unavailable):
            await client.get_run(run_id="r-1")


async def test_refusals_become_exceptions_with_their_code(fake: FakeTape) -> None:
    async with TapeClient(fake.url) as client:
        with pytest.raises(tape.NotFound) as missing:
            await client.get_run(run_id="r-9")
        assert missing.value.code == "TAPE-R001" and "TAPE-R001" in str(missing.value)

        identity = {"app_name": "a", "user_id": "u", "session_id": "s", "invocation_id": "i"}
        run = await client.begin_run(**identity, lease_owner="one", fenced=True)
        with pytest.raises(tape.LeaseHeld) as held:
            await client.begin_run(**identity, lease_owner="two", fenced=True)
        assert held.value.owner == "one"
        with pytest.raises(tape.Fenced) as fenced:
            await client.record_decision(run_id=run.run_id, fence=run.fence + 1)
        assert fenced.value.fence == run.fence

        record: dict[str, Any] = {"run_id": run.run_id, "decision_index": 0, "fence": run.fence}
        await client.record_decision(**record, response_json="1")
        await client.record_decision(**record, response_json="1")
        with pytest.raises(tape.Divergence):
            await client.record_decision(**record, response_json="2")
        with pytest.raises(tape.SafetyRefused, match="NON_IDEMPOTENT"):
            await client.begin_effect(
                run_id=run.run_id, tool_name="t", semantics=pb.EFFECT_SEMANTICS_NON_IDEMPOTENT, fence=run.fence
            )
        await tape.cancel_run(run.run_id, reason="enough", client=client)
        with pytest.raises(tape.RunCancelled):
            await client.record_decision(run_id=run.run_id, decision_index=1, fence=run.fence)


async def test_a_stream_gives_what_was_and_what_comes(fake: FakeTape) -> None:
    async with TapeClient(fake.url) as client:
        run = await client.begin_run(app_name="a", user_id="u", session_id="s", invocation_id="i", lease_owner="me")

        async def follow() -> list[str]:
            return [entry.kind async for entry in client.subscribe_run(run_id=run.run_id)]

        following = asyncio.create_task(follow())
        await client.end_run(run_id=run.run_id, status=pb.RUN_STATUS_TERMINAL)
        assert await following == ["run.started", "run.leased", "run.ended"]


def test_the_backoff_is_jittered_and_bounded() -> None:
    drawn = [backoff_s(attempt, 0.1, 1.0) for attempt in range(50)]
    assert all(0 <= pause <= 1 for pause in drawn) and len(set(drawn)) > 40


async def test_sync_code_blocks_and_async_code_awaits(fake: FakeTape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPE_URL", fake.url)
    async with TapeClient(fake.url) as client:
        run = await client.begin_run(app_name="a", user_id="u", session_id="s", invocation_id="i", lease_owner="me")
    assert await asyncio.to_thread(lambda: tape.send_signal("g", 1, run_id=run.run_id)) is True
    with pytest.raises(RuntimeError, match="await"):
        tape.sync(asyncio.sleep(0))
