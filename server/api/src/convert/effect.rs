//! Effects: what is asked for, and how they stand.

use tape_core::effect::{Attempt, Effect, EffectState, Handle, Mode, Semantics};
use tape_core::row::DueKind;
use tape_core::{Refusal, RunId};
use tape_proto::v1 as pb;

use super::{moment, small, unknown_number};

pub(crate) fn semantics(number: i32) -> Result<Semantics, Refusal> {
    match pb::EffectSemantics::try_from(number) {
        Ok(pb::EffectSemantics::Unspecified | pb::EffectSemantics::Idempotent) => Ok(Semantics::Idempotent),
        Ok(pb::EffectSemantics::NonIdempotent) => Ok(Semantics::NonIdempotent),
        Ok(pb::EffectSemantics::ObserveOnly) => Ok(Semantics::ObserveOnly),
        Err(_) => Err(unknown_number(
            "semantics",
            number,
            "IDEMPOTENT (1), NON_IDEMPOTENT (2), OBSERVE_ONLY (3)",
        )),
    }
}

pub(crate) fn mode(number: i32) -> Result<Mode, Refusal> {
    match pb::EffectDispatchMode::try_from(number) {
        Ok(pb::EffectDispatchMode::Unspecified | pb::EffectDispatchMode::Inline) => Ok(Mode::Inline),
        Ok(pb::EffectDispatchMode::Outbox) => Ok(Mode::Outbox),
        Err(_) => Err(unknown_number("dispatch_mode", number, "INLINE (1), OUTBOX (2)")),
    }
}

/// A handle that says something; none if it is missing or empty.
pub(crate) fn handle(asked: Option<pb::CompensationHandle>) -> Option<Handle> {
    let handle = asked.map(|asked| Handle {
        connector: asked.connector,
        function: asked.function,
        kind: asked.kind,
        payload_json: asked.payload_json,
    });
    handle.filter(|handle| *handle != Handle::default())
}

/// Claimed and sent are PENDING with a claim, and stuck is UNKNOWN.
pub(crate) fn status(state: &EffectState) -> pb::EffectStatus {
    match state {
        EffectState::Pending { .. } | EffectState::Claimed(_) | EffectState::Sent(_) => pb::EffectStatus::Pending,
        EffectState::Confirmed => pb::EffectStatus::Confirmed,
        EffectState::Failed => pb::EffectStatus::Failed,
        EffectState::Unknown(_) | EffectState::Stuck { .. } => pb::EffectStatus::Unknown,
    }
}

pub(crate) fn stuck(state: &EffectState) -> bool {
    matches!(state, EffectState::Stuck { .. })
}

pub(crate) fn record(run: &RunId, effect: Effect) -> pb::EffectRecord {
    let next_dispatch = effect.due().filter(|due| due.kind == DueKind::Outbox);
    let (claimed_by, claimed_until) = match effect.claim() {
        Some(claim) => (claim.owner.clone(), claim.expires.0),
        None => Default::default(),
    };
    let last_error = match &effect.state {
        EffectState::Unknown(doubt) => doubt.reason.clone(),
        EffectState::Stuck { reason } => reason.clone(),
        _ => effect.attempt().map(|last| last.error.clone()).unwrap_or_default(),
    };
    let connector_version = effect.dispatched_by().map(|attempt| attempt.version.clone());
    let tries = effect.tries();
    let intent = effect.intent;
    pb::EffectRecord {
        run_id: run.0.clone(),
        seq: effect.seq,
        decision_index: intent.decision_index,
        tool_name: intent.tool,
        idempotency_key: intent.key.0,
        status: status(&effect.state).into(),
        request_json: intent.request_json,
        response_json: effect.response_json,
        error_json: effect.error_json,
        ts_ms: effect.begun.0,
        semantics: match intent.semantics {
            Semantics::Idempotent => pb::EffectSemantics::Idempotent,
            Semantics::NonIdempotent => pb::EffectSemantics::NonIdempotent,
            Semantics::ObserveOnly => pb::EffectSemantics::ObserveOnly,
        }
        .into(),
        dispatch_mode: match intent.mode {
            Mode::Inline => pb::EffectDispatchMode::Inline,
            Mode::Outbox => pb::EffectDispatchMode::Outbox,
        }
        .into(),
        business_key: intent.business_key,
        connector: intent.connector,
        dispatch_attempts: i32::try_from(tries).unwrap_or(i32::MAX),
        next_dispatch_at_ms: moment(next_dispatch.map(|due| due.at)),
        external_ref: effect.external_ref,
        dispatch_claimed_by: claimed_by,
        dispatch_claim_expires_at_ms: claimed_until,
        last_dispatch_error: last_error,
        scope: intent.scope,
        stuck: stuck(&effect.state),
        attempts: effect.attempts.into_iter().map(attempt).collect(),
        connector_version: connector_version.unwrap_or_default(),
        compensation: intent.handle.map(|handle| pb::CompensationHandle {
            connector: handle.connector,
            function: handle.function,
            kind: handle.kind,
            payload_json: handle.payload_json,
        }),
        operation: intent.operation,
        deadline_ms: intent.deadline.0,
        status_check: intent.status_check,
    }
}

fn attempt(attempt: Attempt) -> pb::EffectAttempt {
    pb::EffectAttempt {
        number: small(attempt.number),
        owner: attempt.owner,
        claimed_at_ms: attempt.claimed.0,
        sent_at_ms: moment(attempt.sent),
        ended_at_ms: moment(attempt.ended),
        connector_version: attempt.version,
        outcome: attempt.outcome,
        evidence_json: attempt.evidence_json,
        error: attempt.error,
        connector_digest: attempt.digest,
    }
}
