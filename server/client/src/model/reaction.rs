//! Reactions, tasks, events.

use serde::Serialize;
use tape_proto::v1 as pb;

/// Which events. The default is all.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this kind, `noun.verb`; empty = of all.
    pub kind: String,
    /// With such a subject; empty = with any.
    pub subject_pattern: String,
    /// For which this CEL expression holds; empty = all.
    pub predicate_cel: String,
}

/// A journal entry with its run and its place among those of all runs.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// To go on after it, ask from the number behind it.
    pub cursor: i64,
    /// Whose journal it is in.
    pub run_id: String,
    /// Its number there.
    pub seq: i64,
    /// `noun.verb`.
    pub kind: String,
    /// Its subject.
    pub subject: String,
    /// When.
    pub ts_ms: i64,
    /// Details.
    pub payload_json: String,
}

/// A standing order to make tasks of events.
#[derive(Clone, Debug, Serialize)]
pub struct Reaction {
    /// Its id.
    pub reaction_id: String,
    /// For people.
    pub name: String,
    /// Which subjects.
    pub subject_pattern: String,
    /// Which of their events; empty = all.
    pub predicate_cel: String,
    /// The app whose runs it starts; empty = none.
    pub agent_app: String,
    /// Where its tasks are published; empty = nowhere.
    pub publish_target: String,
    /// It makes no more tasks.
    pub deleted: bool,
    /// When it was registered first.
    pub created_at_ms: i64,
}

/// What a reaction made of one event.
#[derive(Clone, Debug, Serialize)]
pub struct Task {
    /// `<reaction>/<shard>/<position>`.
    pub task_id: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// The run whose event it is about.
    pub source_run_id: String,
    /// The event's subject.
    pub subject: String,
    /// The event's details.
    pub payload_json: String,
    /// How often it was claimed.
    pub attempts: i32,
    /// When it may be claimed next.
    pub next_attempt_at_ms: i64,
    /// Who holds it, or did it.
    pub lease_owner: String,
    /// Why the last attempt failed.
    pub last_error: String,
    /// When it was made.
    pub created_at_ms: i64,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TaskStatus {
    /// Waits for somebody.
    Pending,
    /// Somebody works on it.
    Claimed,
    /// Done.
    Done,
    /// Given up.
    Dlq,
}

impl TaskStatus {
    /// As people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Claimed => "CLAIMED",
            Self::Done => "DONE",
            Self::Dlq => "DLQ",
        }
    }

    pub(crate) fn number(self) -> i32 {
        match self {
            Self::Pending => pb::TaskStatus::Pending.into(),
            Self::Claimed => pb::TaskStatus::Claimed.into(),
            Self::Done => pb::TaskStatus::Done.into(),
            Self::Dlq => pb::TaskStatus::Dlq.into(),
        }
    }
}

impl From<pb::EventEntry> for Event {
    fn from(entry: pb::EventEntry) -> Self {
        Self {
            cursor: entry.global_seq,
            run_id: entry.run_id,
            seq: entry.seq,
            kind: entry.kind,
            subject: entry.subject,
            ts_ms: entry.ts_ms,
            payload_json: entry.payload_json,
        }
    }
}

impl From<pb::Reaction> for Reaction {
    fn from(reaction: pb::Reaction) -> Self {
        Self {
            reaction_id: reaction.reaction_id,
            name: reaction.name,
            subject_pattern: reaction.subject_pattern,
            predicate_cel: reaction.predicate_cel,
            agent_app: reaction.agent_app,
            publish_target: reaction.publish_target,
            deleted: reaction.deleted,
            created_at_ms: reaction.created_at_ms,
        }
    }
}

impl From<pb::Task> for Task {
    fn from(task: pb::Task) -> Self {
        Self {
            status: match task.status() {
                pb::TaskStatus::Claimed => TaskStatus::Claimed,
                pb::TaskStatus::Done => TaskStatus::Done,
                pb::TaskStatus::Dlq => TaskStatus::Dlq,
                _ => TaskStatus::Pending,
            },
            task_id: task.task_id,
            source_run_id: task.source_run_id,
            subject: task.subject,
            payload_json: task.payload_json,
            attempts: task.attempts,
            next_attempt_at_ms: task.next_attempt_at_ms,
            lease_owner: task.lease_owner,
            last_error: task.last_error,
            created_at_ms: task.created_at_ms,
        }
    }
}
