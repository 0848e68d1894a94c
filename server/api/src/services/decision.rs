//! Decisions: record, read back.

use tape_core::Refusal;
use tape_core::command::decision::RecordDecision;
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::{decision::record, run_id};
use crate::origin::Origin;

/// Bytes of a request's SHA-256.
const HASH_BYTES: usize = 32;

pub(super) async fn record_decision(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::RecordDecisionRequest,
) -> Result<pb::DecisionRecord, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let command = RecordDecision {
        run: run.clone(),
        driver: origin.driver,
        index: asked.decision_index,
        model: asked.model,
        request_json: asked.request_json,
        response_json: asked.response_json,
        rationale: asked.rationale,
        policy_version: asked.policy_version,
    };
    Ok(record(&run, cx.engine.execute(&command, origin.trace).await?))
}

pub(super) async fn get_decision(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::GetDecisionRequest,
) -> Result<pb::GetDecisionResponse, TapeError> {
    let hash = &asked.request_hash;
    if !hash.is_empty() && hash.len() != HASH_BYTES {
        return Err(Refusal::invalid(
            "request_hash",
            &format!("{} bytes", hash.len()),
            format!("request_hash has {} bytes, not {HASH_BYTES}.", hash.len()),
            "Send the SHA-256 of request_json, or nothing.",
        )
        .into());
    }
    let run = run_id(&asked.run_id)?;
    let decision = cx.engine.decision(&run, asked.decision_index).await?;
    let diverged = decision
        .as_ref()
        .is_some_and(|decision| !hash.is_empty() && decision.request_hash() != hash.as_slice());
    Ok(pb::GetDecisionResponse {
        found: decision.is_some(),
        decision: decision.map(|decision| record(&run, decision)),
        diverged,
    })
}
