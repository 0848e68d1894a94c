//! What the commands show of a server, in our words: the only place where the contract's numbers become names.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tape_proto::v1 as pb;

/// A run as `tape status` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// `r-...`.
    pub run_id: String,
    /// `RUNNABLE`, `RUNNING`, `WAITING`, `TERMINAL`, `FAILED`, `COMPENSATING`, `STUCK`, `CANCELLED`.
    pub status: &'static str,
    /// App, user, session.
    pub app: String,
    /// Of the app.
    pub user: String,
    /// Of the user.
    pub session: String,
    /// Recorded decisions.
    pub decisions: i64,
    /// Recorded effects.
    pub effects: i64,
    /// The newest entry of its journal.
    pub seq: i64,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// Unix milliseconds; 0 while it has not ended.
    pub ended_at_ms: i64,
    /// Who drives it; empty if nobody does.
    pub lease_owner: String,
    /// The gate at which it waits; empty if at none.
    pub waiting_on: String,
    /// Why it is STUCK or FAILED, or why nobody takes it.
    pub last_error: String,
    /// What it came to.
    pub detail: Value,
}

/// One entry of a run's journal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// 1, 2, 3 ...
    pub seq: i64,
    /// Unix milliseconds.
    pub ts_ms: i64,
    /// `effect.begun`.
    pub kind: String,
    /// `/tape/effect/begun/r-.../d-0/wire_money/0`.
    pub subject: String,
    /// The decision to which it belongs.
    pub decision_index: Option<i64>,
    /// Details.
    pub payload: Value,
}

impl Entry {
    /// The idempotency key of the effect that it is about, if it is about one.
    #[must_use]
    pub fn effect_key(&self) -> Option<&str> {
        let path = self.kind.strip_prefix("effect.")?;
        self.subject
            .strip_prefix("/tape/effect/")?
            .strip_prefix(path)?
            .strip_prefix('/')
    }
}

/// How a server is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stats {
    /// Of the server.
    pub server_version: String,
    /// Without its password.
    pub store_url: String,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// By the status's name in lower case.
    pub runs_by_status: BTreeMap<String, i64>,
    /// All five kinds.
    pub reactors: Vec<Reactor>,
    /// Attached now.
    pub workers: Vec<Worker>,
    /// Loaded now.
    pub connectors: Vec<Connector>,
    /// Effects whose connector nobody serves.
    pub unserved: Vec<Unserved>,
}

/// One kind of reactor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reactor {
    /// `recovery` ...
    pub kind: String,
    /// This server runs it.
    pub enabled: bool,
    /// Rows that wait for it now.
    pub due: i64,
    /// Since when the oldest waits; 0 if none does.
    pub oldest_due_at_ms: i64,
    /// Since the server started.
    pub passes: i64,
    /// Since the server started.
    pub errors: i64,
    /// The newest one.
    pub last_error: String,
}

/// One attached worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worker {
    /// It drives runs under this name.
    pub worker_id: String,
    /// Whose runs it drives.
    pub app: String,
    /// How many it drives now.
    pub running: i32,
}

/// One loaded connector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Connector {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `closed`, `open` or `half-open`.
    pub circuit: String,
    /// Since the server started.
    pub calls: i64,
    /// Since the server started.
    pub failures: i64,
    /// The newest one.
    pub last_error: String,
}

/// An effect that waits for a connector that nobody serves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unserved {
    /// Its key.
    pub idempotency_key: String,
    /// Who would have to serve it.
    pub connector: String,
}

/// An effect that has no final outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpenEffect {
    /// Its run.
    pub run_id: String,
    /// Its key.
    pub idempotency_key: String,
    /// `PENDING`, `CONFIRMED`, `FAILED`, `UNKNOWN` or `STUCK`.
    pub status: &'static str,
    /// Whose call it was.
    pub tool: String,
    /// Through which it goes; empty for an inline one.
    pub connector: String,
    /// The newest failure.
    pub last_error: String,
    /// The upstream's name for it.
    pub external_ref: String,
}

/// An obligation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Obligation {
    /// `<run>/<number>`, as `tape resolve --obligation` takes it.
    pub id: String,
    /// The effect that is to be undone.
    pub effect_key: String,
    /// `PENDING`, `COMMITTED`, `COMPENSATED` or `STUCK`.
    pub status: &'static str,
    /// The newest failure.
    pub last_error: String,
}

/// The names of a run's statuses, by their number.
const RUN_STATUSES: [&str; 9] = [
    "UNSPECIFIED",
    "RUNNABLE",
    "RUNNING",
    "WAITING",
    "TERMINAL",
    "FAILED",
    "COMPENSATING",
    "STUCK",
    "CANCELLED",
];

/// The status of a name in either case.
#[must_use]
pub fn run_status(name: &str) -> Option<i32> {
    let at = RUN_STATUSES
        .iter()
        .skip(1)
        .position(|known| known.eq_ignore_ascii_case(name))?;
    i32::try_from(at + 1).ok()
}

/// All statuses that a run can have.
#[must_use]
pub fn run_statuses() -> &'static [&'static str] {
    &RUN_STATUSES[1..]
}

fn named(names: &[&'static str], number: i32) -> &'static str {
    usize::try_from(number)
        .ok()
        .and_then(|at| names.get(at))
        .copied()
        .unwrap_or("UNSPECIFIED")
}

/// JSON text as JSON; empty as null, and what is no JSON as the text that it is.
fn value(json: &str) -> Value {
    if json.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.to_owned()))
}

impl From<pb::RunState> for Run {
    fn from(run: pb::RunState) -> Self {
        Self {
            status: named(&RUN_STATUSES, run.status),
            run_id: run.run_id,
            app: run.app_name,
            user: run.user_id,
            session: run.session_id,
            decisions: run.decisions,
            effects: run.effects,
            seq: run.seq_cursor,
            started_at_ms: run.started_at_ms,
            ended_at_ms: run.ended_at_ms,
            lease_owner: run.lease_owner,
            waiting_on: run.waiting_on_gate,
            last_error: run.last_error,
            detail: value(&run.detail_json),
        }
    }
}

impl From<pb::JournalEntry> for Entry {
    fn from(entry: pb::JournalEntry) -> Self {
        Self {
            seq: entry.seq,
            ts_ms: entry.ts_ms,
            kind: entry.kind,
            subject: entry.subject,
            decision_index: (entry.decision_index >= 0).then_some(entry.decision_index),
            payload: value(&entry.payload_json),
        }
    }
}

impl From<pb::StatsResponse> for Stats {
    fn from(stats: pb::StatsResponse) -> Self {
        let reactor = |one: pb::ReactorStats| Reactor {
            kind: one.kind,
            enabled: one.enabled,
            due: one.due,
            oldest_due_at_ms: one.oldest_due_at_ms,
            passes: one.passes,
            errors: one.errors,
            last_error: one.last_error,
        };
        let worker = |one: pb::WorkerStats| Worker {
            worker_id: one.worker_id,
            app: one.app_name,
            running: one.running,
        };
        let connector = |one: pb::ConnectorStats| Connector {
            name: one.name,
            version: one.version,
            circuit: one.circuit,
            calls: one.calls,
            failures: one.failures,
            last_error: one.last_error,
        };
        let unserved = |one: pb::UnservedEffect| Unserved {
            idempotency_key: one.idempotency_key,
            connector: one.connector,
        };
        Self {
            server_version: stats.server_version,
            store_url: stats.store_url,
            started_at_ms: stats.started_at_ms,
            runs_by_status: stats.runs_by_status.into_iter().collect(),
            reactors: stats.reactors.into_iter().map(reactor).collect(),
            workers: stats.workers.into_iter().map(worker).collect(),
            connectors: stats.connectors.into_iter().map(connector).collect(),
            unserved: stats.unserved_effects.into_iter().map(unserved).collect(),
        }
    }
}

impl From<pb::EffectRecord> for OpenEffect {
    fn from(effect: pb::EffectRecord) -> Self {
        const NAMES: [&str; 5] = ["UNSPECIFIED", "PENDING", "CONFIRMED", "FAILED", "UNKNOWN"];
        Self {
            status: if effect.stuck {
                "STUCK"
            } else {
                named(&NAMES, effect.status)
            },
            run_id: effect.run_id,
            idempotency_key: effect.idempotency_key,
            tool: effect.tool_name,
            connector: effect.connector,
            last_error: effect.last_dispatch_error,
            external_ref: effect.external_ref,
        }
    }
}

impl From<pb::ObligationRecord> for Obligation {
    fn from(obligation: pb::ObligationRecord) -> Self {
        const NAMES: [&str; 5] = ["UNSPECIFIED", "PENDING", "COMMITTED", "COMPENSATED", "STUCK"];
        Self {
            id: format!("{}/{}", obligation.run_id, obligation.seq),
            effect_key: obligation.effect_key,
            status: named(&NAMES, obligation.status),
            last_error: obligation.last_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_numbers_of_the_contract() {
        for status in [
            pb::RunStatus::Runnable,
            pb::RunStatus::Terminal,
            pb::RunStatus::Stuck,
            pb::RunStatus::Cancelled,
        ] {
            let name = named(&RUN_STATUSES, status as i32);
            assert_eq!(status.as_str_name(), format!("RUN_STATUS_{name}"));
            assert_eq!(run_status(&name.to_lowercase()), Some(status as i32));
        }
        assert_eq!(
            (run_status("unspecified"), named(&RUN_STATUSES, 99)),
            (None, "UNSPECIFIED")
        );
    }

    #[test]
    fn an_entry_about_an_effect_names_its_key() {
        let entry = |kind: &str, subject: &str| Entry {
            seq: 1,
            ts_ms: 0,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            decision_index: None,
            payload: Value::Null,
        };
        let begun = entry("effect.begun", "/tape/effect/begun/r-1/d-2/wire_money/0");
        assert_eq!(begun.effect_key(), Some("r-1/d-2/wire_money/0"));
        assert_eq!(entry("run.begun", "/tape/run/begun/r-1").effect_key(), None);
    }
}
