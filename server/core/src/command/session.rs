//! Sessions: create, append, delete; and the state shared at the scope of an app or a user.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Command, Reads};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::json::{check_name, check_optional_name, check_payload};
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey, RowKind};
use crate::session::{Session, SessionEvent, SessionName, SharedState, StateScope, StateValue, scope_of};
use crate::time::Time;

/// Creates a session. The same request again returns what is there.
#[derive(Clone, Debug)]
pub struct CreateSession {
    /// Name.
    pub name: SessionName,
    /// Keys of the session's own scope with which it starts.
    pub state: Vec<StateValue>,
}

/// Appends an event, and the part of its state delta that belongs to the session.
#[derive(Clone, Debug)]
pub struct AppendEvent {
    /// Session.
    pub name: SessionName,
    /// Event; its position is the server's to choose.
    pub event: SessionEvent,
    /// Keys of the session's own scope that it changes.
    pub state: Vec<StateValue>,
}

/// Deletes a session and what is in it.
#[derive(Clone, Debug)]
pub struct DeleteSession {
    /// Session.
    pub name: SessionName,
}

/// Changes keys of a state that is shared by an app or a user.
#[derive(Clone, Debug)]
pub struct MergeState {
    /// The state: an app's or a user's.
    pub entity: EntityId,
    /// Keys, without prefix.
    pub state: Vec<StateValue>,
    /// Identity of the change: it is applied once.
    pub request_id: String,
}

/// A state delta, parted by scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// For the app.
    pub app: Vec<StateValue>,
    /// For the user.
    pub user: Vec<StateValue>,
    /// For the session.
    pub session: Vec<StateValue>,
}

impl Delta {
    /// Parts a JSON object by the prefixes of its keys; `temp:` is dropped. Values stay as they were written.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if it is not a JSON object.
    pub fn parse(field: &'static str, json: &str) -> Result<Self, Refusal> {
        check_payload(field, json)?;
        if json.is_empty() {
            return Ok(Self::default());
        }
        let values: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).map_err(|error| {
            Refusal::invalid(
                field,
                json,
                format!("{field} is not a JSON object: {error}."),
                "Send {\"key\": value, ...}.",
            )
            .coded("TAPE-V002")
        })?;
        let mut delta = Self::default();
        for (key, value) in values {
            check_name(field, &key)?;
            let (scope, bare) = scope_of(&key);
            let value = StateValue {
                key: bare.to_owned(),
                value_json: value.get().to_owned(),
            };
            match scope {
                StateScope::App => delta.app.push(value),
                StateScope::User => delta.user.push(value),
                StateScope::Session => delta.session.push(value),
                StateScope::Temp => {}
            }
        }
        Ok(delta)
    }
}

impl Command for CreateSession {
    type Reply = Session;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Session, Refusal> {
        check_name("app_name", &self.name.app)?;
        check_optional_name("user_id", &self.name.user)?;
        check_name("session_id", &self.name.session)?;
        if let Some(Row::Session(session)) = draft.row(&RowKey::Head)
            && !session.deleted
        {
            return Ok(session.clone());
        }
        let now = draft.now();
        let session = Session {
            name: self.name.clone(),
            events: 0,
            created: now,
            updated: now,
            deleted: false,
        };
        draft.put(RowKey::Head, Row::Session(session.clone()));
        merge(draft, &self.state);
        Ok(session)
    }
}

impl Command for AppendEvent {
    type Reply = Session;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::SessionEventId(self.event.id.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Session, Refusal> {
        check_name("event.id", &self.event.id)?;
        check_payload("event.content_json", &self.event.content_json)?;
        check_payload("event.actions_json", &self.event.actions_json)?;
        let session = live(draft, &self.name)?;
        if draft.row(&RowKey::SessionEventId(self.event.id.clone())).is_some() {
            return Ok(session);
        }
        let position = session.events;
        let session = Session {
            events: position + 1,
            updated: draft.now().max(self.event.at),
            ..session
        };
        draft.put(RowKey::Head, Row::Session(session.clone()));
        draft.put(
            RowKey::SessionEvent(position),
            Row::SessionEvent(SessionEvent {
                position,
                ..self.event.clone()
            }),
        );
        draft.put(
            RowKey::SessionEventId(self.event.id.clone()),
            Row::SessionEventId(position),
        );
        merge(draft, &self.state);
        Ok(session)
    }
}

impl Command for DeleteSession {
    /// Whether it was there.
    type Reply = bool;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head()
            .all(RowKind::SessionEvent)
            .all(RowKind::SessionEventId)
            .all(RowKind::State)
    }

    fn decide(&self, draft: &mut Draft) -> Result<bool, Refusal> {
        let Ok(session) = live(draft, &self.name) else {
            return Ok(false);
        };
        let keys: Vec<RowKey> = draft
            .rows()
            .map(|(key, _)| key.clone())
            .filter(|key| *key != RowKey::Head)
            .collect();
        for key in keys {
            draft.delete(&key);
        }
        let now = draft.now();
        draft.put(
            RowKey::Head,
            Row::Session(Session {
                events: 0,
                updated: now,
                deleted: true,
                ..session
            }),
        );
        Ok(true)
    }
}

impl Command for MergeState {
    type Reply = ();

    fn entity(&self) -> EntityId {
        self.entity.clone()
    }

    fn reads(&self) -> Reads {
        Reads::head().request(&self.request_id)
    }

    fn decide(&self, draft: &mut Draft) -> Result<(), Refusal> {
        if draft.answered(&self.request_id, "MergeState")?.is_some() {
            return Ok(());
        }
        let updated: Time = draft.now();
        draft.put(RowKey::Head, Row::SharedState(SharedState { updated }));
        merge(draft, &self.state);
        draft.remember(&self.request_id, "MergeState", String::new());
        Ok(())
    }
}

fn merge(draft: &mut Draft, state: &[StateValue]) {
    for value in state {
        draft.put(RowKey::State(value.key.clone()), Row::State(value.clone()));
    }
}

fn live(draft: &Draft, name: &SessionName) -> Result<Session, Refusal> {
    match draft.row(&RowKey::Head) {
        Some(Row::Session(session)) if !session.deleted => Ok(session.clone()),
        _ => Err(Refusal::new(
            Status::NotFound,
            "TAPE-S001",
            format!(
                "There is no session {:?} of user {:?} in app {:?}.",
                name.session, name.user, name.app
            ),
            "Create it by CreateSession.",
        )),
    }
}
