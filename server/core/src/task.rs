//! A task: what a reaction made of one event, to be done at least once by whoever claims it.
//!
//! ```text
//!            ┌──────── failed, or the claim ran out; after a backoff ───────┐
//!            ▼                                                              │
//! event ─▶ PENDING ──claimed (counts as an attempt)──▶ CLAIMED ──completed──┼─▶ DONE
//!            ▲                                            │                 │
//!            │ reopened                                   └─ failed for good, or attempts used up ─▶ DLQ
//!            └──────────────────────────────────────────────────────────────────────────────────────┘
//! ```

use serde::{Deserialize, Serialize};

use crate::id::RunId;
use crate::journal::Trace;
use crate::lease::Claim;
use crate::row::{Due, DueKind, RowKey};
use crate::time::Time;

/// How long a task that is done stays listed, in milliseconds: seven days.
pub const DONE_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// Longest wait between two attempts, in milliseconds, unless the reaction's first wait is longer.
pub const BACKOFF_MAX_MS: i64 = 10 * 60 * 1000;
/// Longest error text that is kept, in bytes.
pub const ERROR_BYTES_MAX: usize = 4096;

/// A task's place within its reaction: the shard, and the position of the event that made it. One event makes one task
/// of a reaction at most, so nobody has to number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskPlace {
    /// Shard, from 0.
    pub shard: u32,
    /// Position of the first event in the order of all commits.
    pub position: i64,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The reaction that made it.
    pub reaction: String,
    /// Where it is kept.
    pub place: TaskPlace,
    /// The event that it is about: the newest of those that were collapsed into it.
    pub source: Source,
    /// When it was made.
    pub created: Time,
    /// How often it was claimed.
    pub attempts: u32,
    /// Why the last attempt failed; empty if none did.
    pub last_error: String,
    /// Who gave it back, or lost it, last; empty if nobody did.
    pub last_owner: String,
    /// The request that claimed it: a claim whose commit was in doubt is known again by it.
    pub token: String,
    /// Where it stands.
    pub state: TaskState,
}

/// The event that a task is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its position in the order of all commits.
    pub position: i64,
    /// Tenant of its run.
    pub tenant: String,
    /// In whose journal it is.
    pub run: RunId,
    /// Its number there.
    pub seq: i64,
    /// When it happened.
    pub at: Time,
    /// Its subject.
    pub subject: String,
    /// Its details as JSON.
    pub payload_json: String,
    /// The trace under which it was written.
    pub trace: Option<Trace>,
}

/// Where a task stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskState {
    /// Free to be claimed.
    Pending {
        /// From when.
        next: Time,
    },
    /// Somebody works on it.
    Claimed(Claim),
    /// Done. Final.
    Done {
        /// Who did it.
        owner: String,
        /// When.
        at: Time,
    },
    /// Dead letter: given up, until a person opens it again.
    Dead {
        /// When.
        at: Time,
    },
}

/// What can happen to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskEvent {
    /// Somebody takes it.
    Claimed(Claim),
    /// It was done.
    Completed {
        /// When.
        at: Time,
    },
    /// It was not: again at this time.
    TryAgain {
        /// When.
        next: Time,
    },
    /// It was not, and nobody tries again.
    GaveUp {
        /// When.
        at: Time,
    },
    /// A person wants it tried again.
    Reopened {
        /// From when.
        next: Time,
    },
}

/// An event that cannot happen in this state. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalMove {
    /// The state's name.
    pub state: &'static str,
    /// The event's name.
    pub event: &'static str,
}

impl TaskState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalMove`] if `event` cannot happen in this state.
    pub fn apply(self, event: TaskEvent) -> Result<Self, IllegalMove> {
        use TaskEvent as E;
        Ok(match (self, event) {
            (Self::Pending { .. }, E::Claimed(claim)) => Self::Claimed(claim),
            (Self::Claimed(claim), E::Completed { at }) => Self::Done { owner: claim.owner, at },
            (Self::Claimed(_), E::TryAgain { next }) | (Self::Dead { .. }, E::Reopened { next }) => {
                Self::Pending { next }
            }
            (Self::Claimed(_), E::GaveUp { at }) => Self::Dead { at },
            (state, event) => {
                return Err(IllegalMove {
                    state: state.name(),
                    event: event.name(),
                });
            }
        })
    }

    /// The name of the status on the wire, without its prefix.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "PENDING",
            Self::Claimed(_) => "CLAIMED",
            Self::Done { .. } => "DONE",
            Self::Dead { .. } => "DLQ",
        }
    }
}

impl TaskEvent {
    const fn name(&self) -> &'static str {
        match self {
            Self::Claimed(_) => "claimed",
            Self::Completed { .. } => "completed",
            Self::TryAgain { .. } => "try again",
            Self::GaveUp { .. } => "gave up",
            Self::Reopened { .. } => "reopened",
        }
    }
}

impl TaskPlace {
    /// Its row.
    #[must_use]
    pub const fn key(self) -> RowKey {
        RowKey::Task(self.shard, self.position)
    }
}

impl Task {
    /// The task's name over all reactions of its tenant: `<reaction>/<shard>/<position>`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.reaction, self.place.shard, self.place.position)
    }

    /// The reaction and the place that an id names, if it is one.
    #[must_use]
    pub fn parse_id(id: &str) -> Option<(&str, TaskPlace)> {
        let mut parts = id.rsplitn(3, '/');
        let (position, shard, reaction) = (parts.next()?, parts.next()?, parts.next()?);
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let place = TaskPlace {
            shard: shard.parse().ok().filter(|_| number(shard))?,
            position: position.parse().ok().filter(|_| number(position))?,
        };
        (!reaction.is_empty()).then_some((reaction, place))
    }

    /// Where it is found: each status is a queue of its own. What waits is found by its time, what is claimed by the end
    /// of the claim, a dead letter by when it died; what is done by when it may be forgotten.
    #[must_use]
    pub fn due(&self) -> Due {
        let (kind, at) = match &self.state {
            TaskState::Pending { next } => (DueKind::Task, *next),
            TaskState::Claimed(claim) => (DueKind::TaskClaim, claim.expires),
            TaskState::Done { at, .. } => (DueKind::TaskDone, at.after(DONE_KEPT_MS)),
            TaskState::Dead { at } => (DueKind::TaskDead, *at),
        };
        Due { kind, at }
    }
}

/// The first `ERROR_BYTES_MAX` bytes of an error, cut between characters.
#[must_use]
pub fn short_error(error: &str) -> String {
    let mut end = error.len().min(ERROR_BYTES_MAX);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_meets_every_event() {
        let claim = || Claim {
            owner: "a".into(),
            expires: Time(10),
        };
        let states = [
            TaskState::Pending { next: Time(0) },
            TaskState::Claimed(claim()),
            TaskState::Done {
                owner: "a".into(),
                at: Time(1),
            },
            TaskState::Dead { at: Time(1) },
        ];
        let events = [
            TaskEvent::Claimed(claim()),
            TaskEvent::Completed { at: Time(2) },
            TaskEvent::TryAgain { next: Time(3) },
            TaskEvent::GaveUp { at: Time(4) },
            TaskEvent::Reopened { next: Time(5) },
        ];
        let table = [
            ("PENDING", "CLAIMED - - - -"),
            ("CLAIMED", "- DONE PENDING DLQ -"),
            ("DONE", "- - - - -"),
            ("DLQ", "- - - - PENDING"),
        ];
        for (state, (name, row)) in states.iter().zip(table) {
            assert_eq!(state.name(), name);
            for (event, expected) in events.iter().zip(row.split(' ')) {
                let after = state.clone().apply(event.clone()).map_or("-", |next| next.name());
                assert_eq!(after, expected, "{name} + {}", event.name());
            }
        }
    }

    #[test]
    fn an_id_names_its_place_and_nothing_else_does() {
        let place = TaskPlace { shard: 3, position: 17 };
        assert_eq!(Task::parse_id("rx-a/3/17"), Some(("rx-a", place)));
        assert_eq!(Task::parse_id("team/mail/3/17"), Some(("team/mail", place)));
        for bad in [
            "",
            "rx-a",
            "rx-a/3",
            "/3/17",
            "rx-a/-1/17",
            "rx-a/3/+17",
            "rx-a/03/17",
            "rx-a/3/x",
            "rx-a/3/",
        ] {
            assert_eq!(Task::parse_id(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let error = "ä".repeat(ERROR_BYTES_MAX);
        assert_eq!(short_error(&error).len(), ERROR_BYTES_MAX);
        assert_eq!(short_error("short"), "short");
        assert_eq!(short_error(&format!("x{error}")).len(), ERROR_BYTES_MAX - 1);
    }
}
