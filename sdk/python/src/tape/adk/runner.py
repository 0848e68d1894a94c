"""ADK's runner with a run of Tape around every invocation.

begin (lease) ─▶ ADK's own run_async, replayed from its start ─▶ end: TERMINAL, or FAILED if the agent raised
                      │ fence lost, cancelled, server gone: stopped here, nothing more is written
                      │ a gate not answered: parked, another driver goes on
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from google.adk.apps import App
from google.adk.events.event import Event
from google.adk.runners import Runner
from google.genai import types

from tape import report
from tape.adk.session import TapeSessionService
from tape.budget import Budget
from tape.client import TapeClient
from tape.errors import RunStopped
from tape.gates import Parked
from tape.run import LEASE_TTL_MS, DurableRun, current_run
from tape.v1 import tape_pb2 as pb

_log = logging.getLogger("tape")
_DETAIL_TEXT_MAX = 64 * 1024


class DurableRunner(Runner):
    """Made by `durable_app`. `run_async` drives one run of Tape: the same invocation id is the same run."""

    def __init__(
        self,
        *,
        app: App,
        client: TapeClient,
        session_service: TapeSessionService,
        lease_ttl_ms: int = LEASE_TTL_MS,
        policy_version: str = "",
        scopes: list[str] | None = None,
        budget: Budget | None = None,
        **services: Any,
    ) -> None:
        super().__init__(app=app, session_service=session_service, **services)
        self.client = client
        self._sessions = session_service
        self._lease_ttl_ms = lease_ttl_ms
        self._policy_version = policy_version
        self._scopes = scopes
        self._budget = budget

    async def run_async(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        user_id: str,
        session_id: str,
        invocation_id: str | None = None,
        new_message: types.Content | None = None,
        **options: Any,
    ) -> AsyncGenerator[Event, None]:
        """Drive an invocation as a durable run, and yield its events.

        `invocation_id` names the run within the session (one is made up when it is missing); with the id of a run that
        exists, the run is taken over and replayed, and `new_message` may be left out. The session is created if it does
        not exist. A run that has ended yields the events that it stored.

        Raises LeaseHeld while another driver's lease lives, Fenced when one takes over, RunCancelled, Unavailable when
        no server answers; in all these nothing more is written here. What the agent raises ends the run as FAILED.
        """
        client = self.client
        identity = invocation_id or f"e-{uuid.uuid4()}"
        await self._sessions.ensure_session(app_name=self.app_name, user_id=user_id, session_id=session_id)
        run = await DurableRun.begin(
            client,
            app_name=self.app_name,
            user_id=user_id,
            session_id=session_id,
            invocation_id=identity,
            input_json=_to_input(new_message),
            ttl_ms=self._lease_ttl_ms,
            policy_version=self._policy_version,
            scopes=self._scopes,
            budget=self._budget,
        )
        where = {"app_name": self.app_name, "user_id": user_id, "session_id": session_id}
        if run.ended:
            for event in await self._sessions.events_of_run(**where, run_id=run.run_id):
                if event.author != "user":
                    yield event
            return
        report.emit(
            "run_attached",
            run_id=run.run_id,
            decision_index=run.decisions.next_index,
            seq=run.next_seq,
            # A run that was only started so far is not a run that goes on.
            resumed=run.fence > 1 or run.decisions.next_index > 0,
        )
        ended = "stopped"
        try:
            message = new_message or from_input((await client.get_run(run_id=run.run_id)).input_json)
            if message is None:
                raise ValueError(f"run {run.run_id} has no recorded input: give new_message")
            options.update(where)
            options.pop("app_name")
            answers = any(part.function_response for part in message.parts or [])
            outcome = _Outcome()
            try:
                async for event in self._replayed(
                    run, new_message=message, invocation_id=None if answers else identity, **options
                ):
                    outcome.see(event)
                    yield event
                run.check()
                if run.interrupted:
                    raise asyncio.CancelledError("a call of the run was cancelled")
            except Exception as error:
                run.check()
                ended = "FAILED"
                await run.end(pb.RUN_STATUS_FAILED, {"error": {"type": type(error).__name__, "message": str(error)}})
                raise
            except BaseException as error:
                if run.parked and _is_parking(error):
                    return
                run.check()
                raise
            if run.parked:
                ended = "waiting"
                return
            ended = "FAILED" if outcome.error else "TERMINAL"
            await run.end(pb.RUN_STATUS_FAILED if outcome.error else pb.RUN_STATUS_TERMINAL, outcome.detail())
        except RunStopped as stopped:
            ended = "stopped"
            raise stopped.cause from None
        finally:
            if run.parked:
                ended = "WAITING"
            await run.leave()
            report.emit("run_ended", run_id=run.run_id, status=ended, reason=str(run.stopped or ""))

    async def _replayed(self, run: DurableRun, **arguments: Any) -> AsyncGenerator[Event, None]:
        """ADK's own events, with `run` as the current one while ADK's code runs, and only then."""
        events = super().run_async(**arguments)
        try:
            while True:
                run.check()
                token = current_run.set(run)
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    return
                finally:
                    current_run.reset(token)
                yield event
        finally:
            await events.aclose()


class _Outcome:
    """What an invocation came to: its last text, or its last error."""

    def __init__(self) -> None:
        self.text = ""
        self.error: dict[str, str] | None = None

    def see(self, event: Event) -> None:
        if event.partial:
            return
        if event.error_code:
            self.error = {"type": event.error_code, "message": event.error_message or ""}
            return
        parts = (event.content.parts or []) if event.content is not None else []
        if not parts:
            return
        self.error = None
        text = "".join(part.text for part in parts if part.text and not part.thought)
        if text and event.is_final_response():
            self.text = text

    def detail(self) -> dict[str, Any]:
        if self.error:
            return {"error": self.error}
        return {"output": self.text} if len(self.text) <= _DETAIL_TEXT_MAX else {"output_chars": len(self.text)}


def _is_parking(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_parking(one) for one in error.exceptions)
    return isinstance(error, Parked)


def _to_input(message: types.Content | None) -> str:
    """A message as a run's input: plain text as a JSON string, anything else as ADK's own form."""
    if message is None:
        return ""
    parts = message.parts or []
    if len(parts) == 1 and parts[0].text is not None and parts[0].model_dump(exclude_none=True).keys() == {"text"}:
        return json.dumps(parts[0].text, ensure_ascii=False)
    return message.model_dump_json(exclude_none=True)


def from_input(input_json: str) -> types.Content | None:
    """A run's input as a message; None if it has none.

    Raises ValueError for JSON that is neither text nor a message.
    """
    if not input_json:
        return None
    value = json.loads(input_json)
    if value is None:
        return None
    if isinstance(value, str):
        return types.Content(role="user", parts=[types.Part(text=value)])
    if isinstance(value, dict) and "parts" in value:
        return types.Content.model_validate(value)
    return types.Content(role="user", parts=[types.Part(text=json.dumps(value, ensure_ascii=False))])
