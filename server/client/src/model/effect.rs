//! Effects.

use serde::Serialize;
use tape_proto::v1 as pb;

/// An effect as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Effect {
    /// Its run.
    pub run_id: String,
    /// Its idempotency key.
    pub key: String,
    /// Where it stands.
    pub status: EffectStatus,
    /// Seq of the entry that began it.
    pub seq: i64,
    /// The decision from which it follows.
    pub decision_index: i64,
    /// The agent's tool.
    pub tool: String,
    /// What was asked for.
    pub request_json: String,
    /// What the upstream answered.
    pub response_json: String,
    /// The error.
    pub error_json: String,
    /// When it was begun.
    pub begun_at_ms: i64,
    /// "IDEMPOTENT", "NON_IDEMPOTENT" or "OBSERVE_ONLY".
    pub semantics: &'static str,
    /// It goes through the outbox.
    pub outbox: bool,
    /// What the upstream's books know it by.
    pub business_key: String,
    /// The connector that carries it out.
    pub connector: String,
    /// The version that dispatched it last.
    pub connector_version: String,
    /// The upstream's name for it.
    pub external_ref: String,
    /// Who dispatches it now; empty = nobody.
    pub claimed_by: String,
    /// When the outbox tries next.
    pub next_dispatch_at_ms: i64,
    /// What went wrong last, or why it is in doubt.
    pub last_error: String,
    /// How it could be undone.
    pub compensation: Option<Compensation>,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
}

/// Where an effect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EffectStatus {
    /// Not carried out yet, or being carried out.
    Pending,
    /// Took hold.
    Confirmed,
    /// Did not.
    Failed,
    /// Nobody knows; the upstream is being asked.
    Unknown,
    /// Nobody knows; a person has to say.
    Stuck,
}

/// How an effect could be undone.
#[derive(Clone, Debug, Serialize)]
pub struct Compensation {
    /// By this connector; empty if a function does it.
    pub connector: String,
    /// By this function of the app.
    pub function: String,
    /// The author's own word for it.
    pub kind: String,
    /// Handed to whoever undoes it.
    pub payload_json: String,
}

/// One attempt to carry an effect out.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// From 1.
    pub number: i32,
    /// Who made it.
    pub owner: String,
    /// When it was claimed.
    pub claimed_at_ms: i64,
    /// From when on its request may have left; 0 = nothing left.
    pub sent_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: i64,
    /// "confirmed", "failed", "retry", "unknown", "expired"; empty while it is open.
    pub outcome: String,
    /// What went wrong.
    pub error: String,
    /// What was seen to leave and come back.
    pub evidence_json: String,
    /// The connector's version that made it.
    pub connector_version: String,
    /// Digest of that version's component.
    pub connector_digest: String,
}

impl From<pb::EffectRecord> for Effect {
    fn from(effect: pb::EffectRecord) -> Self {
        let status = match effect.status() {
            pb::EffectStatus::Confirmed => EffectStatus::Confirmed,
            pb::EffectStatus::Failed => EffectStatus::Failed,
            pb::EffectStatus::Unknown if effect.stuck => EffectStatus::Stuck,
            pb::EffectStatus::Unknown => EffectStatus::Unknown,
            pb::EffectStatus::Pending | pb::EffectStatus::Unspecified => EffectStatus::Pending,
        };
        let semantics = match effect.semantics() {
            pb::EffectSemantics::NonIdempotent => "NON_IDEMPOTENT",
            pb::EffectSemantics::ObserveOnly => "OBSERVE_ONLY",
            pb::EffectSemantics::Idempotent | pb::EffectSemantics::Unspecified => "IDEMPOTENT",
        };
        Self {
            status,
            semantics,
            outbox: effect.dispatch_mode() == pb::EffectDispatchMode::Outbox,
            run_id: effect.run_id,
            key: effect.idempotency_key,
            seq: effect.seq,
            decision_index: effect.decision_index,
            tool: effect.tool_name,
            request_json: effect.request_json,
            response_json: effect.response_json,
            error_json: effect.error_json,
            begun_at_ms: effect.ts_ms,
            business_key: effect.business_key,
            connector: effect.connector,
            connector_version: effect.connector_version,
            external_ref: effect.external_ref,
            claimed_by: effect.dispatch_claimed_by,
            next_dispatch_at_ms: effect.next_dispatch_at_ms,
            last_error: effect.last_dispatch_error,
            compensation: effect.compensation.map(|handle| Compensation {
                connector: handle.connector,
                function: handle.function,
                kind: handle.kind,
                payload_json: handle.payload_json,
            }),
            attempts: effect.attempts.into_iter().map(Attempt::from).collect(),
        }
    }
}

impl From<pb::EffectAttempt> for Attempt {
    fn from(attempt: pb::EffectAttempt) -> Self {
        Self {
            number: attempt.number,
            owner: attempt.owner,
            claimed_at_ms: attempt.claimed_at_ms,
            sent_at_ms: attempt.sent_at_ms,
            ended_at_ms: attempt.ended_at_ms,
            outcome: attempt.outcome,
            error: attempt.error,
            evidence_json: attempt.evidence_json,
            connector_version: attempt.connector_version,
            connector_digest: attempt.connector_digest,
        }
    }
}
