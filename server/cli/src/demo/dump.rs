//! The parts of a run's dump that checks look at.

use serde::Deserialize;
use serde_json::Value;

/// A run's rows.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Dump {
    /// Its head.
    pub run: Run,
    /// Its decisions.
    pub decisions: Vec<Decision>,
    /// Its effects.
    pub effects: Vec<Effect>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Run {
    /// `TERMINAL` ...
    pub status: String,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Decision {
    /// 0, 1, 2 ...
    pub decision_index: i64,
}

/// An effect.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Effect {
    /// Its key.
    pub idempotency_key: String,
    /// `CONFIRMED` ...
    pub status: String,
    /// Whose call it was.
    pub tool: String,
    /// What the upstream's books know it by.
    #[serde(default)]
    pub business_key: String,
    /// The upstream's name for it.
    #[serde(default)]
    pub external_ref: String,
    /// Attempts at carrying it out; none for an inline effect.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// One attempt at carrying an effect out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Attempt {
    /// When the mark "may have left" was made durable; none = nothing left.
    pub sent_at_ms: Option<i64>,
}

impl Dump {
    /// Reads what the server dumped.
    ///
    /// # Errors
    /// When that is something else.
    pub fn read(dumped: Value) -> serde_json::Result<Self> {
        serde_json::from_value(dumped)
    }
}
