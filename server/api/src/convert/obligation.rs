//! Obligations.

use tape_core::RunId;
use tape_core::obligation::{Obligation, ObligationState};
use tape_proto::v1 as pb;

use super::small;

pub(crate) fn status(state: &ObligationState) -> pb::ObligationStatus {
    match state {
        ObligationState::Pending { .. } => pb::ObligationStatus::Pending,
        ObligationState::Committed(_) => pb::ObligationStatus::Committed,
        ObligationState::Compensated => pb::ObligationStatus::Compensated,
        ObligationState::Stuck => pb::ObligationStatus::Stuck,
    }
}

pub(crate) fn record(run: &RunId, obligation: Obligation) -> pb::ObligationRecord {
    let next_attempt_at_ms = match &obligation.state {
        ObligationState::Pending { next } => next.0,
        _ => 0,
    };
    let (claimed_by, claim_expires_at_ms) = match &obligation.state {
        ObligationState::Committed(claim) => (claim.owner.clone(), claim.expires.0),
        _ => Default::default(),
    };
    pb::ObligationRecord {
        run_id: run.0.clone(),
        seq: obligation.seq,
        effect_key: obligation.effect.0,
        kind: obligation.handle.kind,
        payload_json: obligation.handle.payload_json,
        status: status(&obligation.state).into(),
        ts_ms: obligation.at.0,
        compensator_ref: obligation.handle.function,
        attempts: small(obligation.attempts),
        max_attempts: small(obligation.attempts_max),
        next_attempt_at_ms,
        last_error: obligation.last_error,
        claimed_by,
        claim_expires_at_ms,
        result_json: obligation.result_json,
    }
}
