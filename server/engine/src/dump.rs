//! Everything about one run, part by part, as JSON: for `tape doctor --dump-run`.

use serde_json::{Value, json};
use tape_core::command::Reads;
use tape_core::effect::{Effect, EffectState};
use tape_core::lease::Claim;
use tape_core::obligation::{Obligation, ObligationState};
use tape_core::row::RowKind;
use tape_core::run::{Run, RunState};
use tape_core::timer::TimerState;
use tape_core::{EntityId, Entry, Row, RunId};
use tape_port::TapeError;
use tape_store::codec;

use crate::engine::{Engine, store_error};

/// One part of a dump.
#[derive(Clone, Debug)]
pub struct DumpPart {
    /// `run`, `lease`, `decision`, `effect`, `obligation`, `gate`, `timer`, `budget` or `journal`.
    pub section: &'static str,
    /// The part, as JSON.
    pub json: String,
}

/// Entries read at once.
const CHUNK: u32 = 256;

impl Engine {
    /// The rows of a run, section by section.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such run.
    pub async fn dump_rows(&self, run: &RunId) -> Result<Vec<DumpPart>, TapeError> {
        self.run(run).await?;
        let mut parts = Vec::new();
        // One section at a time, so that no more than a section is in memory.
        for kind in [
            RowKind::Head,
            RowKind::Lease,
            RowKind::Decision,
            RowKind::Effect,
            RowKind::Obligation,
            RowKind::Gate,
            RowKind::Timer,
            RowKind::Budget,
        ] {
            let reads = if kind == RowKind::Head {
                Reads::head()
            } else {
                Reads::default().all(kind)
            };
            let snapshot = self.load(&EntityId::run(run), &reads).await?;
            for (key, row) in snapshot.rows {
                if key.kind() == kind
                    && let Some((section, json)) = part(&row)
                {
                    parts.push(DumpPart {
                        section,
                        json: json.to_string(),
                    });
                }
            }
        }
        Ok(parts)
    }

    /// A chunk of a run's journal from `from_seq` on, and where the next begins, if there is more.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn dump_journal(&self, run: &RunId, from_seq: i64) -> Result<(Vec<DumpPart>, Option<i64>), TapeError> {
        let entries = self
            .store
            .journal(&EntityId::run(run), from_seq, CHUNK)
            .await
            .map_err(store_error)?;
        let next = (entries.len() == CHUNK as usize)
            .then(|| entries.last().map(|entry| entry.seq + 1))
            .flatten();
        let mut parts = Vec::with_capacity(entries.len());
        for recorded in entries {
            let entry = codec::decode_entry(&recorded.body).map_err(store_error)?;
            parts.push(DumpPart {
                section: "journal",
                json: journal(run, &entry).to_string(),
            });
        }
        Ok((parts, next))
    }
}

fn part(row: &Row) -> Option<(&'static str, Value)> {
    Some(match row {
        Row::Run(found) => ("run", run(found)),
        Row::Lease(taken) => (
            "lease",
            json!({
                "owner": taken.lease.owner, "fence": taken.lease.fence, "fenced": taken.lease.fenced,
                "taken_at_ms": taken.at.0, "expires_at_ms": taken.lease.expires.0, "from": taken.from,
            }),
        ),
        Row::Decision(decision) => (
            "decision",
            json!({
                "decision_index": decision.index, "seq": decision.seq, "model": decision.model,
                "request": embed(&decision.request_json), "request_sha256": decision.request_hash_hex(),
                "response": embed(&decision.response_json), "rationale": decision.rationale,
                "policy_version": decision.policy_version, "ts_ms": decision.at.0,
            }),
        ),
        Row::Effect(found) => ("effect", effect(found)),
        Row::Obligation(found) => ("obligation", obligation(found)),
        Row::Gate(gate) => (
            "gate",
            json!({
                "name": gate.name, "await_index": gate.index, "payload": embed(&gate.payload_json),
                "opened_at_ms": gate.opened.map(|at| at.0),
                "resolution": gate.resolution.as_ref().map(|resolution| embed(&resolution.as_json())),
                "late_signal": gate.late.as_ref().map(|late| embed(late)),
            }),
        ),
        Row::Timer(timer) => (
            "timer",
            json!({
                "timer_id": timer.id, "kind": timer.kind, "fire_at_ms": timer.fire_at.0, "payload": embed(&timer.payload_json),
                "created_at_ms": timer.created.0, "tries": timer.tries,
                "state": match timer.state {
                    TimerState::Armed { .. } => "ARMED",
                    TimerState::Claimed(_) => "CLAIMED",
                    TimerState::Fired => "FIRED",
                    TimerState::Cancelled => "CANCELLED",
                },
            }),
        ),
        Row::Budget(budget) => (
            "budget",
            json!({
                "usd_cap_micros": budget.usd_cap_micros, "token_cap": budget.token_cap,
                "usd_spent_micros": budget.usd_spent_micros, "tokens_spent": budget.tokens_spent,
                "reserved": budget.reserved.iter().map(|(id, held)| json!({
                    "request_id": id, "usd_micros": held.usd_micros, "tokens": held.tokens, "fence": held.fence,
                })).collect::<Vec<_>>(),
            }),
        ),
        _ => return None,
    })
}

fn run(run: &Run) -> Value {
    let lease = match &run.state {
        RunState::Running(lease) => {
            json!({ "owner": lease.owner, "fence": lease.fence, "expires_at_ms": lease.expires.0 })
        }
        _ => Value::Null,
    };
    json!({
        "run_id": run.id.as_str(), "status": run.state.name(), "app": run.identity.app, "user": run.identity.user,
        "session": run.identity.session, "invocation": run.identity.invocation, "tenant": run.identity.tenant,
        "lease": lease, "fence": run.fence, "seq": run.seq, "decisions": run.decisions, "effects": run.effects,
        "next_decision_index": run.next_decision_index, "started_at_ms": run.started.0,
        "ended_at_ms": run.ended.map(|at| at.0), "waiting_on": match &run.state {
            RunState::Waiting { gate, index } => json!({ "gate": gate, "await_index": index }),
            _ => Value::Null,
        },
        "wakes": run.wake.tries, "input": embed(&run.input_json), "detail": embed(&run.detail_json),
        "last_error": run.last_error, "cancelled": run.cancelled, "scopes": run.caller.scopes, "labels": run.caller.labels,
    })
}

fn effect(effect: &Effect) -> Value {
    let intent = &effect.intent;
    let (reason, checks) = match &effect.state {
        EffectState::Unknown(doubt) => (Some(doubt.reason.clone()), Some(doubt.checks)),
        EffectState::Stuck { reason } => (Some(reason.clone()), None),
        _ => (None, None),
    };
    json!({
        "idempotency_key": intent.key.as_str(), "status": effect.state.name(), "reason": reason, "checks": checks,
        "claim": effect.claim().map(claim), "seq": effect.seq, "decision_index": intent.decision_index, "tool": intent.tool,
        "call_index": intent.call_index, "semantics": intent.semantics.name(), "dispatch_mode": intent.mode.name(),
        "connector": intent.connector, "operation": intent.operation, "business_key": intent.business_key,
        "scope": intent.scope, "unsafe_allowed": intent.unsafe_allowed, "status_check": intent.status_check,
        "compensation": intent.handle.as_ref().map(|handle| json!({
            "connector": handle.connector, "function": handle.function, "kind": handle.kind, "payload": embed(&handle.payload_json),
        })),
        "request": embed(&intent.request_json), "response": embed(&effect.response_json), "error": embed(&effect.error_json),
        "external_ref": effect.external_ref, "begun_at_ms": effect.begun.0, "changed_at_ms": effect.changed.0,
        "attempts": effect.attempts.iter().map(|attempt| json!({
            "number": attempt.number, "owner": attempt.owner, "claimed_at_ms": attempt.claimed.0,
            "sent_at_ms": attempt.sent.map(|at| at.0), "ended_at_ms": attempt.ended.map(|at| at.0),
            "connector_version": attempt.version, "connector_digest": attempt.digest, "outcome": attempt.outcome, "error": attempt.error,
            "evidence": embed(&attempt.evidence_json),
        })).collect::<Vec<_>>(),
    })
}

fn obligation(obligation: &Obligation) -> Value {
    json!({
        "obligation_seq": obligation.seq, "effect": obligation.effect.as_str(), "status": obligation.state.name(),
        "connector": obligation.handle.connector, "function": obligation.handle.function, "kind": obligation.handle.kind,
        "payload": embed(&obligation.handle.payload_json), "external_ref": obligation.external_ref, "order": obligation.order,
        "attempts": obligation.attempts, "max_attempts": obligation.attempts_max, "last_error": obligation.last_error,
        "result": embed(&obligation.result_json), "at_ms": obligation.at.0,
        "claim": match &obligation.state { ObligationState::Committed(held) => claim(held), _ => Value::Null },
        "evidence": obligation.evidence.iter().map(|text| embed(text)).collect::<Vec<_>>(),
    })
}

fn claim(claim: &Claim) -> Value {
    json!({ "owner": claim.owner, "expires_at_ms": claim.expires.0 })
}

fn journal(run: &RunId, entry: &Entry) -> Value {
    json!({
        "seq": entry.seq, "ts_ms": entry.at.0, "kind": entry.kind.as_str(), "subject": entry.subject(run),
        "decision_index": entry.decision_index, "payload": embed(&entry.payload_json),
        "trace_id": entry.trace.as_ref().map(|trace| trace.trace_id.clone()),
    })
}

/// JSON text as JSON; empty as null.
fn embed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or(Value::Null)
}
