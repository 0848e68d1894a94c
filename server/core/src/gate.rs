//! A gate: a named place where a run waits for a signal from outside.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// The special resolution of a gate whose timeout fired first.
pub const TIMEOUT_SIGNAL: &str = "gate.timeout";

/// One await of a gate: the n-th of that name within the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Name.
    pub name: String,
    /// The n-th await of that name, from 0.
    pub index: u32,
    /// What the waiting side says about itself, as JSON.
    pub payload_json: String,
    /// When it was opened; none while only a signal has come.
    pub opened: Option<Time>,
    /// What it was resolved with; a resolution is never replaced.
    pub resolution: Option<Resolution>,
    /// A signal that came after the resolution: kept, and lost.
    pub late: Option<String>,
}

/// What a gate was resolved with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    /// The payload of a signal, as JSON.
    Signal(String),
    /// The timeout came first.
    Timeout,
}

impl Resolution {
    /// The resolution as JSON: a signal's own payload, or `{"signal":"gate.timeout"}`.
    #[must_use]
    pub fn as_json(&self) -> String {
        match self {
            Self::Signal(payload) => payload.clone(),
            Self::Timeout => format!("{{\"signal\":\"{TIMEOUT_SIGNAL}\"}}"),
        }
    }
}

/// How the names of the timers begin that time gates out: nobody else may use such a name.
pub const TIMEOUT_TIMER_PREFIX: &str = "gate-timeout:";

/// The id of the timer that guards an await.
#[must_use]
pub fn timeout_timer_id(name: &str, index: u32) -> String {
    format!("{TIMEOUT_TIMER_PREFIX}{name}:{index}")
}
