//! Sessions and their events.

use tape_core::Time;
use tape_core::session::{Session, SessionEvent, SessionName};
use tape_engine::SessionView;
use tape_proto::v1 as pb;

/// A session of the caller's tenant.
pub(crate) fn name(tenant: &str, app: &str, user: &str, session: &str) -> SessionName {
    SessionName {
        tenant: tenant.to_owned(),
        app: app.to_owned(),
        user: user.to_owned(),
        session: session.to_owned(),
    }
}

/// An event; one without a time gets `now`.
pub(crate) fn event(asked: pb::EventRecord, now: Time) -> SessionEvent {
    SessionEvent {
        position: 0,
        id: asked.id,
        invocation: asked.invocation_id,
        author: asked.author,
        branch: asked.branch,
        content_json: asked.content_json,
        actions_json: asked.actions_json,
        at: if asked.timestamp_ms == 0 {
            now
        } else {
            Time(asked.timestamp_ms)
        },
    }
}

pub(crate) fn event_record(event: SessionEvent) -> pb::EventRecord {
    pb::EventRecord {
        id: event.id,
        invocation_id: event.invocation,
        author: event.author,
        branch: event.branch,
        content_json: event.content_json,
        actions_json: event.actions_json,
        timestamp_ms: event.at.0,
    }
}

pub(crate) fn view(view: SessionView) -> pb::Session {
    pb::Session {
        state_json: view.state_json,
        events: view.events.into_iter().map(event_record).collect(),
        ..head(view.session)
    }
}

/// A session without state and events.
pub(crate) fn head(session: Session) -> pb::Session {
    pb::Session {
        app_name: session.name.app,
        user_id: session.name.user,
        session_id: session.name.session,
        state_json: String::new(),
        events: Vec::new(),
        last_update_time_ms: session.updated.0,
    }
}
