//! Effects: begin, complete, read, settle.

use tape_core::Time;
use tape_core::command::begin_effect::{BeginEffect, Known};
use tape_core::command::complete_effect::{CompleteEffect, Completion};
use tape_core::command::observe::Booking;
use tape_core::command::outside::{Finding, RecordFinding};
use tape_engine::OpenEffects;
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::effect::{handle, mode, record, semantics, status, stuck};
use crate::convert::{effect_key, limit, not_negative, run_id, unknown_number};
use crate::origin::Origin;

pub(super) async fn begin_effect(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::BeginEffectRequest,
) -> Result<pb::BeginEffectResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let command = BeginEffect {
        run: run_id(&asked.run_id)?,
        driver: origin.driver,
        decision_index: asked.decision_index,
        tool: asked.tool_name,
        call_index: asked.call_index,
        request_json: asked.request_json,
        custom_key: asked.custom_key,
        semantics: semantics(asked.semantics)?,
        mode: mode(asked.dispatch_mode)?,
        business_key: asked.business_key,
        connector: asked.connector,
        operation: asked.operation,
        scope: asked.scope,
        deadline: Time(asked.deadline_ms),
        handle: handle(asked.compensation),
        status_check: asked.status_check,
        allow_unsafe: asked.allow_unsafe,
        // The engine's to say.
        known: Known::default(),
    };
    let begun = cx.engine.begin_effect(command, origin.trace).await?;
    let effect = begun.effect;
    Ok(pb::BeginEffectResponse {
        seq: effect.seq,
        status: status(&effect.state).into(),
        stuck: stuck(&effect.state),
        idempotency_key: effect.intent.key.0,
        response_json: effect.response_json,
        error_json: effect.error_json,
        deduplicated: begun.deduplicated,
        owner_run_id: if begun.deduplicated {
            begun.owner.0
        } else {
            String::new()
        },
        external_ref: effect.external_ref,
    })
}

pub(super) async fn complete_effect(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::CompleteEffectRequest,
) -> Result<pb::EffectRecord, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let completion = match pb::EffectStatus::try_from(asked.status) {
        Ok(pb::EffectStatus::Confirmed) => Completion::Confirmed,
        Ok(pb::EffectStatus::Failed) => Completion::Failed,
        Ok(pb::EffectStatus::Unknown) => Completion::Unknown,
        _ => return Err(unknown_number("status", asked.status, "CONFIRMED (2), FAILED (3), UNKNOWN (4)").into()),
    };
    let run = run_id(&asked.run_id)?;
    let command = CompleteEffect {
        run: run.clone(),
        driver: origin.driver,
        key: effect_key("idempotency_key", &asked.idempotency_key)?,
        completion,
        response_json: asked.response_json,
        error_json: asked.error_json,
    };
    Ok(record(&run, cx.engine.execute(&command, origin.trace).await?))
}

pub(super) async fn get_effect(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::GetEffectRequest,
) -> Result<pb::GetEffectResponse, TapeError> {
    let run = run_id(&asked.run_id)?;
    let key = effect_key("idempotency_key", &asked.idempotency_key)?;
    let effect = cx.engine.effect(&run, &key).await?;
    Ok(pb::GetEffectResponse {
        found: effect.is_some(),
        effect: effect.map(|effect| record(&run, effect)),
    })
}

pub(super) async fn reconcile_effect(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::ReconcileEffectRequest,
) -> Result<pb::EffectRecord, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let finding = match pb::EffectStatus::try_from(asked.resolved_status) {
        Ok(pb::EffectStatus::Confirmed) => Finding::Confirmed(Booking {
            external_ref: String::new(),
            response_json: asked.response_json,
        }),
        Ok(pb::EffectStatus::Failed) => Finding::Failed {
            error_json: asked.error_json,
        },
        _ => {
            let known = "CONFIRMED (2), FAILED (3)";
            return Err(unknown_number("resolved_status", asked.resolved_status, known).into());
        }
    };
    let run = run_id(&asked.run_id)?;
    let command = RecordFinding {
        run: run.clone(),
        key: effect_key("idempotency_key", &asked.idempotency_key)?,
        owner: origin.driver.owner,
        finding,
    };
    Ok(record(&run, cx.engine.execute(&command, origin.trace).await?))
}

pub(super) async fn list_pending_effects(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListPendingEffectsRequest,
) -> Result<pb::ListPendingEffectsResponse, TapeError> {
    let both = !asked.include_pending && !asked.include_unknown;
    let (pending, unknown) = (both || asked.include_pending, both || asked.include_unknown);
    let until = cx
        .engine
        .now()
        .after(-not_negative("older_than_ms", asked.older_than_ms, "any age")?);
    let most = limit("limit", asked.limit, 200, 1000)? as usize;
    let wanted = OpenEffects {
        tenant: cx.caller.bound(),
        pending,
        unknown,
        begun_until: until,
        most,
    };
    let effects = cx.engine.open_effects(wanted).await?.into_iter();
    Ok(pb::ListPendingEffectsResponse {
        effects: effects.map(|(run, effect)| record(&run, effect)).collect(),
    })
}
