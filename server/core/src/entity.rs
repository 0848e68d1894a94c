//! The unit of atomicity: what one commit may change.
//!
//! A run is one; so are a session, the state shared by an app or a user, and the reservation of a business key. A
//! commit changes the rows of one entity, all or none. Nothing may ask a store for more: Bigtable is atomic within one
//! row only.

use serde::{Deserialize, Serialize};

use crate::id::RunId;

/// What kind of thing an entity is. The numbers are stored: never change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum EntityKind {
    /// One run with its decisions, effects, obligations, gates, timers and budget.
    Run = 1,
    /// One conversation with its events and its own state.
    Session = 2,
    /// State shared by all sessions of an app.
    AppState = 3,
    /// State shared by all sessions of a user of an app.
    UserState = 4,
    /// The run and effect that own a business key.
    BusinessKey = 5,
    /// One value of the reactive key-value store with its versions.
    Value = 6,
    /// One reaction with its tasks.
    Reaction = 7,
    /// One deployed connector with its versions.
    Connector = 8,
    /// The bytes of one component.
    Component = 9,
}

impl EntityKind {
    /// The kind with this number, if there is one.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Run,
            2 => Self::Session,
            3 => Self::AppState,
            4 => Self::UserState,
            5 => Self::BusinessKey,
            6 => Self::Value,
            7 => Self::Reaction,
            8 => Self::Connector,
            9 => Self::Component,
            _ => return None,
        })
    }
}

/// Names one entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId {
    /// What it is.
    pub kind: EntityKind,
    /// Its name within its kind.
    pub id: String,
}

impl EntityId {
    /// The entity of a run.
    #[must_use]
    pub fn run(run: &RunId) -> Self {
        Self {
            kind: EntityKind::Run,
            id: run.0.clone(),
        }
    }

    /// An entity whose name is made of `parts`, kept apart by a character that no valid name contains.
    #[must_use]
    pub fn named(kind: EntityKind, parts: &[&str]) -> Self {
        Self {
            kind,
            id: parts.join(SEPARATOR),
        }
    }
}

/// ASCII "unit separator": names that contain control characters are refused at the door.
pub const SEPARATOR: &str = "\u{1f}";
