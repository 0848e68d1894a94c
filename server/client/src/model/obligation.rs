//! Obligations.

use serde::Serialize;
use tape_proto::v1 as pb;

/// An obligation as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Obligation {
    /// Its run.
    pub run_id: String,
    /// Its id within the run.
    pub seq: i64,
    /// The effect that is undone.
    pub effect: String,
    /// The author's own word for how.
    pub kind: String,
    /// Handed to whoever undoes it.
    pub payload_json: String,
    /// Function of the app that undoes it; empty = a connector does.
    pub function: String,
    /// Where it stands.
    pub status: ObligationStatus,
    /// When it came into being.
    pub at_ms: i64,
    /// Attempts so far.
    pub attempts: i32,
    /// Attempts after which it is stuck.
    pub attempts_max: i32,
    /// Not before this.
    pub next_attempt_at_ms: i64,
    /// What went wrong last.
    pub last_error: String,
    /// Who works on it; empty = nobody.
    pub claimed_by: String,
    /// What the upstream answered.
    pub result_json: String,
}

/// Where an obligation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ObligationStatus {
    /// Waits for its turn.
    Pending,
    /// Is being worked on.
    Committed,
    /// Undone.
    Compensated,
    /// A person has to settle it.
    Stuck,
}

impl From<pb::ObligationRecord> for Obligation {
    fn from(obligation: pb::ObligationRecord) -> Self {
        let status = match obligation.status() {
            pb::ObligationStatus::Committed => ObligationStatus::Committed,
            pb::ObligationStatus::Compensated => ObligationStatus::Compensated,
            pb::ObligationStatus::Stuck => ObligationStatus::Stuck,
            pb::ObligationStatus::Pending | pb::ObligationStatus::Unspecified => ObligationStatus::Pending,
        };
        Self {
            status,
            run_id: obligation.run_id,
            seq: obligation.seq,
            effect: obligation.effect_key,
            kind: obligation.kind,
            payload_json: obligation.payload_json,
            function: obligation.compensator_ref,
            at_ms: obligation.ts_ms,
            attempts: obligation.attempts,
            attempts_max: obligation.max_attempts,
            next_attempt_at_ms: obligation.next_attempt_at_ms,
            last_error: obligation.last_error,
            claimed_by: obligation.claimed_by,
            result_json: obligation.result_json,
        }
    }
}
