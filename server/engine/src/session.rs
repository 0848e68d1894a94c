//! Sessions: three entities that are read and written as one.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tape_core::Row;
use tape_core::command::Reads;
use tape_core::command::session::{AppendEvent, CreateSession, DeleteSession, Delta, MergeState};
use tape_core::entity::EntityKind;
use tape_core::row::RowKind;
use tape_core::session::{Session, SessionEvent, SessionName, StateValue};
use tape_port::TapeError;
use tape_store::{ListQuery, codec};

use crate::engine::{Engine, store_error};

/// A session as its users see it.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Head.
    pub session: Session,
    /// State of all scopes as one JSON object, with the prefixes `app:` and `user:`.
    pub state_json: String,
    /// Events, oldest first.
    pub events: Vec<SessionEvent>,
}

/// Most sessions in one listing.
const LIST_MAX: u32 = 1000;

impl Engine {
    /// Creates a session with its initial state. The same request again returns what is there.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for bad names or state.
    pub async fn create_session(&self, name: SessionName, state_json: &str) -> Result<SessionView, TapeError> {
        let delta = Delta::parse("state_json", state_json)?;
        self.merge_shared(&name, &delta, &format!("create:{}", name.session))
            .await?;
        self.execute(
            &CreateSession {
                name: name.clone(),
                state: delta.session,
            },
            None,
        )
        .await?;
        self.session(&name, None)
            .await?
            .ok_or_else(|| TapeError::Unavailable("The session was deleted meanwhile.".into()))
    }

    /// A session, if it is there, with its newest `events_max` events (none = all).
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn session(&self, name: &SessionName, events_max: Option<u32>) -> Result<Option<SessionView>, TapeError> {
        let mut reads = Reads::head().all(RowKind::State);
        reads = match events_max {
            Some(max) => reads.last(RowKind::SessionEvent, max),
            None => reads.all(RowKind::SessionEvent),
        };
        let snapshot = self.load(&name.entity(), &reads).await?;
        let (mut session, mut events, mut state) = (None, Vec::new(), BTreeMap::new());
        for row in snapshot.rows.into_values() {
            match row {
                Row::Session(head) if !head.deleted => session = Some(head),
                Row::SessionEvent(event) => events.push(event),
                Row::State(value) => insert(&mut state, "", value)?,
                _ => {}
            }
        }
        let Some(session) = session else { return Ok(None) };
        for (entity, prefix) in [(name.app_state(), "app:"), (name.user_state(), "user:")] {
            let shared = self.load(&entity, &Reads::head().all(RowKind::State)).await?;
            for row in shared.rows.into_values() {
                if let Row::State(value) = row {
                    insert(&mut state, prefix, value)?;
                }
            }
        }
        let state_json = serde_json::to_string(&state).map_err(|error| TapeError::Corrupt(error.to_string()))?;
        Ok(Some(SessionView {
            session,
            state_json,
            events,
        }))
    }

    /// Sessions of an app, or of one of its users, newest first, without events and state.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn list_sessions(&self, tenant: &str, app: &str, user: &str) -> Result<Vec<Session>, TapeError> {
        let query = ListQuery {
            tenant: Some(tenant.to_owned()),
            app: Some(app.to_owned()),
            user: (!user.is_empty()).then(|| user.to_owned()),
            statuses: vec![0],
            ..ListQuery::all(EntityKind::Session, LIST_MAX)
        };
        let listed = self.store.list(&query).await.map_err(store_error)?;
        let mut sessions = Vec::with_capacity(listed.len());
        for found in listed {
            if let Row::Session(session) = codec::decode_row(&found.head).map_err(store_error)? {
                sessions.push(session);
            }
        }
        Ok(sessions)
    }

    /// Appends an event and applies its state delta, once for each event id.
    ///
    /// The delta's shared parts are written first, under the event's id: a crash in between leaves them written and the
    /// event not, and the repeated append completes it.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such session; INVALID_ARGUMENT for a bad event or delta.
    pub async fn append_event(
        &self,
        name: &SessionName,
        event: SessionEvent,
        delta_json: &str,
    ) -> Result<Session, TapeError> {
        let delta = Delta::parse("state_delta_json", delta_json)?;
        let id = format!("event:{}:{}", name.session, event.id);
        self.merge_shared(name, &delta, &id).await?;
        self.execute(
            &AppendEvent {
                name: name.clone(),
                event,
                state: delta.session,
            },
            None,
        )
        .await
    }

    /// Deletes a session. Returns whether it was there.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn delete_session(&self, name: &SessionName) -> Result<bool, TapeError> {
        self.execute(&DeleteSession { name: name.clone() }, None).await
    }

    async fn merge_shared(&self, name: &SessionName, delta: &Delta, request_id: &str) -> Result<(), TapeError> {
        for (entity, state) in [(name.app_state(), &delta.app), (name.user_state(), &delta.user)] {
            if !state.is_empty() {
                let request_id = request_id.to_owned();
                self.execute(
                    &MergeState {
                        entity,
                        state: state.clone(),
                        request_id,
                    },
                    None,
                )
                .await?;
            }
        }
        Ok(())
    }
}

fn insert(state: &mut BTreeMap<String, Box<RawValue>>, prefix: &str, value: StateValue) -> Result<(), TapeError> {
    let raw = RawValue::from_string(value.value_json).map_err(|error| TapeError::Corrupt(error.to_string()))?;
    state.insert(format!("{prefix}{}", value.key), raw);
    Ok(())
}
