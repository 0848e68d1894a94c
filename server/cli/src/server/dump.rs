//! Everything about one run: its rows by section, its journal last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A dump, as `tape doctor --dump-run` prints it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Dump {
    run: Value,
    leases: Vec<Value>,
    decisions: Vec<Value>,
    effects: Vec<Value>,
    obligations: Vec<Value>,
    gates: Vec<Value>,
    timers: Vec<Value>,
    budget: Option<Value>,
    journal: Vec<Value>,
    /// Sections that a newer server knows and we do not.
    #[serde(flatten)]
    others: BTreeMap<String, Vec<Value>>,
}

/// The part of an effect that checks look at.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DumpedEffect {
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

/// The part of a decision that checks look at.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DumpedDecision {
    /// 0, 1, 2 ...
    pub decision_index: i64,
}

impl Dump {
    /// Adds one row.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn add(&mut self, section: &str, json: &str) -> serde_json::Result<()> {
        let row: Value = serde_json::from_str(json)?;
        match section {
            "run" => self.run = row,
            "lease" => self.leases.push(row),
            "decision" => self.decisions.push(row),
            "effect" => self.effects.push(row),
            "obligation" => self.obligations.push(row),
            "gate" => self.gates.push(row),
            "timer" => self.timers.push(row),
            "budget" => self.budget = Some(row),
            "journal" => self.journal.push(row),
            other => self.others.entry(other.to_owned()).or_default().push(row),
        }
        Ok(())
    }

    /// The run's status.
    #[must_use]
    pub fn status(&self) -> &str {
        self.run["status"].as_str().unwrap_or_default()
    }

    /// Its effects.
    ///
    /// # Errors
    /// When the server dumps something else.
    pub fn effects(&self) -> serde_json::Result<Vec<DumpedEffect>> {
        self.effects.iter().map(DumpedEffect::deserialize).collect()
    }

    /// Its decisions.
    ///
    /// # Errors
    /// When the server dumps something else.
    pub fn decisions(&self) -> serde_json::Result<Vec<DumpedDecision>> {
        self.decisions.iter().map(DumpedDecision::deserialize).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_gathered_by_section() {
        let mut dump = Dump::default();
        for (section, json) in [
            ("run", r#"{"status":"TERMINAL"}"#),
            (
                "effect",
                r#"{"idempotency_key":"k","status":"CONFIRMED","tool":"t","attempts":[{"sent_at_ms":5,"number":1}]}"#,
            ),
            ("decision", r#"{"decision_index":0}"#),
            ("novelty", "1"),
            ("journal", r#"{"seq":1}"#),
        ] {
            dump.add(section, json).unwrap();
        }
        assert_eq!(dump.status(), "TERMINAL");
        assert_eq!(dump.effects().unwrap()[0].attempts, [Attempt { sent_at_ms: Some(5) }]);
        assert_eq!(dump.decisions().unwrap().len(), 1);
        let printed = serde_json::to_value(&dump).unwrap();
        assert_eq!(
            (&printed["novelty"][0], &printed["journal"][0]["seq"]),
            (&1.into(), &1.into())
        );
        assert!(dump.add("run", "no json").is_err());
    }
}
