//! The journal: one entry per change, numbered 1, 2, 3 ... within its run, without holes.

use serde::{Deserialize, Serialize};

use crate::id::RunId;
use crate::time::Time;

/// What an entry tells. The text is on the wire and in the store: never change it.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Kind { $($(#[$doc])* #[serde(rename = $text)] $name,)* }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kind as `noun.verb`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// A run was created.
    RunBegun = "run.begun",
    /// A driver took the lease.
    RunAttached = "run.attached",
    /// The lease ran out, or its holder died.
    RunRunnable = "run.runnable",
    /// The run waits at a gate.
    RunWaiting = "run.waiting",
    /// What it waited for is there.
    RunWoken = "run.woken",
    /// The run ended.
    RunEnded = "run.ended",
    /// The run was cancelled.
    RunCancelled = "run.cancelled",
    /// Its effects are being undone.
    RunCompensating = "run.compensating",
    /// An operator reopened it.
    RunRedriven = "run.redriven",
    /// Payloads of an ended run were dropped.
    RunCompacted = "run.compacted",
    /// A model's answer was recorded.
    DecisionRecorded = "decision.recorded",
    /// An effect was begun.
    EffectBegun = "effect.begun",
    /// A dispatcher took it.
    EffectClaimed = "effect.claimed",
    /// The mark: its request may have left.
    EffectSent = "effect.sent",
    /// Nothing left; it will be tried again.
    EffectRetrying = "effect.retrying",
    /// It took hold.
    EffectConfirmed = "effect.confirmed",
    /// It did not.
    EffectFailed = "effect.failed",
    /// Nobody knows.
    EffectUnknown = "effect.unknown",
    /// The upstream was asked and could not say.
    EffectObserved = "effect.observed",
    /// A person must settle it.
    EffectStuck = "effect.stuck",
    /// The server opened a new attempt.
    EffectReopened = "effect.reopened",
    /// A compensation was registered.
    ObligationRegistered = "obligation.registered",
    /// A compensator took it.
    ObligationClaimed = "obligation.claimed",
    /// It was not undone; it will be tried again.
    ObligationRetrying = "obligation.retrying",
    /// It was undone.
    ObligationCompensated = "obligation.compensated",
    /// A person must settle it.
    ObligationStuck = "obligation.stuck",
    /// A gate was opened.
    GateOpened = "gate.opened",
    /// A signal came.
    GateSignalled = "gate.signalled",
    /// The gate's timeout came first.
    GateTimedOut = "gate.timed_out",
    /// A timer was set.
    TimerSet = "timer.set",
    /// A timer fired.
    TimerFired = "timer.fired",
    /// A timer was taken back.
    TimerCancelled = "timer.cancelled",
    /// A budget was set.
    BudgetSet = "budget.set",
    /// A request was admitted.
    BudgetAdmitted = "budget.admitted",
    /// A request was refused.
    BudgetRefused = "budget.refused",
    /// Money or tokens were spent.
    BudgetCharged = "budget.charged",
    /// A version of a connector was put; it is in the connector's own journal, like all that follow.
    ConnectorPut = "connector.put",
    /// Calls were directed to a version.
    ConnectorActivated = "connector.activated",
    /// Calls were directed to where they went before.
    ConnectorRolledBack = "connector.rolled_back",
    /// What a version may do was changed, or its configuration.
    ConnectorGranted = "connector.granted",
    /// A version was taken away.
    ConnectorRemoved = "connector.removed",
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Number within the run, from 1.
    pub seq: i64,
    /// When.
    pub at: Time,
    /// What.
    pub kind: Kind,
    /// The decision to which it belongs.
    pub decision_index: Option<i64>,
    /// What it is about: an effect's key, a gate's or timer's name, an obligation's id; empty for the run itself.
    pub about: String,
    /// Details as JSON.
    pub payload_json: String,
    /// The trace under which it was written.
    pub trace: Option<Trace>,
}

/// W3C trace context of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// 16 hex digits, or empty.
    pub parent_span_id: String,
}

impl Entry {
    /// `/tape/<noun>/<verb>/<run>` and, where the entry is about a part of the run, `/<part>`.
    #[must_use]
    pub fn subject(&self, run: &RunId) -> String {
        let path = self.kind.as_str().replacen('.', "/", 1);
        // An effect's own key already begins with its run.
        match self
            .about
            .strip_prefix(run.as_str())
            .map(|rest| rest.trim_start_matches('/'))
        {
            Some(rest) => format!("/tape/{path}/{run}/{rest}"),
            None if self.about.is_empty() => format!("/tape/{path}/{run}"),
            None => format!("/tape/{path}/{run}/{}", self.about),
        }
    }
}
