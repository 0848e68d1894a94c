//! Reactors in processes of their own: a server that does no work itself, `tape-reactor` beside it, and the bank's books.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::time::Duration;

use serde_json::Value;
use tape_e2e::{Bank, Deadline, Project, Server, Service, Turn, tape};
use tape_proto::v1 as pb;
use tape_proto::v1::tape_client::TapeClient;
use tonic::transport::Channel;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Claims run out soon, so that a killed reactor's work is found soon.
const CLAIM_MS: &str = "1500";

struct Stage {
    _turn: Turn,
    project: Project,
    bank: Bank,
    server: Server,
}

impl Stage {
    fn set() -> Self {
        let turn = Turn::take();
        let project = Project::init();
        let bank = Bank::open(project.root());
        let server = Server::start(&project, &["--reactors", "none"]);
        Self {
            _turn: turn,
            project,
            bank,
            server,
        }
    }

    fn reactor(&self, kinds: &[&str]) -> Service {
        let (url, bank) = (self.server.url(), self.bank.url());
        let mut arguments = kinds.to_vec();
        arguments.extend(["--url", &url, "--config", "tape.yaml", "--claim-ttl-ms", CLAIM_MS]);
        Service::start(&self.project, "tape-reactor", &arguments, &[("BANK_URL", &bank)])
    }

    async fn client(&self) -> TapeClient<Channel> {
        let deadline = Deadline::start();
        loop {
            let endpoint = Channel::from_shared(format!("http://{}", self.server.address)).unwrap();
            if let Ok(channel) = endpoint.connect().await {
                return TapeClient::new(channel);
            }
            assert!(!deadline.is_over(), "{}", self.server.service.said());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A run with one wire that waits for the outbox.
    async fn wire(&self, client: &mut TapeClient<Channel>, invoice: &str) -> (String, String) {
        let begin = pb::BeginRunRequest {
            app_name: "treasury".into(),
            user_id: "user".into(),
            session_id: "session".into(),
            invocation_id: invoice.into(),
            lease_owner: "driver".into(),
            ..Default::default()
        };
        let run = client.begin_run(begin).await.unwrap().into_inner().run_id;
        let effect = pb::BeginEffectRequest {
            run_id: run.clone(),
            tool_name: "wire_money".into(),
            request_json: r#"{"to":"Bob","amount":"10.00","currency":"EUR","memo":"lunch"}"#.into(),
            semantics: pb::EffectSemantics::NonIdempotent.into(),
            dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
            business_key: invoice.into(),
            connector: "bank".into(),
            operation: "wire".into(),
            ..Default::default()
        };
        let key = client.begin_effect(effect).await.unwrap().into_inner().idempotency_key;
        (run, key)
    }

    fn status(&self) -> Value {
        let said = tape(
            self.project.root(),
            &["--url", &self.server.url(), "--output", "json", "status"],
        );
        serde_json::from_slice(&said.stdout).unwrap_or_default()
    }

    /// The reactors of a kind in other processes, as `tape status` names them.
    fn remote(&self, kind: &str) -> Vec<String> {
        let status = self.status();
        let reactors = status["server"]["reactors"].as_array().cloned().unwrap_or_default();
        let of_kind = reactors.iter().filter(|one| one["kind"] == kind);
        of_kind
            .flat_map(|one| one["remote"].as_array().cloned().unwrap_or_default())
            .filter_map(|one| one["reactor_id"].as_str().map(str::to_owned))
            .collect()
    }
}

async fn effect(client: &mut TapeClient<Channel>, (run, key): &(String, String)) -> pb::EffectRecord {
    let request = pb::GetEffectRequest {
        run_id: run.clone(),
        idempotency_key: key.clone(),
    };
    client.get_effect(request).await.unwrap().into_inner().effect.unwrap()
}

async fn until_settled(
    client: &mut TapeClient<Channel>,
    wire: &(String, String),
    story: impl Fn() -> String,
) -> pb::EffectRecord {
    let deadline = Deadline::start();
    loop {
        let found = effect(client, wire).await;
        if matches!(found.status(), pb::EffectStatus::Confirmed | pb::EffectStatus::Failed) {
            return found;
        }
        assert!(!deadline.is_over(), "{found:?}\n{}", story());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The kinds of the run's journal entries.
async fn journal(client: &mut TapeClient<Channel>, run: &str) -> Vec<String> {
    let seq = client
        .get_run(pb::GetRunRequest { run_id: run.into() })
        .await
        .unwrap()
        .into_inner()
        .seq_cursor;
    let subscribe = pb::SubscribeRunRequest {
        run_id: run.into(),
        from_seq: 0,
    };
    let mut entries = client.subscribe_run(subscribe).await.unwrap().into_inner();
    let mut kinds = Vec::new();
    while let Some(entry) = entries.message().await.unwrap() {
        kinds.push(entry.kind);
        if entry.seq == seq {
            break;
        }
    }
    kinds
}

#[tokio::test]
async fn an_effect_leaves_once_and_status_names_who_does_it() {
    let stage = Stage::set();
    let mut client = stage.client().await;
    let mut reactor = stage.reactor(&["outbox"]);
    let wire = stage.wire(&mut client, "inv-1").await;
    let settled = until_settled(&mut client, &wire, || reactor.said()).await;
    assert_eq!(settled.status(), pb::EffectStatus::Confirmed);
    assert_eq!(settled.attempts.len(), 1);
    assert!(settled.attempts[0].owner.starts_with("reactor-"), "{settled:?}");
    assert!(settled.attempts[0].evidence_json.contains("/wires"), "{settled:?}");
    assert_eq!(stage.bank.wires().len(), 1);
    let kinds = journal(&mut client, &wire.0).await;
    let sent = kinds.iter().filter(|kind| *kind == "effect.sent").count();
    assert_eq!(sent, 1, "{kinds:?}");
    assert_eq!(stage.remote("outbox").len(), 1, "{}", stage.status());
    assert!(stage.remote("reconciler").is_empty());
    assert!(reactor.stop(), "{}", reactor.said());
}

#[tokio::test]
async fn a_reactor_killed_after_the_mark_never_wires_twice() {
    let stage = Stage::set();
    let mut client = stage.client().await;
    let mut reactor = stage.reactor(&["outbox"]);
    // The bank books, and does not answer for a long time.
    stage.bank.control(r#"{"next_answer":"hold","hold_ms":600000}"#);
    let wire = stage.wire(&mut client, "inv-1").await;
    let deadline = Deadline::start();
    while stage.bank.wires().is_empty() {
        assert!(!deadline.is_over(), "{}", reactor.said());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    reactor.kill();
    assert_eq!(effect(&mut client, &wire).await.status(), pb::EffectStatus::Pending);

    // Another one finds the claim when it has run out. The request may have left: it is in doubt, and asked about.
    let mut another = stage.reactor(&["outbox", "reconciler"]);
    let settled = until_settled(&mut client, &wire, || another.said()).await;
    assert_eq!(settled.status(), pb::EffectStatus::Confirmed, "{settled:?}");
    let wires = stage.bank.wires();
    assert_eq!(wires.len(), 1, "{wires:?}");
    assert_eq!(wires[0]["id"], settled.external_ref.as_str());
    let kinds = journal(&mut client, &wire.0).await;
    let unknown = kinds.iter().position(|kind| kind == "effect.unknown").unwrap();
    let confirmed = kinds.iter().position(|kind| kind == "effect.confirmed").unwrap();
    assert!(unknown < confirmed, "{kinds:?}");
    assert_eq!(
        kinds.iter().filter(|kind| *kind == "effect.sent").count(),
        1,
        "{kinds:?}"
    );
    assert!(another.stop(), "{}", another.said());
}

/// It is caught after it claimed an effect and before anything left. While it stands still its claim runs out, and somebody else settles
/// the effect: what the other one found in the bank's books stays so.
#[tokio::test]
async fn a_reactor_that_stood_still_until_its_claim_ran_out_sends_nothing() {
    let stage = Stage::set();
    let mut client = stage.client().await;
    let mut asleep = stage.reactor(&["outbox"]);
    let mut caught = None;
    for number in 0..200 {
        let invoice = format!("inv-{number}");
        let wire = stage.wire(&mut client, &invoice).await;
        let deadline = Deadline::start();
        while effect(&mut client, &wire).await.attempts.is_empty() {
            assert!(!deadline.is_over(), "{}", asleep.said());
        }
        asleep.stand_still();
        let found = effect(&mut client, &wire).await;
        // Not marked yet: whatever it has asked the server for, it has not been answered.
        if found.status() == pb::EffectStatus::Pending && found.attempts[0].sent_at_ms == 0 {
            caught = Some((wire, invoice));
            break;
        }
        asleep.go_on();
        until_settled(&mut client, &wire, || asleep.said()).await;
    }
    let (wire, invoice) = caught.expect("once in two hundred times it is caught in between");
    let booked = || {
        let wires = stage.bank.wires();
        wires
            .iter()
            .filter(|wire| wire["reference"] == invoice.as_str())
            .count()
    };
    assert_eq!(booked(), 0);

    let mut awake = stage.reactor(&["outbox", "reconciler"]);
    let settled = until_settled(&mut client, &wire, || awake.said()).await;
    let there = usize::from(settled.status() == pb::EffectStatus::Confirmed);
    assert_eq!(booked(), there, "{settled:?}");

    asleep.go_on();
    // It finishes what it has in hand.
    assert!(asleep.stop(), "{}", asleep.said());
    assert_eq!(booked(), there, "{settled:?}\n{}", asleep.said());
    assert_eq!(effect(&mut client, &wire).await, settled);
    assert!(awake.stop(), "{}", awake.said());
}

#[tokio::test]
async fn two_reactors_share_the_work() {
    const WIRES: usize = 60;
    let stage = Stage::set();
    let mut client = stage.client().await;
    let mut pair = [stage.reactor(&["outbox"]), stage.reactor(&["outbox"])];
    let deadline = Deadline::start();
    while stage.remote("outbox").len() < 2 {
        assert!(!deadline.is_over(), "{}{}", pair[0].said(), pair[1].said());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let mut owners = std::collections::BTreeSet::new();
    let mut number = 0;
    // Until both have had a share; each wire goes once, whoever takes it.
    while owners.len() < 2 || number < WIRES {
        assert!(!deadline.is_over(), "{owners:?}");
        let mut wires = Vec::new();
        for _ in 0..10 {
            wires.push(stage.wire(&mut client, &format!("inv-{number}")).await);
            number += 1;
        }
        for wire in &wires {
            let settled = until_settled(&mut client, wire, || pair[0].said() + &pair[1].said()).await;
            assert_eq!(settled.status(), pb::EffectStatus::Confirmed, "{settled:?}");
            owners.insert(settled.attempts[0].owner.clone());
        }
    }
    assert_eq!(stage.bank.wires().len(), number);
    assert!(pair[0].stop() && pair[1].stop());
}

#[tokio::test]
async fn a_reactor_waits_for_its_server_and_goes_on_when_it_is_back() {
    let mut stage = Stage::set();
    let mut client = stage.client().await;
    let mut reactor = stage.reactor(&["outbox", "reconciler"]);
    let first = stage.wire(&mut client, "inv-1").await;
    until_settled(&mut client, &first, || reactor.said()).await;
    stage.server.service.kill();
    drop(client);
    let address = stage.server.address.clone();
    stage.server = Server::start_at(&stage.project, &address, &["--reactors", "none"]);
    let mut client = stage.client().await;
    let second = stage.wire(&mut client, "inv-2").await;
    let settled = until_settled(&mut client, &second, || reactor.said()).await;
    assert_eq!(settled.status(), pb::EffectStatus::Confirmed);
    assert_eq!(stage.bank.wires().len(), 2);
    assert!(reactor.stop(), "{}", reactor.said());
}

#[tokio::test]
async fn a_reactor_that_is_stopped_finishes_what_it_sent() {
    let stage = Stage::set();
    let mut client = stage.client().await;
    let mut reactor = stage.reactor(&["outbox"]);
    stage.bank.control(r#"{"next_answer":"hold","hold_ms":1000}"#);
    let wire = stage.wire(&mut client, "inv-1").await;
    let deadline = Deadline::start();
    while stage.bank.wires().is_empty() {
        assert!(!deadline.is_over(), "{}", reactor.said());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    assert!(reactor.stop(), "{}", reactor.said());
    let settled = effect(&mut client, &wire).await;
    assert_eq!(settled.status(), pb::EffectStatus::Confirmed, "{settled:?}");
    assert!(settled.dispatch_claimed_by.is_empty());
}

#[tokio::test]
async fn what_waits_for_a_connector_goes_once_a_version_is_active() {
    let stage = Stage::set();
    let mut client = stage.client().await;
    // The fallback does not help: who finds the effect within the test was told of the connector.
    let project = "apiVersion: tape.dev/v1\nkind: TapeProject\nproject: {name: bare}\ntape: {reactors: {outbox: {interval_ms: 3600000}}}\n";
    std::fs::write(stage.project.root().join("bare.yaml"), project).unwrap();
    let url = stage.server.url();
    let mut reactor = Service::start(
        &stage.project,
        "tape-reactor",
        &["outbox", "--url", &url, "--config", "bare.yaml"],
        &[],
    );
    let connector = |arguments: &[&str]| {
        let all = [&["--url", url.as_str(), "connector"], arguments].concat();
        let said = stage.project.tape(&all);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    };
    let (config, grant) = (
        format!(r#"{{"base_url": "{}"}}"#, stage.bank.url()),
        format!("{}=GET,POST", stage.bank.url()),
    );
    let wire = stage.wire(&mut client, "inv-1").await;
    let component = "connectors/bank/bank.wasm";
    connector(&["put", component, "--config", &config, "--grant", &grant]);
    // It is put, and nobody is to call it yet: the effect waits, and no attempt is counted.
    let deadline = Deadline::start();
    while stage.remote("outbox").is_empty() {
        assert!(!deadline.is_over(), "{}", reactor.said());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let waiting = effect(&mut client, &wire).await;
    assert_eq!(
        (waiting.status(), waiting.attempts.len()),
        (pb::EffectStatus::Pending, 0)
    );

    connector(&["activate", "bank", "1.0.0"]);
    let settled = until_settled(&mut client, &wire, || reactor.said()).await;
    assert_eq!(settled.status(), pb::EffectStatus::Confirmed, "{settled:?}");
    assert_eq!((settled.attempts.len(), stage.bank.wires().len()), (1, 1));

    // What the connector said there is told here.
    let deadline = Deadline::start();
    loop {
        let logs = ["--url", &url, "--output", "json", "connector", "logs", "bank"];
        let said = stage.project.tape(&logs);
        let lines = String::from_utf8_lossy(&said.stdout).into_owned();
        let read = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_default();
        let ended = lines.lines().map(read).find(|line| line["level"] == "call");
        if let Some(ended) = ended {
            assert_eq!(ended["effect_key"], wire.1.as_str(), "{lines}");
            assert!(ended["reactor_id"].as_str().unwrap().starts_with("reactor-"), "{lines}");
            break;
        }
        assert!(!deadline.is_over(), "{lines}\n{}", reactor.said());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    assert!(reactor.stop(), "{}", reactor.said());
}
