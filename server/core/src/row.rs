//! What an entity is stored as: rows, each with a key, and a hint when it is work that waits.

use serde::{Deserialize, Serialize};

use crate::budget::Budget;
use crate::connector::{Chunk, Component, Connector, ConnectorVersion};
use crate::decision::Decision;
use crate::effect::Effect;
use crate::gate::Gate;
use crate::id::{EffectKey, RunId};
use crate::lease::Lease;
use crate::obligation::Obligation;
use crate::reaction::{Reaction, Window};
use crate::run::{Run, RunState};
use crate::session::{Session, SessionEvent, SharedState, StateValue};
use crate::task::Task;
use crate::time::Time;
use crate::timer::Timer;
use crate::value::Value;

/// Names a row within its entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// The entity's head: run, session, shared state, reservation, value, reaction, connector, or component.
    Head,
    /// Decision by index.
    Decision(i64),
    /// Effect by idempotency key.
    Effect(EffectKey),
    /// Obligation by seq.
    Obligation(i64),
    /// The n-th await of a gate.
    Gate(String, u32),
    /// Timer by id.
    Timer(String),
    /// The run's budget.
    Budget,
    /// The n-th take-over of the run.
    Lease(u32),
    /// The n-th effect that was confirmed with a compensation handle.
    Confirmed(u32),
    /// A request that was answered, by its id.
    Request(String),
    /// A business key that somebody else took from this run before its effect was written.
    Revoked(String),
    /// Event of a session by position.
    SessionEvent(u64),
    /// An event's position, by the framework's id.
    SessionEventId(String),
    /// One key of a state.
    State(String),
    /// Version of a value, from 1.
    ValueVersion(u64),
    /// Task by shard and by the position of its event.
    Task(u32, i64),
    /// Events that make one task together, by the name of their subject's window.
    TaskWindow(String),
    /// A version of a connector, by its name.
    ConnectorVersion(String),
    /// The n-th chunk of a component, from 0.
    Chunk(u32),
}

/// Groups of rows that can be read together, in the order of their keys. The numbers are stored: never change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// See [`RowKey::Head`].
    Head = 0,
    /// See [`RowKey::Decision`].
    Decision = 1,
    /// See [`RowKey::Effect`].
    Effect = 2,
    /// See [`RowKey::Obligation`].
    Obligation = 3,
    /// See [`RowKey::Gate`].
    Gate = 4,
    /// See [`RowKey::Timer`].
    Timer = 5,
    /// See [`RowKey::Budget`].
    Budget = 6,
    /// See [`RowKey::Lease`].
    Lease = 7,
    /// See [`RowKey::Confirmed`].
    Confirmed = 8,
    /// See [`RowKey::Request`].
    Request = 9,
    /// See [`RowKey::Revoked`].
    Revoked = 10,
    /// See [`RowKey::SessionEvent`].
    SessionEvent = 11,
    /// See [`RowKey::SessionEventId`].
    SessionEventId = 12,
    /// See [`RowKey::State`].
    State = 13,
    /// See [`RowKey::ValueVersion`].
    ValueVersion = 14,
    /// See [`RowKey::Task`].
    Task = 15,
    /// See [`RowKey::TaskWindow`].
    TaskWindow = 16,
    /// See [`RowKey::ConnectorVersion`].
    ConnectorVersion = 17,
    /// See [`RowKey::Chunk`].
    Chunk = 18,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// Head of a run.
    Run(Box<Run>),
    /// A decision.
    Decision(Box<Decision>),
    /// An effect.
    Effect(Box<Effect>),
    /// An obligation.
    Obligation(Box<Obligation>),
    /// A gate.
    Gate(Gate),
    /// A timer.
    Timer(Timer),
    /// A budget.
    Budget(Budget),
    /// A take-over of a run's lease.
    Lease(LeaseTaken),
    /// The key of an effect confirmed with a handle.
    Confirmed(EffectKey),
    /// A request that was answered, with its answer as JSON.
    Request(Answered),
    /// The newest reservation of a business key that was taken away from the run, by its number.
    Revoked(u64),
    /// Head of a business key: who owns it.
    Reservation(Reservation),
    /// Head of a session.
    Session(Session),
    /// An event of a session.
    SessionEvent(SessionEvent),
    /// The position of an event.
    SessionEventId(u64),
    /// A key of a state.
    State(StateValue),
    /// Head of a shared state.
    SharedState(SharedState),
    /// Head of a value: its newest version; and each version that is kept.
    Value(Box<Value>),
    /// Head of a reaction.
    Reaction(Box<Reaction>),
    /// A task of a reaction.
    Task(Box<Task>),
    /// Events that make one task together.
    TaskWindow(Window),
    /// Head of a deployed connector.
    Connector(Box<Connector>),
    /// A version of it.
    ConnectorVersion(Box<ConnectorVersion>),
    /// Head of a component.
    Component(Component),
    /// Some of its bytes.
    Chunk(Chunk),
}

/// One take-over, for the lease history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseTaken {
    /// The lease as it was taken.
    pub lease: Lease,
    /// When.
    pub at: Time,
    /// From which state.
    pub from: String,
}

/// What was answered to a request with an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Which operation it was: the same id for another operation is an error of the caller.
    pub operation: String,
    /// The answer.
    pub answer: String,
    /// When.
    pub at: Time,
}

/// How long what was answered to a request id is remembered, at least.
pub const REQUEST_KEPT_MS: i64 = 24 * 3_600_000;

impl Answered {
    /// When it may be forgotten.
    #[must_use]
    pub fn due(&self) -> Due {
        Due {
            kind: DueKind::Request,
            at: self.at.after(REQUEST_KEPT_MS),
        }
    }
}

/// Who owns a business key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The run.
    pub run: RunId,
    /// The effect within it.
    pub effect: EffectKey,
    /// Since when.
    pub at: Time,
    /// The number of this reservation among those of its key, from 1: what a revocation names.
    pub number: u64,
}

/// For whom a row is work: a reactor, or who asks a reaction for tasks. The numbers are stored: never change them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum DueKind {
    /// Runs without a driver.
    Recovery = 1,
    /// Effects to dispatch, and claims that ran out.
    Outbox = 2,
    /// Effects in doubt.
    Reconcile = 3,
    /// Timers.
    Timers = 4,
    /// Obligations, and runs being compensated.
    Compensation = 5,
    /// Tasks that wait to be claimed.
    Task = 6,
    /// Claims on tasks, due when they run out.
    TaskClaim = 7,
    /// Tasks that are done, due when they may be forgotten.
    TaskDone = 8,
    /// Tasks that were given up, since when they were.
    TaskDead = 9,
    /// Windows of debounced events, due when nobody asks for them any more.
    TaskWindow = 10,
    /// Runs that have ended and are not compacted, since when they ended.
    Retention = 11,
    /// Answers to requests, due when they may be forgotten.
    Request = 12,
}

impl DueKind {
    /// The highest number.
    pub const LAST: Self = Self::Request;

    /// The kinds of the reactors, in the order in which they are named to people.
    pub const ALL: [Self; 5] = [
        Self::Recovery,
        Self::Reconcile,
        Self::Outbox,
        Self::Timers,
        Self::Compensation,
    ];

    /// The name of the reactor.
    #[must_use]
    pub const fn reactor(self) -> &'static str {
        match self {
            Self::Recovery => "recovery",
            Self::Outbox => "outbox",
            Self::Reconcile => "reconciler",
            Self::Timers => "timers",
            Self::Compensation => "compensation",
            Self::Task | Self::TaskClaim | Self::TaskDone | Self::TaskDead | Self::TaskWindow => "reactions",
            Self::Retention | Self::Request => "retention",
        }
    }
}

/// A hint: from `at` on the row is work for the reactor `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// For whom.
    pub kind: DueKind,
    /// From when.
    pub at: Time,
}

impl RowKey {
    /// The group to which the row belongs.
    #[must_use]
    pub const fn kind(&self) -> RowKind {
        match self {
            Self::Head => RowKind::Head,
            Self::Decision(_) => RowKind::Decision,
            Self::Effect(_) => RowKind::Effect,
            Self::Obligation(_) => RowKind::Obligation,
            Self::Gate(..) => RowKind::Gate,
            Self::Timer(_) => RowKind::Timer,
            Self::Budget => RowKind::Budget,
            Self::Lease(_) => RowKind::Lease,
            Self::Confirmed(_) => RowKind::Confirmed,
            Self::Request(_) => RowKind::Request,
            Self::Revoked(_) => RowKind::Revoked,
            Self::SessionEvent(_) => RowKind::SessionEvent,
            Self::SessionEventId(_) => RowKind::SessionEventId,
            Self::State(_) => RowKind::State,
            Self::ValueVersion(_) => RowKind::ValueVersion,
            Self::Task(..) => RowKind::Task,
            Self::TaskWindow(_) => RowKind::TaskWindow,
            Self::ConnectorVersion(_) => RowKind::ConnectorVersion,
            Self::Chunk(_) => RowKind::Chunk,
        }
    }
}

impl Row {
    /// The connector without which nobody can do the work that the row is: empty = none in particular, so that any reactor
    /// of the kind can; none = the question does not arise for this kind of work.
    #[must_use]
    pub fn waits_for(&self) -> Option<&str> {
        match self {
            Self::Effect(effect) => effect.waits_for(),
            Self::Obligation(obligation) => obligation.waits_for(),
            Self::Run(run) if matches!(run.state, RunState::Compensating { .. }) => Some(""),
            _ => None,
        }
    }

    /// When and for whom the row is work that waits: a property of the row, so that no hint can be forgotten.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        match self {
            Self::Run(run) => run.due(),
            Self::Effect(effect) => effect.due(),
            Self::Obligation(obligation) => obligation.due(),
            Self::Timer(timer) => timer.due(),
            Self::Task(task) => Some(task.due()),
            Self::TaskWindow(window) => Some(window.due()),
            Self::Request(answered) => Some(answered.due()),
            _ => None,
        }
    }
}
