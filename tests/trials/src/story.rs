//! What a client asked for, and what it was told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::dump::Dump;

/// Something that a client asked to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A decision with this answer.
    Decision(i64, String),
    /// An effect, begun.
    Begun(String),
    /// An effect, confirmed with this result.
    Confirmed(String, String),
    /// An outbox effect, claimed.
    Claimed(String),
    /// A gate's n-th await, opened.
    Opened(String, u32),
    /// A signal with this payload for a gate.
    Signalled(String, String),
    /// A timer, set.
    Timer(String),
    /// A timer, taken back.
    TimerCancelled(String),
    /// Micro-dollars, spent. All amounts of a run are different powers of four.
    Charged(u64),
    /// The run, ended.
    Ended,
}

impl Fact {
    /// Whether it is in the store.
    #[must_use]
    pub fn holds(&self, dump: &Dump) -> bool {
        match self {
            Self::Decision(index, answer) => {
                let row = dump.find("decision", "decision_index", *index);
                row.is_some_and(|row| is(&row["response"], answer))
            }
            Self::Begun(key) => dump.find("effect", "idempotency_key", key.as_str()).is_some(),
            Self::Confirmed(key, result) => {
                let row = dump.find("effect", "idempotency_key", key.as_str());
                row.is_some_and(|row| row["status"] == "CONFIRMED" && is(&row["response"], result))
            }
            Self::Claimed(key) => {
                let row = dump.find("effect", "idempotency_key", key.as_str());
                row.is_some_and(|row| row["attempts"].as_array().is_some_and(|attempts| attempts.len() == 1))
            }
            Self::Opened(gate, index) => dump
                .gate(gate, *index)
                .is_some_and(|row| row["opened_at_ms"].is_number()),
            Self::Signalled(gate, payload) => {
                let mut gates = dump.rows("gate").iter().filter(|row| row["name"] == gate.as_str());
                gates.any(|row| is(&row["resolution"], payload) || is(&row["late_signal"], payload))
            }
            Self::Timer(id) => dump.find("timer", "timer_id", id.as_str()).is_some(),
            Self::TimerCancelled(id) => dump
                .find("timer", "timer_id", id.as_str())
                .is_some_and(|row| row["state"] == "CANCELLED"),
            Self::Charged(micros) => dump.spent() / micros % 4 == 1,
            Self::Ended => dump.run()["status"] == "TERMINAL",
        }
    }
}

/// Whether a row's field says what this JSON text says.
fn is(field: &serde_json::Value, json: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(json).is_ok_and(|asked| asked == *field)
}

/// A run as its clients know it.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// The run; empty if not even its beginning was acknowledged.
    pub run: String,
    /// What was acknowledged: it must be there.
    pub known: Vec<Fact>,
    /// What was asked for without an answer: it may be there.
    pub possible: Vec<Fact>,
    /// What went against the rules on the way.
    pub wrong: Vec<String>,
}

/// Writes to values, by all clients.
#[derive(Default)]
pub struct Values(Mutex<BTreeMap<String, BTreeMap<String, Option<i64>>>>);

impl Values {
    /// A write that is about to be asked for: key, and a value that is written once only.
    pub fn asked(&self, key: &str, json: &str) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.entry(key.to_owned()).or_default().insert(json.to_owned(), None);
    }

    /// It was acknowledged as this version.
    pub fn acknowledged(&self, key: &str, json: &str, version: i64) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values
            .entry(key.to_owned())
            .or_default()
            .insert(json.to_owned(), Some(version));
    }

    /// All writes: by key, what was written, and as which version if that was told.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, BTreeMap<String, Option<i64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
