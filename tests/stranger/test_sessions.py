"""Sessions, as an agent framework keeps them."""

from __future__ import annotations

import json
from typing import Any

from grpc import StatusCode as Status

from client import Tape, fresh, pb, refused


def name(**fields: str) -> dict[str, str]:
    return {"app_name": fresh("app"), "user_id": "ann", "session_id": fresh("s"), **fields}


def event(id: str, **fields: Any) -> Any:
    return pb.EventRecord(
        **{
            "id": id,
            "invocation_id": "i-1",
            "author": "agent",
            "branch": "root.child",
            "content_json": '{"parts":[{"text":"hi  é"}]}',
            "actions_json": '{"transfer":null}',
            "timestamp_ms": 1_700_000_000_123,
            **fields,
        }
    )


def test_a_session_is_created_once(tape: Tape) -> None:
    at = name()
    assert not tape.GetSession(**at).found
    made = tape.CreateSession(**at, state_json='{"turn":1}')
    assert (made.app_name, made.user_id, made.session_id) == tuple(at.values())
    assert json.loads(made.state_json) == {"turn": 1} and list(made.events) == [] and made.last_update_time_ms > 0
    assert tape.CreateSession(**at, state_json='{"turn":1}') == made, "the same again"
    assert tape.GetSession(**at).session == made


def test_events_come_back_as_they_were(tape: Tape) -> None:
    at = name()
    tape.CreateSession(**at)
    for number in range(5):
        answer = tape.AppendEvent(**at, event=event(f"e-{number}"), state_delta_json=json.dumps({"turn": number}))
        assert answer.event == event(f"e-{number}") and answer.last_update_time_ms > 0
    session = tape.GetSession(**at).session
    assert list(session.events) == [event(f"e-{number}") for number in range(5)]
    assert json.loads(session.state_json) == {"turn": 4}
    newest = tape.GetSession(**at, max_events=2).session.events
    assert [one.id for one in newest] == ["e-3", "e-4"]


def test_an_event_is_appended_once_by_its_id(tape: Tape) -> None:
    at = name()
    tape.CreateSession(**at)
    first = tape.AppendEvent(**at, event=event("e-1"), state_delta_json='{"n":1}')
    assert tape.AppendEvent(**at, event=event("e-1"), state_delta_json='{"n":1}') == first
    session = tape.GetSession(**at).session
    assert len(session.events) == 1 and json.loads(session.state_json) == {"n": 1}


def test_state_is_shared_at_its_scope_and_temp_is_never_kept(tape: Tape) -> None:
    first = name()
    second = {**first, "session_id": fresh("s")}
    stranger = {**first, "user_id": "bob", "session_id": fresh("s")}
    for at in (first, second, stranger):
        tape.CreateSession(**at)
    delta = {"own": 1, "user:name": "Ann", "app:motto": "pay once", "temp:scratch": 9}
    tape.AppendEvent(**first, event=event("e"), state_delta_json=json.dumps(delta))

    def state(at: dict[str, str]) -> dict[str, Any]:
        return json.loads(tape.GetSession(**at).session.state_json or "{}")

    assert state(first) == {"own": 1, "user:name": "Ann", "app:motto": "pay once"}
    assert state(second) == {"user:name": "Ann", "app:motto": "pay once"}
    assert state(stranger) == {"app:motto": "pay once"}
    born = {**first, "session_id": fresh("s")}
    made = tape.CreateSession(**born, state_json='{"user:name":"Anne","temp:x":1,"mine":2}')
    assert json.loads(made.state_json) == {"user:name": "Anne", "app:motto": "pay once", "mine": 2}
    assert state(first)["user:name"] == "Anne"


def test_sessions_are_listed_by_app_and_user(tape: Tape) -> None:
    first = name()
    ids = {first["session_id"]}
    tape.CreateSession(**first, state_json='{"a":1}')
    for _ in range(3):
        at = {**first, "session_id": fresh("s")}
        tape.CreateSession(**at)
        ids.add(at["session_id"])
    tape.CreateSession(**{**first, "user_id": "bob", "session_id": "other"})
    tape.AppendEvent(**first, event=event("e"))
    listed = tape.ListSessions(app_name=first["app_name"], user_id="ann").sessions
    assert {one.session_id for one in listed} == ids
    assert len(tape.ListSessions(app_name=first["app_name"]).sessions) == 5, "no user means all users"
    assert not tape.ListSessions(app_name=fresh("none"), user_id="ann").sessions


def test_a_deleted_session_is_gone_with_its_events(tape: Tape) -> None:
    at = name()
    tape.CreateSession(**at)
    tape.AppendEvent(**at, event=event("e"), state_delta_json='{"own":1,"app:kept":2}')
    assert tape.DeleteSession(**at).deleted and not tape.DeleteSession(**at).deleted
    assert not tape.GetSession(**at).found
    refused(Status.NOT_FOUND, at["session_id"], tape.AppendEvent, **at, event=event("e2"))
    again = tape.CreateSession(**at)
    assert list(again.events) == [] and json.loads(again.state_json) == {"app:kept": 2}


def test_what_is_wrong_with_a_session_is_named(tape: Tape) -> None:
    at = name()
    tape.CreateSession(**at)
    refused(Status.INVALID_ARGUMENT, "app_name", tape.CreateSession, **{**at, "app_name": ""})
    refused(Status.INVALID_ARGUMENT, "state_json", tape.CreateSession, **{**at, "session_id": "n"}, state_json="[1]")
    refused(Status.INVALID_ARGUMENT, "event", tape.AppendEvent, **at)
    refused(Status.INVALID_ARGUMENT, "content_json JSON", tape.AppendEvent, **at, event=event("e", content_json="{"))
    refused(Status.INVALID_ARGUMENT, "actions_json JSON", tape.AppendEvent, **at, event=event("e", actions_json="{"))
    refused(Status.INVALID_ARGUMENT, "state_delta_json", tape.AppendEvent, **at, event=event("e"), state_delta_json='"text"')
    refused(Status.INVALID_ARGUMENT, "max_events -1", tape.GetSession, **at, max_events=-1)
    refused(Status.INVALID_ARGUMENT, "session_id 512", tape.CreateSession, **{**at, "session_id": "s" * 513})
    assert not tape.GetSession(**at).session.events


def test_a_session_without_an_id_gets_one(tape: Tape) -> None:
    at = name(session_id="")
    made = tape.CreateSession(**at)
    assert made.session_id
    assert tape.GetSession(**{**at, "session_id": made.session_id}).found
