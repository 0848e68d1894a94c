//! One effect by hand, the whole way: a run of its own, in which nothing happens but this effect.

use tape_proto::v1 as pb;

use crate::{ClientError, TapeClient};

/// An effect to try a deployed connector with.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Empty = the caller's own.
    pub tenant: String,
    /// The deployed connector.
    pub connector: String,
    /// Its operation.
    pub operation: String,
    /// JSON.
    pub payload_json: String,
    /// What the upstream's books know it by; empty if there is none.
    pub business_key: String,
    /// The upstream deduplicates by the key: doubt is settled by repeating.
    pub is_idempotent: bool,
    /// Unique per process.
    pub driver: String,
}

/// Where a sample is to be found.
#[derive(Clone, Debug)]
pub struct SampleBegun {
    /// The run that was begun.
    pub run_id: String,
    /// The effect's run: another one, if that has an effect with this business key already.
    pub found_in: String,
    /// The effect's idempotency key.
    pub key: String,
}

const APP: &str = "by-hand";
const TOOL: &str = "by-hand";
/// Long enough for whoever looks on; then the run is nobody's.
const LEASE_MS: i64 = 600_000;

impl TapeClient {
    /// Begins a run and in it the effect, which the server's outbox carries out from then on.
    ///
    /// # Errors
    /// A refusal that names the field: the connector cannot settle doubt, or another effect has the business key.
    pub async fn begin_sample(&self, sample: Sample) -> Result<SampleBegun, ClientError> {
        let mut tape = self.tape();
        let begin = pb::BeginRunRequest {
            app_name: APP.to_owned(),
            user_id: "operator".to_owned(),
            session_id: sample.driver.clone(),
            invocation_id: "1".to_owned(),
            lease_owner: sample.driver.clone(),
            lease_ttl_ms: LEASE_MS,
            tenant_id: sample.tenant,
            ..Default::default()
        };
        let run_id = tape.begin_run(begin).await?.into_inner().run_id;
        let decision = pb::RecordDecisionRequest {
            run_id: run_id.clone(),
            model: APP.to_owned(),
            request_json: "null".to_owned(),
            response_json: "null".to_owned(),
            ..Default::default()
        };
        tape.record_decision(decision).await?;
        let semantics = if sample.is_idempotent {
            pb::EffectSemantics::Idempotent
        } else {
            pb::EffectSemantics::NonIdempotent
        };
        let effect = pb::BeginEffectRequest {
            run_id: run_id.clone(),
            tool_name: TOOL.to_owned(),
            request_json: sample.payload_json,
            semantics: semantics.into(),
            dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
            business_key: sample.business_key,
            connector: sample.connector,
            operation: sample.operation,
            ..Default::default()
        };
        let begun = tape.begin_effect(effect).await?.into_inner();
        // Another effect may have the business key: then that one is the answer, in its own run.
        let found_in = if begun.deduplicated {
            begun.owner_run_id
        } else {
            run_id.clone()
        };
        Ok(SampleBegun {
            run_id,
            found_in,
            key: begun.idempotency_key,
        })
    }

    /// Ends the sample's run: what is settled stays as it is.
    ///
    /// # Errors
    /// An effect is not settled yet.
    pub async fn end_sample(&self, run_id: &str) -> Result<(), ClientError> {
        let end = pb::EndRunRequest {
            run_id: run_id.to_owned(),
            status: pb::RunStatus::Terminal.into(),
            ..Default::default()
        };
        self.tape().end_run(end).await?;
        Ok(())
    }
}
