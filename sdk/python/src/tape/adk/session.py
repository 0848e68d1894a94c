"""ADK sessions kept by the Tape server, and the view of them that a re-driven run is given.

A run that is driven again is replayed from its start: ADK sees the session as it was before the run's first event, and
when it comes to an event that is stored already, the event is recognised and not stored twice. So nothing depends on
how ADK would resume from a half-written history, and it is the same for every kind of agent.

An event that is stored carries, beside ADK's own actions, what is needed for that: its run, and the values that its
state delta replaced.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import uuid
from typing import Any

from google.adk.events.event import Event
from google.adk.sessions.base_session_service import BaseSessionService, GetSessionConfig, ListSessionsResponse
from google.adk.sessions.session import Session
from google.adk.sessions.state import State

from tape import faults
from tape.client import TapeClient
from tape.decisions import to_json
from tape.errors import AlreadyExists
from tape.run import DurableRun, current_run
from tape.v1 import tape_pb2 as pb

_EXTRA = "tape"
_OWN_FIELDS = {"id", "invocation_id", "author", "branch", "content", "actions", "timestamp"}


class TapeSessionService(BaseSessionService):
    """ADK's session service over a Tape server. Appending is idempotent, and raises once the run is lost."""

    def __init__(self, client: TapeClient) -> None:
        self._client = client

    async def create_session(
        self,
        *,
        app_name: str,
        user_id: str,
        state: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> Session:
        """Create a session; the server names it when `session_id` is empty."""
        kept = {key: value for key, value in (state or {}).items() if not key.startswith(State.TEMP_PREFIX)}
        made = await self._client.create_session(
            app_name=app_name,
            user_id=user_id,
            session_id=(session_id or "").strip() or str(uuid.uuid4()),
            state_json=to_json(kept),
        )
        return _session(made)

    async def ensure_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """Create the session unless it exists."""
        found = await self._client.get_session(app_name=app_name, user_id=user_id, session_id=session_id, max_events=1)
        if found.found:
            return
        with contextlib.suppress(AlreadyExists):  # somebody else was faster
            await self.create_session(app_name=app_name, user_id=user_id, session_id=session_id)

    async def get_session(
        self, *, app_name: str, user_id: str, session_id: str, config: GetSessionConfig | None = None
    ) -> Session | None:
        """The session; inside a re-driven run, as it was before the run."""
        run = current_run.get()
        rewind = run is not None and run.resumed
        recent = config.num_recent_events if config is not None else None
        ask = 0 if rewind or recent is None else max(recent, 1)
        answer = await self._client.get_session(app_name=app_name, user_id=user_id, session_id=session_id, max_events=ask)
        if not answer.found:
            return None
        session = _session(answer.session)
        if run is not None:
            if rewind:
                _rewind(session, run, answer.session.events)
            run.stored_state = copy.deepcopy(session.state)
        if config is not None:
            if recent is not None:
                session.events = session.events[-recent:] if recent else []
            if config.after_timestamp is not None:
                session.events = [event for event in session.events if event.timestamp >= config.after_timestamp]
        return session

    async def events_of_run(self, *, app_name: str, user_id: str, session_id: str, run_id: str) -> list[Event]:
        """What a run has stored, in order."""
        answer = await self._client.get_session(app_name=app_name, user_id=user_id, session_id=session_id)
        return [_event(record) for record in answer.session.events if _extra(record).get("run") == run_id]

    async def list_sessions(self, *, app_name: str, user_id: str | None = None) -> ListSessionsResponse:
        """Sessions without their events, the least recently used first."""
        answer = await self._client.list_sessions(app_name=app_name, user_id=user_id or "")
        sessions = sorted((_session(one) for one in answer.sessions), key=lambda one: one.last_update_time)
        return ListSessionsResponse(sessions=sessions)

    async def delete_session(self, *, app_name: str, user_id: str, session_id: str) -> None:
        """Delete a session and its events."""
        await self._client.delete_session(app_name=app_name, user_id=user_id, session_id=session_id)

    async def append_event(self, session: Session, event: Event) -> Event:
        """Store the event, once, with its state delta; then apply both to `session`."""
        if event.partial:
            return event
        run = current_run.get()
        if run is not None:
            run.check()
        # Once the run is parked its lease is gone: the next driver stores what comes of this batch, all of it.
        if _must_not_be_stored(session, event) or (run is not None and run.parked):
            return await super().append_event(session, event)
        if run is not None:
            event.id = run_event_id(run, event)
        delta: dict[str, Any] = _jsonable(event)["state_delta"]
        stored = run.stored_events.get(event.id) if run is not None else None
        if run is not None and stored is not None:
            event.timestamp = stored
            run.stored_state.update(delta)
            return await super().append_event(session, event)

        record = _record(event, delta, run)
        faults.point("before_append_event")
        append = self._client.append_event(
            app_name=session.app_name,
            user_id=session.user_id,
            session_id=session.id,
            event=record,
            state_delta_json=to_json(delta) if delta else "",
        )
        answer = await (run.write(append) if run is not None else append)
        faults.point("after_append_event")
        if run is not None:
            run.stored_state.update(delta)
        appended = await super().append_event(session, event)
        session.last_update_time = answer.last_update_time_ms / 1000
        return appended


def run_event_id(run: DurableRun, event: Event) -> str:
    """The id under which a run stores an event: what it says and how often it said so before, so that a replay of it
    has the same one."""
    content = event.content.model_dump(mode="json", exclude_none=True) if event.content is not None else None
    said = to_json([event.author, event.branch, content, _jsonable(event), event.error_code])
    print_ = hashlib.sha256(said.encode()).hexdigest()
    count = run.event_counts.get(print_, 0)
    run.event_counts[print_] = count + 1
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tape:{run.run_id}/{print_}/{count}"))


def _must_not_be_stored(session: Session, event: Event) -> bool:
    """Bare errors, and responses that leave calls of their batch unanswered: history that a later turn trips over."""
    if event.error_code and event.content is None:
        return True
    answered = {response.id for response in event.get_function_responses() if response.id}
    if not answered or event.author == "user":
        return False
    for earlier in reversed(session.events):
        asked = {call.id for call in earlier.get_function_calls() if call.id}
        if not asked & answered:
            continue
        later = session.events[session.events.index(earlier) :]
        before = {response.id for one in later for response in one.get_function_responses()}
        return bool(asked - answered - before - set(earlier.long_running_tool_ids or ()))
    return False


def _rewind(session: Session, run: DurableRun, records: Any) -> None:
    """Take the run's own events, and whatever came after its first one, out of `session`, and undo their state."""
    extras = [_extra(record) for record in records]
    first = next((at for at, extra in enumerate(extras) if extra.get("run") == run.run_id), None)
    if first is None:
        return
    run.stored_events = {
        record.id: _timestamp(record, extra)
        for record, extra in zip(records, extras, strict=True)
        if extra.get("run") == run.run_id
    }
    for extra in reversed(extras[first:]):
        for key, before in extra.get("prev", {}).items():
            if before is None:
                session.state.pop(key, None)
            else:
                session.state[key] = before[0]
    session.events = session.events[:first]


def _record(event: Event, delta: dict[str, Any], run: DurableRun | None) -> pb.EventRecord:
    rest = event.model_dump(mode="json", exclude_none=True, exclude=_OWN_FIELDS, fallback=str)
    extra: dict[str, Any] = {"event": rest, "timestamp": event.timestamp}
    if run is not None:
        extra["run"] = run.run_id
        # [value] or null: a state value may itself be null. The session's own state is no help: tools wrote to it.
        before = run.stored_state
        extra["prev"] = {key: [before[key]] if key in before else None for key in delta}
    actions = {**_jsonable(event), _EXTRA: extra}
    return pb.EventRecord(
        id=event.id,
        invocation_id=event.invocation_id,
        author=event.author,
        branch=event.branch or "",
        content_json=event.content.model_dump_json(exclude_none=True) if event.content is not None else "",
        actions_json=to_json(actions),
        timestamp_ms=int(event.timestamp * 1000),
    )


def _jsonable(event: Event) -> dict[str, Any]:
    """The event's actions as JSON, without what is not to be stored."""
    actions = event.actions.model_dump(mode="json", exclude_none=True)
    actions["state_delta"] = {
        key: value for key, value in actions.get("state_delta", {}).items() if not key.startswith(State.TEMP_PREFIX)
    }
    return {name: value for name, value in actions.items() if value not in ({}, [])} | {
        "state_delta": actions["state_delta"]
    }


def _event(record: pb.EventRecord) -> Event:
    actions = json.loads(record.actions_json) if record.actions_json else {}
    extra = actions.pop(_EXTRA, {})
    return Event.model_validate(
        {
            **extra.get("event", {}),
            "id": record.id,
            "invocation_id": record.invocation_id,
            "author": record.author,
            "branch": record.branch or None,
            "content": json.loads(record.content_json) if record.content_json else None,
            "actions": actions,
            "timestamp": _timestamp(record, extra),
        }
    )


def _session(session: pb.Session) -> Session:
    return Session(
        id=session.session_id,
        app_name=session.app_name,
        user_id=session.user_id,
        state=json.loads(session.state_json) if session.state_json else {},
        events=[_event(record) for record in session.events],
        last_update_time=session.last_update_time_ms / 1000,
    )


def _extra(record: pb.EventRecord) -> dict[str, Any]:
    return json.loads(record.actions_json).get(_EXTRA, {}) if record.actions_json else {}


def _timestamp(record: pb.EventRecord, extra: dict[str, Any]) -> float:
    return float(extra.get("timestamp", record.timestamp_ms / 1000))
