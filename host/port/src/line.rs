//! What a connector logged, and how its calls ended: for people who look at one connector.

use serde::{Deserialize, Serialize};

/// One line. It holds no secret's value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The version that was called.
    pub version: String,
    /// "trace", "debug", "info", "warn", "error" for what the connector said; "call" for how a call ended.
    pub level: String,
    pub message: String,
    pub run_id: String,
    /// The effect's idempotency key.
    pub key: String,
    /// "dispatch", "observe", "status-check", "compensate".
    pub question: String,
    /// Lines that were lost before this one.
    pub lost: u64,
    /// The process of reactors in which it was said; empty = the one that is asked.
    pub reactor: String,
}

/// A line, and whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overheard {
    /// The connector's tenant.
    pub tenant: String,
    /// Its name.
    pub name: String,
    /// What it said.
    pub line: Line,
}
