//! What a connector may answer. An answer is a claim: for what happened, ask [`crate::verdict`].

use serde::{Deserialize, Serialize};

/// The upstream's word that an effect took hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The upstream's own id of what happened. May be empty where the upstream gives none.
    pub external_ref: String,
    /// What the agent's tool returns: JSON text.
    pub response_json: String,
}

/// A definite no: the effect did not take hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// The upstream's or the connector's own code, stable enough to match on.
    pub code: String,
    /// For people; never holds a secret's value.
    pub message: String,
    /// Whether the very same call may succeed later.
    pub retryable: bool,
    /// How long the upstream asks to be left alone.
    pub retry_after_ms: Option<u64>,
}

/// Why a call definitely failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The upstream understood and refused (insufficient funds, conflict).
    Rejected,
    /// Credentials are missing, wrong, or not sufficient.
    Unauthorized,
    /// Too many calls; see `retry_after_ms`.
    RateLimited,
    /// The upstream is not there or not able to answer, and did nothing.
    Unavailable,
    /// The call itself is malformed: payload, configuration, or a connector that breaks its contract.
    Invalid,
}

/// "I do not know whether it happened."
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// What went wrong, for people.
    pub reason: String,
    /// What had left by then, for people (`POST /wires`). Empty if nothing is known.
    pub sent: String,
    /// How the doubt may be settled, for people. Empty if nothing is known.
    pub hint: String,
}

/// A guest's answer to `dispatch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DispatchAnswer {
    Confirmed(Receipt),
    Failed(Failure),
    Unknown(Doubt),
}

/// A guest's answer to `status-check`: did this very request commit?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusAnswer {
    Committed(Receipt),
    NotCommitted,
    InProgress { retry_after_ms: u64 },
    Inconclusive(Doubt),
}

/// A guest's answer to `observe`: what do the upstream's books say about this business key?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObserveAnswer {
    Present(Receipt),
    Absent,
    /// All of them, the one to keep first.
    Duplicate(Vec<Receipt>),
    Inconclusive(Doubt),
}

/// A guest's answer to `compensate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompensateAnswer {
    Resolved(Receipt),
    Failed(Failure),
    Unknown(Doubt),
}

impl StatusAnswer {
    /// Its name in traces and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Committed(_) => "committed",
            Self::NotCommitted => "not-committed",
            Self::InProgress { .. } => "in-progress",
            Self::Inconclusive(_) => "inconclusive",
        }
    }
}

impl ObserveAnswer {
    /// Its name in traces and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Present(_) => "present",
            Self::Absent => "absent",
            Self::Duplicate(_) => "duplicate",
            Self::Inconclusive(_) => "inconclusive",
        }
    }
}

impl Doubt {
    /// A doubt of which only the reason is known.
    #[must_use]
    pub fn because(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            ..Self::default()
        }
    }
}
