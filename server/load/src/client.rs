//! One client: a connection of its own, and the calls that a driver makes.

use tape_proto::v1::tape_client::TapeClient;
use tape_proto::v1::{
    BeginEffectRequest, BeginRunRequest, CompleteEffectRequest, EffectStatus, EndRunRequest, RecordDecisionRequest,
    RunStatus,
};
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A JSON string of about 200 bytes, as the sizes of the targets are given.
pub const PAYLOAD: &str = "\"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"";

/// A driver of runs of its own.
pub struct Client {
    tape: TapeClient<Channel>,
    health: HealthClient<Channel>,
    name: String,
    runs: u64,
}

impl Client {
    /// Connects. `name` must differ from every other client's, also of earlier loads on the same store.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn connect(url: &str, name: String) -> anyhow::Result<Self> {
        let channel = tonic::transport::Endpoint::from_shared(url.to_owned())?
            .tcp_nodelay(true)
            .connect()
            .await?;
        Ok(Self {
            tape: TapeClient::new(channel.clone()),
            health: HealthClient::new(channel),
            name,
            runs: 0,
        })
    }

    /// A run from its beginning to its end: one decision, one effect.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn short_run(&mut self) -> Result<(), Status> {
        let run_id = self.begin_run().await?;
        let decision = RecordDecisionRequest {
            run_id: run_id.clone(),
            decision_index: 0,
            model: "model".to_owned(),
            request_json: PAYLOAD.to_owned(),
            response_json: PAYLOAD.to_owned(),
            ..Default::default()
        };
        self.tape.record_decision(decision).await?;
        self.step(&run_id, 0).await?;
        let end = EndRunRequest {
            run_id,
            status: RunStatus::Terminal.into(),
            ..Default::default()
        };
        self.tape.end_run(end).await?;
        Ok(())
    }

    /// Begins a fresh run.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn begin_run(&mut self) -> Result<String, Status> {
        self.runs += 1;
        let begin = BeginRunRequest {
            app_name: "bench".to_owned(),
            user_id: "user".to_owned(),
            session_id: self.name.clone(),
            invocation_id: self.runs.to_string(),
            lease_owner: self.name.clone(),
            ..Default::default()
        };
        Ok(self.tape.begin_run(begin).await?.into_inner().run_id)
    }

    /// A durable step: an effect begun and completed.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn step(&mut self, run_id: &str, index: i32) -> Result<(), Status> {
        let begin = BeginEffectRequest {
            run_id: run_id.to_owned(),
            decision_index: 0,
            tool_name: "tool".to_owned(),
            call_index: index,
            request_json: PAYLOAD.to_owned(),
            ..Default::default()
        };
        let key = self.tape.begin_effect(begin).await?.into_inner().idempotency_key;
        let complete = CompleteEffectRequest {
            run_id: run_id.to_owned(),
            idempotency_key: key,
            status: EffectStatus::Confirmed.into(),
            response_json: PAYLOAD.to_owned(),
            ..Default::default()
        };
        self.tape.complete_effect(complete).await?;
        Ok(())
    }

    /// A call that the server answers from nothing: what gRPC itself costs.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn empty(&mut self) -> Result<(), Status> {
        self.health.check(HealthCheckRequest::default()).await.map(drop)
    }
}
