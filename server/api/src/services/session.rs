//! Sessions of agent frameworks.

use tape_core::Refusal;
use tape_core::json::{check_name, check_optional_name};
use tape_core::session::SessionName;
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::not_negative;
use crate::convert::session::{event, event_record, head, name, view};

pub(super) async fn create_session(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::CreateSessionRequest,
) -> Result<pb::Session, TapeError> {
    let session = if asked.session_id.is_empty() {
        cx.engine.fresh()
    } else {
        asked.session_id
    };
    let name = checked(cx, &asked.app_name, &asked.user_id, &session)?;
    Ok(view(cx.engine.create_session(name, &asked.state_json).await?))
}

pub(super) async fn get_session(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::GetSessionRequest,
) -> Result<pb::GetSessionResponse, TapeError> {
    let name = checked(cx, &asked.app_name, &asked.user_id, &asked.session_id)?;
    let asked_for = not_negative("max_events", asked.max_events, "all of them")?;
    let events_max = u32::try_from(asked_for).ok().filter(|max| *max > 0);
    let session = cx.engine.session(&name, events_max).await?;
    Ok(pb::GetSessionResponse {
        found: session.is_some(),
        session: session.map(view),
    })
}

pub(super) async fn list_sessions(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListSessionsRequest,
) -> Result<pb::ListSessionsResponse, TapeError> {
    check_name("app_name", &asked.app_name)?;
    check_optional_name("user_id", &asked.user_id)?;
    let sessions = cx
        .engine
        .list_sessions(cx.caller.own(), &asked.app_name, &asked.user_id)
        .await?;
    Ok(pb::ListSessionsResponse {
        sessions: sessions.into_iter().map(head).collect(),
    })
}

pub(super) async fn delete_session(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::DeleteSessionRequest,
) -> Result<pb::DeleteSessionResponse, TapeError> {
    let name = checked(cx, &asked.app_name, &asked.user_id, &asked.session_id)?;
    let deleted = cx.engine.delete_session(&name).await?;
    Ok(pb::DeleteSessionResponse { deleted })
}

pub(super) async fn append_event(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::AppendEventRequest,
) -> Result<pb::AppendEventResponse, TapeError> {
    let name = checked(cx, &asked.app_name, &asked.user_id, &asked.session_id)?;
    let Some(record) = asked.event else {
        return Err(Refusal::invalid("event", "", "event is missing.", "Set event.").into());
    };
    let event = event(record, cx.engine.now());
    let session = cx
        .engine
        .append_event(&name, event.clone(), &asked.state_delta_json)
        .await?;
    Ok(pb::AppendEventResponse {
        event: Some(event_record(event)),
        last_update_time_ms: session.updated.0,
    })
}

/// Names that hold the separator of entities would name another session.
fn checked(cx: &Cx, app: &str, user: &str, session: &str) -> Result<SessionName, Refusal> {
    check_name("app_name", app)?;
    check_optional_name("user_id", user)?;
    check_name("session_id", session)?;
    Ok(name(cx.caller.own(), app, user, session))
}
