//! Obligations, for compensators outside.

use tape_core::command::obligation::{ClaimObligation, RegisterCompensation, SettleObligation, Undone};
use tape_core::command::outside::RecordUndoing;
use tape_core::effect::Handle;
use tape_core::json::{check_name, not_found};
use tape_core::obligation::{Obligation, ObligationState};
use tape_core::{Time, lease::Claim};
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::{Cx, run::ahead};
use crate::convert::obligation::{record, status};
use crate::convert::{claim_ms, effect_key, limit, not_negative, run_id, unknown_number};
use crate::origin::Origin;

pub(super) async fn register_compensation(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::RegisterCompensationRequest,
) -> Result<pb::ObligationRecord, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let key = effect_key("effect_key", &asked.effect_key)?;
    let connector = if asked.compensator_ref.is_empty() {
        let effect = cx.engine.effect(&run, &key).await?;
        let effect = effect.ok_or_else(|| not_found("TAPE-E001", "effect", key.as_str()))?;
        effect.intent.connector
    } else {
        String::new()
    };
    let attempts_max = not_negative("max_attempts", asked.max_attempts.into(), "the default")?;
    let command = RegisterCompensation {
        run: run.clone(),
        effect: key,
        handle: Handle {
            connector,
            function: asked.compensator_ref,
            kind: asked.kind,
            payload_json: asked.payload_json,
        },
        attempts_max: u32::try_from(attempts_max).unwrap_or(u32::MAX),
    };
    Ok(record(&run, cx.engine.execute(&command, origin.trace).await?))
}

pub(super) async fn list_obligations(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListObligationsRequest,
) -> Result<pb::ListObligationsResponse, TapeError> {
    let Ok(wanted) = pb::ObligationStatus::try_from(asked.status_filter) else {
        let known = "PENDING (1), COMMITTED (2), COMPENSATED (3), STUCK (4)";
        return Err(unknown_number("status_filter", asked.status_filter, known).into());
    };
    let run = run_id(&asked.run_id)?;
    let found = cx.engine.obligations(&run).await?.into_iter().filter(|obligation| {
        let resolved = obligation.state == ObligationState::Compensated;
        let any = wanted == pb::ObligationStatus::Unspecified;
        (any || status(&obligation.state) == wanted) && !(asked.only_unresolved && resolved)
    });
    Ok(pb::ListObligationsResponse {
        obligations: found.map(|obligation| record(&run, obligation)).collect(),
    })
}

pub(super) async fn list_unresolved_obligations(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListUnresolvedObligationsRequest,
) -> Result<pb::ListUnresolvedObligationsResponse, TapeError> {
    let none = !asked.include_pending && !asked.include_stuck && !asked.include_committed_expired;
    let (pending, expired) = (none || asked.include_pending, none || asked.include_committed_expired);
    let now = cx.engine.now().after(ahead(cx, asked.now_ms)?);
    let wanted = |obligation: &Obligation| match &obligation.state {
        ObligationState::Pending { next } => pending && *next <= now,
        ObligationState::Committed(claim) => expired && !Claim::lives(claim, now),
        ObligationState::Stuck => asked.include_stuck,
        ObligationState::Compensated => false,
    };
    let most = limit("limit", asked.limit.into(), 500, 1000)? as usize;
    let open = cx.engine.open_obligations(cx.caller.bound()).await?.into_iter();
    let found = open.filter(|(_, obligation)| wanted(obligation)).take(most);
    Ok(pb::ListUnresolvedObligationsResponse {
        obligations: found.map(|(run, obligation)| record(&run, obligation)).collect(),
    })
}

pub(super) async fn claim_obligation(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::ClaimObligationRequest,
) -> Result<pb::ClaimObligationResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    check_name("claimer", &asked.claimer)?;
    let run = run_id(&asked.run_id)?;
    let command = ClaimObligation {
        run: run.clone(),
        seq: asked.obligation_seq,
        owner: asked.claimer,
        ttl_ms: claim_ms("lease_ttl_ms", asked.lease_ttl_ms)?,
        at_once: false,
        from_outside: true,
    };
    let claimed = cx.engine.execute(&command, origin.trace).await?;
    Ok(pb::ClaimObligationResponse {
        acquired: claimed.acquired,
        obligation: Some(record(&run, claimed.obligation)),
    })
}

pub(super) async fn record_obligation_attempt(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::RecordObligationAttemptRequest,
) -> Result<pb::ObligationRecord, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let next = not_negative("next_attempt_at_ms", asked.next_attempt_at_ms, "STUCK at once")?;
    let outcome = if next == 0 {
        Undone::Stuck { error: asked.error }
    } else {
        Undone::TryAgain {
            error: asked.error,
            in_doubt: false,
            next_ms: Some(Time(next).since(cx.engine.now()).max(0)),
        }
    };
    let command = RecordUndoing {
        settle: SettleObligation {
            run: run.clone(),
            seq: asked.obligation_seq,
            owner: origin.driver.owner,
            outcome,
            evidence_json: String::new(),
        },
        request_id: origin.request_id,
    };
    Ok(record(&run, cx.engine.execute(&command, origin.trace).await?))
}

pub(super) async fn resolve_obligation(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::ResolveObligationRequest,
) -> Result<pb::ObligationRecord, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let outcome = match pb::ObligationStatus::try_from(asked.status) {
        Ok(pb::ObligationStatus::Compensated) => Undone::Compensated {
            result_json: asked.result_json,
        },
        Ok(pb::ObligationStatus::Stuck) => Undone::Stuck {
            error: asked.result_json,
        },
        _ => return Err(unknown_number("status", asked.status, "COMPENSATED (3), STUCK (4)").into()),
    };
    let run = run_id(&asked.run_id)?;
    let command = SettleObligation {
        run: run.clone(),
        seq: asked.obligation_seq,
        owner: origin.driver.owner,
        outcome,
        evidence_json: String::new(),
    };
    Ok(record(&run, cx.engine.execute(&command, origin.trace).await?))
}
