//! The outbox, for dispatchers outside.

use tape_core::command::dispatch::ClaimDispatch;
use tape_core::command::observe::Booking;
use tape_core::command::outside::{Finding, RecordAttempt, RecordFinding};
use tape_core::json::check_name;
use tape_core::{DueKind, RowKey, Time};
use tape_port::{DueWork, TapeError};
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::{Cx, run::ahead};
use crate::convert::effect::record;
use crate::convert::{claim_ms, effect_key, limit, not_negative, run_id, unknown_number};
use crate::origin::Origin;

/// Most hints that are looked at for one connector.
const HINTS_MAX: u32 = 10_000;

pub(super) async fn list_effects_to_dispatch(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListEffectsToDispatchRequest,
) -> Result<pb::ListEffectsToDispatchResponse, TapeError> {
    let most = limit("limit", asked.limit, 200, 1000)?;
    let looked_at = if asked.connector.is_empty() { most } else { HINTS_MAX };
    let work = DueWork {
        ahead_ms: ahead(cx, asked.now_ms)?,
        tenants: cx.caller.bounds(),
        ..DueWork::all(DueKind::Outbox, looked_at)
    };
    let mut effects = Vec::new();
    for due in cx.engine.due_work(&work).await? {
        if effects.len() == most as usize {
            break;
        }
        let RowKey::Effect(key) = &due.key else { continue };
        if let Some(effect) = cx.engine.effect(&due.run, key).await?
            && (asked.connector.is_empty() || effect.intent.connector == asked.connector)
        {
            effects.push(record(&due.run, effect));
        }
    }
    Ok(pb::ListEffectsToDispatchResponse { effects })
}

pub(super) async fn claim_effect_dispatch(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::ClaimEffectDispatchRequest,
) -> Result<pb::ClaimEffectDispatchResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    check_name("claimer", &asked.claimer)?;
    let run = run_id(&asked.run_id)?;
    let command = ClaimDispatch {
        run: run.clone(),
        key: effect_key("idempotency_key", &asked.idempotency_key)?,
        owner: asked.claimer,
        ttl_ms: claim_ms("lease_ttl_ms", asked.lease_ttl_ms)?,
        two_phase: asked.two_phase,
        connectors: None,
    };
    let claimed = cx.engine.execute(&command, origin.trace).await?;
    Ok(pb::ClaimEffectDispatchResponse {
        acquired: claimed.acquired,
        effect: Some(record(&run, claimed.effect)),
    })
}

pub(super) async fn record_dispatch_attempt(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::RecordDispatchAttemptRequest,
) -> Result<pb::EffectRecord, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let next = not_negative("next_dispatch_at_ms", asked.next_dispatch_at_ms, "UNKNOWN")?;
    let command = RecordAttempt {
        run: run.clone(),
        key: effect_key("idempotency_key", &asked.idempotency_key)?,
        owner: origin.driver.owner,
        error: asked.error,
        next: (next > 0).then_some(Time(next)),
        request_id: origin.request_id,
    };
    Ok(record(&run, cx.engine.execute(&command, origin.trace).await?))
}

pub(super) async fn record_external_observation(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::RecordExternalObservationRequest,
) -> Result<pb::EffectRecord, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let command = RecordFinding {
        run: run.clone(),
        key: effect_key("idempotency_key", &asked.idempotency_key)?,
        owner: origin.driver.owner.clone(),
        finding: finding(asked)?,
    };
    Ok(record(&run, cx.engine.execute(&command, origin.trace).await?))
}

fn finding(asked: pb::RecordExternalObservationRequest) -> Result<Finding, TapeError> {
    let booking = Booking {
        external_ref: asked.external_ref,
        response_json: asked.response_json,
    };
    Ok(match pb::EffectResolution::try_from(asked.resolution) {
        Ok(pb::EffectResolution::Confirmed) => Finding::Confirmed(booking),
        Ok(pb::EffectResolution::Failed) => Finding::Failed {
            error_json: asked.error_json,
        },
        Ok(pb::EffectResolution::Absent) => Finding::Absent,
        Ok(pb::EffectResolution::Duplicate) => Finding::Duplicate {
            booking,
            kind: asked.compensate_on_duplicate_kind,
        },
        Ok(pb::EffectResolution::Stuck) => Finding::Stuck {
            reason: if asked.error_json.is_empty() {
                "its dispatcher cannot find out".to_owned()
            } else {
                asked.error_json
            },
        },
        _ => {
            let known = "CONFIRMED (1), FAILED (2), ABSENT (3), DUPLICATE (4), STUCK (5)";
            return Err(unknown_number("resolution", asked.resolution, known).into());
        }
    })
}
