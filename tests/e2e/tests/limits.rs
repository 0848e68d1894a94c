//! A connector that gives no turn: by its rate, by its calls at the same time, by its circuit. What waits for it is neither lost nor
//! tried in vain, and an operator sees why it waits.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;
use tape_e2e::{Bank, Deadline, Project, Server, Turn};
use tape_proto::v1 as pb;
use tape_proto::v1::admin_client::AdminClient;
use tape_proto::v1::tape_client::TapeClient;
use tonic::transport::Channel;

/// How often it was tried: a turn that was refused is none.
fn tries(effect: &pb::EffectRecord) -> usize {
    let attempts = effect.attempts.iter();
    attempts.filter(|attempt| attempt.outcome != "nobody").count()
}

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A server that works by itself, and the bank's connector, as it is put by hand.
struct Stage {
    _turn: Turn,
    project: Project,
    bank: Bank,
    server: Server,
    channel: Channel,
}

impl Stage {
    async fn set(limits: &[&str]) -> Self {
        let turn = Turn::take();
        let project = Project::init();
        let bank = Bank::open(project.root());
        let server = Server::start(&project, &[]);
        let deadline = Deadline::start();
        let channel = loop {
            let endpoint = Channel::from_shared(format!("http://{}", server.address)).unwrap();
            if let Ok(channel) = endpoint.connect().await {
                break channel;
            }
            assert!(!deadline.is_over(), "{}", server.service.said());
            tokio::time::sleep(LOOK_AGAIN).await;
        };
        let stage = Self {
            _turn: turn,
            project,
            bank,
            server,
            channel,
        };
        let (config, grant) = (
            format!(r#"{{"base_url": "{}"}}"#, stage.bank.url()),
            format!("{}=GET,POST", stage.bank.url()),
        );
        let put = ["connector", "put", "connectors/bank/bank.wasm", "--activate"];
        let given = ["--config", &config, "--grant", &grant];
        let limits: Vec<&str> = limits.iter().flat_map(|limit| ["--limit", limit]).collect();
        stage.tape(&[&put[..], &given, &limits].concat());
        stage
    }

    fn tape(&self, arguments: &[&str]) -> Vec<u8> {
        let url = self.server.url();
        let said = self
            .project
            .tape(&[&["--url", &url, "--output", "json"], arguments].concat());
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        said.stdout
    }

    fn client(&self) -> TapeClient<Channel> {
        TapeClient::new(self.channel.clone())
    }

    async fn run(&self) -> String {
        let begin = pb::BeginRunRequest {
            app_name: "treasury".into(),
            user_id: "user".into(),
            session_id: "session".into(),
            invocation_id: "limits".into(),
            lease_owner: "driver".into(),
            ..Default::default()
        };
        self.client().begin_run(begin).await.unwrap().into_inner().run_id
    }

    /// A wire that waits for the outbox, and that the connector can undo.
    async fn wire(&self, run: &str, number: usize) -> String {
        let effect = pb::BeginEffectRequest {
            run_id: run.into(),
            tool_name: "wire_money".into(),
            call_index: i32::try_from(number).unwrap(),
            request_json: r#"{"to":"Bob","amount":"10.00","currency":"EUR","memo":"lunch"}"#.into(),
            semantics: pb::EffectSemantics::NonIdempotent.into(),
            dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
            business_key: format!("inv-{number}"),
            connector: "bank".into(),
            operation: "wire".into(),
            compensation: Some(pb::CompensationHandle {
                connector: "bank".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let begun = self.client().begin_effect(effect).await;
        begun.unwrap().into_inner().idempotency_key
    }

    async fn effect(&self, run: &str, key: &str) -> pb::EffectRecord {
        let request = pb::GetEffectRequest {
            run_id: run.into(),
            idempotency_key: key.into(),
        };
        self.client()
            .get_effect(request)
            .await
            .unwrap()
            .into_inner()
            .effect
            .unwrap()
    }

    async fn confirmed(&self, run: &str, key: &str) -> pb::EffectRecord {
        let deadline = Deadline::start();
        loop {
            let found = self.effect(run, key).await;
            if found.status() == pb::EffectStatus::Confirmed {
                return found;
            }
            assert!(!deadline.is_over(), "{found:?}\n{}", self.server.service.said());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn stats(&self) -> pb::ConnectorStats {
        let stats = AdminClient::new(self.channel.clone())
            .stats(pb::StatsRequest::default())
            .await;
        let mut connectors = stats.unwrap().into_inner().connectors.into_iter();
        connectors.find(|connector| connector.name == "bank").unwrap()
    }

    /// The bank's lines of `/metrics`, by their name.
    fn metrics(&self) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(&self.server.http).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nhost: tape\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let lines = answer.lines().filter(|line| line.contains(r#"connector="bank""#));
        let read = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.split('{').next()?.to_owned(), value.parse().ok()?))
        };
        lines.filter_map(read).collect()
    }
}

#[tokio::test]
async fn a_rate_delays_what_is_done_checked_and_undone_and_costs_no_attempt() {
    const WIRES: usize = 10;
    let stage = Stage::set(&["calls_per_s=2", "concurrent_calls=1"]).await;
    let run = stage.run().await;
    // One answer is lost: that wire has to be asked about, in competition with the others.
    stage.bank.control(r#"{"next_answer":"lose"}"#);
    let mut keys = Vec::new();
    for number in 0..WIRES {
        keys.push(stage.wire(&run, number).await);
    }
    let mut in_doubt = 0;
    for key in &keys {
        let settled = stage.confirmed(&run, key).await;
        assert_eq!(tries(&settled), 1, "{settled:?}");
        in_doubt += usize::from(settled.attempts.iter().any(|attempt| attempt.outcome == "unknown"));
    }
    assert_eq!(in_doubt, 1);
    assert_eq!(stage.bank.wires().len(), WIRES);

    let metrics = stage.metrics();
    assert_eq!(metrics["tape_connector_rate_limit"], 2.0, "{metrics:?}");
    assert_eq!(metrics["tape_connector_running_limit"], 1.0, "{metrics:?}");
    assert_eq!(metrics["tape_connector_running"], 0.0, "{metrics:?}");
    assert_eq!(metrics["tape_connector_circuit"], 0.0, "{metrics:?}");
    assert!(metrics["tape_connector_refused_total"] >= 1.0, "{metrics:?}");
    assert!(
        metrics["tape_connector_calls_total"] >= (WIRES + 1) as f64,
        "{metrics:?}"
    );
    assert_eq!(stage.stats().await.circuit, "closed");

    let undo = pb::CompensateRunRequest {
        run_id: run.clone(),
        reason: "test".into(),
        ..Default::default()
    };
    AdminClient::new(stage.channel.clone())
        .compensate_run(undo)
        .await
        .unwrap();
    let deadline = Deadline::start();
    let obligations = loop {
        let list = pb::ListObligationsRequest {
            run_id: run.clone(),
            ..Default::default()
        };
        let all = stage
            .client()
            .list_obligations(list)
            .await
            .unwrap()
            .into_inner()
            .obligations;
        let done = |one: &pb::ObligationRecord| one.status() == pb::ObligationStatus::Compensated;
        if all.len() == WIRES && all.iter().all(done) {
            break all;
        }
        assert!(!deadline.is_over(), "{all:?}\n{}", stage.server.service.said());
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    assert!(obligations.iter().all(|one| one.attempts == 1), "{obligations:?}");
    assert!(
        stage.bank.wires().iter().all(|wire| wire["status"] == "reversed"),
        "{:?}",
        stage.bank.wires()
    );
}

#[tokio::test]
async fn what_begins_while_the_circuit_is_open_waits_and_goes_once() {
    const EARLY: usize = 12;
    let mut stage = Stage::set(&[]).await;
    let run = stage.run().await;
    stage.bank.close();
    let mut keys = Vec::new();
    for number in 0..EARLY {
        keys.push(stage.wire(&run, number).await);
    }
    let deadline = Deadline::start();
    while stage.stats().await.circuit != "open" {
        assert!(
            !deadline.is_over(),
            "{:?}\n{}",
            stage.stats().await,
            stage.server.service.said()
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    assert_eq!(stage.metrics()["tape_connector_circuit"], 2.0);
    let late = stage.wire(&run, EARLY).await;
    let listed: Value = serde_json::from_slice(&stage.tape(&["connector", "list"])).unwrap();
    assert!(listed.to_string().contains("\"open\""), "{listed}");
    let waiting = stage.effect(&run, &late).await;
    assert_eq!((waiting.status(), tries(&waiting)), (pb::EffectStatus::Pending, 0));

    stage.bank.reopen(stage.project.root());
    let settled = stage.confirmed(&run, &late).await;
    assert_eq!(tries(&settled), 1, "{settled:?}");
    for key in &keys {
        stage.confirmed(&run, key).await;
    }
    assert_eq!(stage.bank.wires().len(), EARLY + 1);
    assert_eq!(stage.stats().await.circuit, "closed");
}
