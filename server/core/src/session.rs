//! A session: the events of one conversation, and state at three scopes.

use serde::{Deserialize, Serialize};

use crate::entity::{EntityId, EntityKind};
use crate::time::Time;

/// Names a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionName {
    /// Tenant; empty in single-tenant mode.
    pub tenant: String,
    /// App.
    pub app: String,
    /// User.
    pub user: String,
    /// Session.
    pub session: String,
}

impl SessionName {
    /// The session's own entity.
    #[must_use]
    pub fn entity(&self) -> EntityId {
        EntityId::named(
            EntityKind::Session,
            &[&self.tenant, &self.app, &self.user, &self.session],
        )
    }

    /// The state shared by all sessions of the app.
    #[must_use]
    pub fn app_state(&self) -> EntityId {
        EntityId::named(EntityKind::AppState, &[&self.tenant, &self.app])
    }

    /// The state shared by all sessions of the user.
    #[must_use]
    pub fn user_state(&self) -> EntityId {
        EntityId::named(EntityKind::UserState, &[&self.tenant, &self.app, &self.user])
    }
}

/// A session's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its name.
    pub name: SessionName,
    /// Events appended so far.
    pub events: u64,
    /// When it was created.
    pub created: Time,
    /// When it last changed.
    pub updated: Time,
    /// Set when it was deleted; a later create starts anew.
    pub deleted: bool,
}

/// One event of a session, as the framework gave it. Opaque to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// Position, from 0.
    pub position: u64,
    /// The framework's id of the event: appending it again changes nothing.
    pub id: String,
    /// Invocation to which it belongs.
    pub invocation: String,
    /// Who said it.
    pub author: String,
    /// Branch of the agent tree.
    pub branch: String,
    /// Content, as JSON.
    pub content_json: String,
    /// Actions, as JSON.
    pub actions_json: String,
    /// The framework's time of it.
    pub at: Time,
}

/// One key of a session's, app's or user's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateValue {
    /// Key without its scope's prefix.
    pub key: String,
    /// Value as JSON.
    pub value_json: String,
}

/// Head of an app's or a user's shared state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedState {
    /// When it last changed.
    pub updated: Time,
}

/// The scope of a state key, by its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateScope {
    /// `app:`
    App,
    /// `user:`
    User,
    /// No prefix.
    Session,
    /// `temp:`: never stored.
    Temp,
}

/// Splits a key of a state delta into its scope and its bare key.
#[must_use]
pub fn scope_of(key: &str) -> (StateScope, &str) {
    for (prefix, scope) in [
        ("app:", StateScope::App),
        ("user:", StateScope::User),
        ("temp:", StateScope::Temp),
    ] {
        if let Some(bare) = key.strip_prefix(prefix) {
            return (scope, bare);
        }
    }
    (StateScope::Session, key)
}
