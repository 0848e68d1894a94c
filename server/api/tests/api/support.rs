//! A server to talk to, with a clock that the test turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use prost::Message;
use tape_api::{HubConfig, ServerInfo, Services, Tenancy, WorkerHub};
use tape_connector_port::{
    Called, CompensateOutcome, ConnectorError, ConnectorInfo, Connectors, Deployable, Description, EffectCall, Judged,
    Line, Mark, Misfit, NoConnectors, ObligationCall, ObserveAnswer, Outcome, StatusAnswer, Supports, Vouched,
};
use tape_core::connector::ConnectorName;
use tape_core::{DueKind, Time};
use tape_engine::{Engine, EngineConfig};
use tape_port::{Clock, ConnectorHost, Luck, ReactorReport, Reports};
use tape_proto::v1::admin_client::AdminClient;
use tape_proto::v1::tape_client::TapeClient;
use tape_proto::v1::workers_client::WorkersClient;
use tape_proto::v1::{self as pb, ErrorDetail};
use tape_store_memory::MemoryStore;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A clock that stands still unless the test turns it.
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn turn(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

/// Names by counting, no jitter taken away.
#[derive(Default)]
struct TestLuck(AtomicU64);

impl Luck for TestLuck {
    fn fresh(&self) -> String {
        format!("fresh-{}", self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn jitter(&self) -> u16 {
        1000
    }
}

/// One connector, "bank", that can observe; it is never called here.
struct Bank;

fn bank() -> ConnectorInfo {
    ConnectorInfo {
        name: "bank".into(),
        tenant: String::new(),
        app: None,
        version: "1.2.0".into(),
        digest: "sha256:00".into(),
        description: Description {
            name: "bank".into(),
            version: "1.2.0".into(),
            contract: "1.0.0".into(),
            summary: String::new(),
            operations: Vec::new(),
            supports: Supports {
                observe: true,
                ..Supports::default()
            },
            offline: false,
            config_schema: String::new(),
            asks: Default::default(),
        },
        calls: 3,
        failures: 1,
        last_error: None,
    }
}

#[async_trait]
impl Connectors for Bank {
    fn list(&self) -> Vec<ConnectorInfo> {
        vec![bank()]
    }

    fn describe(&self, _: &str, _: &str, name: &str) -> Option<Description> {
        (name == "bank").then(|| bank().description)
    }

    async fn dispatch(
        &self,
        name: &str,
        version: Option<&str>,
        effect: &EffectCall,
        mark: &dyn Mark,
    ) -> Result<Called<Outcome>, ConnectorError> {
        NoConnectors.dispatch(name, version, effect, mark).await
    }

    async fn status_check(
        &self,
        name: &str,
        version: Option<&str>,
        effect: &EffectCall,
        reference: &str,
    ) -> Result<Called<StatusAnswer>, ConnectorError> {
        NoConnectors.status_check(name, version, effect, reference).await
    }

    async fn observe(
        &self,
        name: &str,
        version: Option<&str>,
        effect: &EffectCall,
    ) -> Result<Called<ObserveAnswer>, ConnectorError> {
        NoConnectors.observe(name, version, effect).await
    }

    async fn compensate(
        &self,
        name: &str,
        version: Option<&str>,
        obligation: &ObligationCall,
        mark: &dyn Mark,
    ) -> Result<Called<CompensateOutcome>, ConnectorError> {
        NoConnectors.compensate(name, version, obligation, mark).await
    }
}

/// Takes every component for a bank.
struct TakesAll;

#[async_trait]
impl ConnectorHost for TakesAll {
    async fn judge(&self, version: &Deployable, component: Vec<u8>, _: &Vouched) -> Result<Judged, Misfit> {
        if component == b"bad" {
            return Err(Misfit {
                code: "TAPE-C022",
                field: "component",
                message: "connector `bank` does not fit the contract".into(),
            });
        }
        Ok(Judged {
            description: bank().description,
            digest: version.digest.clone(),
            signed_by: String::new(),
            missing: vec!["host https://bank: --grant https://bank".into()],
        })
    }

    fn tail(&self, _: &ConnectorName, _: usize) -> (Vec<Line>, broadcast::Receiver<Line>) {
        let line = Line {
            message: "wired".into(),
            ..Line::default()
        };
        (vec![line], broadcast::Sender::new(1).subscribe())
    }

    fn told(&self, _: &ConnectorName, _: Line) {}

    async fn catch_up(&self) {}
}

struct OneReport;

impl Reports for OneReport {
    fn reactors(&self) -> Vec<ReactorReport> {
        vec![ReactorReport {
            kind: DueKind::Outbox,
            enabled: true,
            last_pass: Time(7),
            passes: 2,
            errors: 1,
            last_error: "once".into(),
        }]
    }
}

pub struct TestServer {
    pub tape: TapeClient<Channel>,
    pub admin: AdminClient<Channel>,
    pub workers: WorkersClient<Channel>,
    pub channel: Channel,
    pub url: String,
    pub clock: Arc<TestClock>,
    pub hub: Arc<WorkerHub>,
    pub engine: Arc<Engine>,
    pub store: Arc<MemoryStore>,
    _serving: JoinSet<()>,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(EngineConfig::default(), HubConfig::default()).await
    }

    pub async fn with(engine: EngineConfig, hub: HubConfig) -> Self {
        Self::launch(engine, hub, Some(Arc::new(TakesAll))).await
    }

    /// One through which nothing can be deployed.
    pub async fn without_host() -> Self {
        Self::launch(EngineConfig::default(), HubConfig::default(), None).await
    }

    async fn launch(engine: EngineConfig, hub: HubConfig, host: Option<Arc<dyn ConnectorHost>>) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(1_000_000)));
        let connectors = Arc::new(Bank);
        let store = Arc::new(MemoryStore::new());
        let engine = Arc::new(Engine::new(
            store.clone(),
            clock.clone(),
            Arc::new(TestLuck::default()),
            connectors.clone(),
            engine,
        ));
        let hub = Arc::new(WorkerHub::with_config(engine.clone(), hub));
        let info = ServerInfo {
            version: "0.1.0-test".into(),
            started_at: Time(5),
            store_url: "memory:".into(),
        };
        let services = Services::new(
            engine.clone(),
            connectors,
            hub.clone(),
            Arc::new(OneReport),
            info,
            Tenancy::default(),
            host,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let routes = services.routes();
            Server::builder()
                .add_routes(routes)
                .serve_with_incoming(incoming)
                .await
                .expect("the listener lives");
        });
        let channel = Channel::from_shared(format!("http://{address}"))
            .expect("an address is a URL")
            .connect()
            .await
            .expect("the server listens");
        Self {
            tape: TapeClient::new(channel.clone()),
            admin: AdminClient::new(channel.clone()),
            workers: WorkersClient::new(channel.clone()),
            channel,
            url: format!("tape://{address}"),
            clock,
            hub,
            engine,
            store,
            _serving: serving,
        }
    }

    /// A run that `owner` drives, and its fence.
    pub async fn begin(&self, invocation: &str, owner: &str, fenced: bool) -> pb::BeginRunResponse {
        let request = pb::BeginRunRequest {
            fenced,
            ..begin_request(invocation, owner)
        };
        self.tape
            .clone()
            .begin_run(request)
            .await
            .expect("a lease")
            .into_inner()
    }

    pub async fn get(&self, run: &str) -> pb::RunState {
        let request = pb::GetRunRequest { run_id: run.into() };
        self.tape.clone().get_run(request).await.expect("a run").into_inner()
    }

    pub async fn effect(&self, run: &str, key: &str) -> pb::EffectRecord {
        let request = pb::GetEffectRequest {
            run_id: run.into(),
            idempotency_key: key.into(),
        };
        let answer = self.tape.clone().get_effect(request).await.expect("an effect");
        answer.into_inner().effect.expect("an effect that was begun")
    }

    /// An outbox effect of a fresh run `invocation`, claimed and in doubt.
    pub async fn in_doubt(&self, invocation: &str) -> (String, String) {
        let run = self.begin(invocation, "driver", false).await.run_id;
        let begun = self
            .tape
            .clone()
            .begin_effect(wire(&run, "bank"))
            .await
            .expect("an effect");
        let key = begun.into_inner().idempotency_key;
        self.claim(&run, &key).await;
        let attempt = pb::RecordDispatchAttemptRequest {
            run_id: run.clone(),
            idempotency_key: key.clone(),
            error: "no answer".into(),
            ..Default::default()
        };
        let effect = self
            .tape
            .clone()
            .record_dispatch_attempt(attempt)
            .await
            .expect("a record");
        assert_eq!(effect.into_inner().status(), pb::EffectStatus::Unknown);
        (run, key)
    }

    pub async fn claim(&self, run: &str, key: &str) -> pb::ClaimEffectDispatchResponse {
        let claim = pb::ClaimEffectDispatchRequest {
            run_id: run.into(),
            idempotency_key: key.into(),
            claimer: "dispatcher".into(),
            ..Default::default()
        };
        let claimed = self.tape.clone().claim_effect_dispatch(claim).await;
        claimed.expect("an answer").into_inner()
    }

    /// How many entries a run's journal has.
    pub async fn seq(&self, run: &str) -> i64 {
        self.get(run).await.seq_cursor
    }
}

pub fn begin_request(invocation: &str, owner: &str) -> pb::BeginRunRequest {
    pb::BeginRunRequest {
        app_name: "app".into(),
        user_id: "user".into(),
        session_id: "session".into(),
        invocation_id: invocation.into(),
        lease_owner: owner.into(),
        ..Default::default()
    }
}

/// A NON_IDEMPOTENT wire through the outbox.
pub fn wire(run: &str, connector: &str) -> pb::BeginEffectRequest {
    pb::BeginEffectRequest {
        run_id: run.into(),
        tool_name: "wire_money".into(),
        request_json: r#"{"amount":"250.00"}"#.into(),
        semantics: pb::EffectSemantics::NonIdempotent.into(),
        dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
        connector: connector.into(),
        status_check: "tools:check".into(),
        ..Default::default()
    }
}

/// An inline effect of a tool that the upstream deduplicates.
pub fn inline(run: &str, call_index: i32) -> pb::BeginEffectRequest {
    pb::BeginEffectRequest {
        run_id: run.into(),
        tool_name: "charge".into(),
        call_index,
        request_json: "{}".into(),
        ..Default::default()
    }
}

pub fn decision(run: &str, index: i64, response: &str) -> pb::RecordDecisionRequest {
    pb::RecordDecisionRequest {
        run_id: run.into(),
        decision_index: index,
        model: "m".into(),
        request_json: r#"{"prompt":"p"}"#.into(),
        response_json: response.into(),
        ..Default::default()
    }
}

pub fn end(run: &str, status: pb::RunStatus) -> pb::EndRunRequest {
    pb::EndRunRequest {
        run_id: run.into(),
        status: status.into(),
        ..Default::default()
    }
}

/// What a refusal said in its trailer.
pub fn detail(status: &Status) -> ErrorDetail {
    let trailer = status.metadata().get_bin(tape_proto::ERROR_DETAIL_TRAILER);
    let bytes = trailer.expect("a trailer").to_bytes().expect("binary");
    ErrorDetail::decode(bytes).expect("an ErrorDetail")
}

/// Checks that gRPC's own details, which any client can read, say what our trailer says.
fn standard(status: &Status, detail: &ErrorDetail) {
    let info = status.get_details_error_info().expect("a google.rpc.ErrorInfo");
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        (detail.code.as_str(), "tape.dev")
    );
    let said = |name: &str| info.metadata.get(name).map_or("", String::as_str);
    assert_eq!(said("retryable"), detail.retryable.to_string());
    let texts = [
        ("field", &detail.field),
        ("value", &detail.value),
        ("cure", &detail.cure),
        ("owner", &detail.owner),
    ];
    for (name, text) in texts {
        assert_eq!(said(name), text, "{name}");
    }
    for (name, number) in [("fence", detail.fence), ("version", detail.version)] {
        assert_eq!(said(name).parse().unwrap_or(0), number, "{name}");
    }
}

/// Checks status and code of a refusal, and that its text carries the code, and a cure.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, tape_code: &str) -> (Status, ErrorDetail) {
    let status = answer.expect_err("a refusal");
    let detail = detail(&status);
    assert_eq!((status.code(), detail.code.as_str()), (code, tape_code), "{status}");
    assert!(status.message().starts_with(tape_code), "{status}");
    assert!(!detail.cure.is_empty(), "{status}");
    assert!(status.message().contains(&detail.cure), "{status}");
    standard(&status, &detail);
    (status, detail)
}

/// Waits for what will come by itself.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, what).await.expect("it comes within 20 s")
}
