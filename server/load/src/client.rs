//! One client: a connection of its own, and the calls that a driver makes.

use tape_proto::v1::driver_answer::Answer;
use tape_proto::v1::driver_request::Request;
use tape_proto::v1::tape_client::TapeClient;
use tape_proto::v1::{
    BeginEffectRequest, BeginRunRequest, CompleteEffectRequest, EffectStatus, EndRunRequest, RecordDecisionRequest,
    RunStatus,
};
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::payload::payload;
use crate::stream::DriverStream;

/// Asks on the stream if there is one, or else by a call.
macro_rules! ask {
    ($client:expr, $variant:ident, $rpc:ident, $request:expr) => {
        match &$client.stream {
            None => $client.tape.$rpc($request).await?.into_inner(),
            Some(stream) => match stream.call(Request::$variant($request)).await? {
                Answer::$variant(answer) => answer,
                other => return Err(Status::internal(format!("another answer: {other:?}"))),
            },
        }
    };
}

/// How the clients of one load reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each is a process of its own, with a connection of its own.
    Connections,
    /// All are in one process, and share its connection.
    OneConnection,
    /// All are in one process, and share its `Driver` stream.
    OneStream,
}

/// A driver of runs of its own.
pub struct Client {
    tape: TapeClient<Channel>,
    stream: Option<DriverStream>,
    health: HealthClient<Channel>,
    name: String,
    runs: u64,
    payloads: u64,
}

impl Client {
    /// Connects so many clients, named after `name`, which must differ from every other load's on the same store.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn connect(url: &str, name: &str, clients: usize, way: Way) -> anyhow::Result<Vec<Self>> {
        let endpoint = tonic::transport::Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
        let mut shared = endpoint.connect().await?;
        let stream = match way {
            Way::OneStream => Some(DriverStream::open(shared.clone()).await?),
            Way::Connections | Way::OneConnection => None,
        };
        let mut connected = Vec::with_capacity(clients);
        for index in 0..clients {
            if way == Way::Connections && index > 0 {
                shared = endpoint.connect().await?;
            }
            connected.push(Self {
                tape: TapeClient::new(shared.clone()),
                stream: stream.clone(),
                health: HealthClient::new(shared.clone()),
                name: format!("{name}-{index}"),
                runs: 0,
                payloads: (index as u64) << 32,
            });
        }
        Ok(connected)
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
            request_json: self.payload(),
            response_json: self.payload(),
            ..Default::default()
        };
        ask!(self, RecordDecision, record_decision, decision);
        self.step(&run_id, 0).await?;
        let end = EndRunRequest {
            run_id,
            status: RunStatus::Terminal.into(),
            ..Default::default()
        };
        ask!(self, EndRun, end_run, end);
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
        Ok(ask!(self, BeginRun, begin_run, begin).run_id)
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
            request_json: self.payload(),
            ..Default::default()
        };
        let key = ask!(self, BeginEffect, begin_effect, begin).idempotency_key;
        let complete = CompleteEffectRequest {
            run_id: run_id.to_owned(),
            idempotency_key: key,
            status: EffectStatus::Confirmed.into(),
            response_json: self.payload(),
            ..Default::default()
        };
        ask!(self, CompleteEffect, complete_effect, complete);
        Ok(())
    }

    fn payload(&mut self) -> String {
        self.payloads += 1;
        payload(self.payloads)
    }

    /// A call that the server answers from nothing: what gRPC itself costs.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn empty(&mut self) -> Result<(), Status> {
        self.health.check(HealthCheckRequest::default()).await.map(drop)
    }
}
