//! Connectors in agents' processes: real workers in Python, a server, reactors of their own, real kills, and the bank's books.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

use std::time::Duration;

use serde_json::Value;
use tape_e2e::{Bank, Deadline, Project, Server, Service, Turn, tape};
use tape_proto::v1 as pb;
use tape_proto::v1::tape_client::TapeClient;
use tonic::transport::Channel;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A worker that drives nothing, and has a connector whose upstream is the bank.
const LEDGER: &str = r#"
import asyncio, json, logging, os, pathlib, sys, urllib.parse, urllib.request
import tape
import tape.worker

logging.basicConfig(level="INFO")
BANK, APP = os.environ["BANK_URL"], sys.argv[1]

def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BANK + path, data=data, headers={"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)

def said(what):
    print(f"ledger of {APP}: {what}", flush=True)

@tape.connector("ledger")
class Ledger:
    def dispatch(self, effect):
        said(f"dispatch {effect.business_key}")
        mood = pathlib.Path("mood").read_text() if pathlib.Path("mood").exists() else ""
        if mood == "die before":
            os._exit(1)
        order = {**effect.payload, "reference": effect.business_key}
        wire = ask("/wires", order)
        if mood == "twice":
            ask("/wires", order)
            raise tape.AckLost("the line went dead")
        return tape.Committed(wire["id"], wire)

    def observe(self, effect):
        said(f"observe {effect.business_key}")
        found = ask("/wires?reference=" + urllib.parse.quote(effect.business_key))["wires"]
        return [tape.Committed(wire["id"], wire) for wire in found if wire["status"] == "booked"]

    def compensate(self, effect):
        said(f"compensate {effect.external_ref}")
        return tape.Committed(effect.external_ref, ask(f"/wires/{effect.external_ref}/reverse", {}))

class Drives:
    app_name = APP

    async def run_async(self, **_):
        return
        yield

asyncio.run(tape.worker.serve(Drives))
"#;

struct Stage {
    _turn: Turn,
    project: Project,
    bank: Bank,
    server: Server,
}

impl Stage {
    /// A server that works by itself, or leaves the work to others.
    fn set(reactors: &str) -> Self {
        let turn = Turn::take();
        let project = Project::init();
        std::fs::write(project.root().join("ledger.py"), LEDGER).unwrap();
        let bank = Bank::open(project.root());
        let server = Server::start(&project, &["--reactors", reactors]);
        Self {
            _turn: turn,
            project,
            bank,
            server,
        }
    }

    /// Reactors that look for work by themselves once an hour: what they find sooner, they were told of.
    fn reactors(&self) -> Service {
        let slow = "{interval_ms: 3600000}";
        let project = format!(
            "apiVersion: tape.dev/v1\nkind: TapeProject\nproject: {{name: bare}}\n\
             tape: {{reactors: {{outbox: {slow}, reconciler: {slow}, compensation: {slow}}}}}\n"
        );
        std::fs::write(self.project.root().join("bare.yaml"), project).unwrap();
        let kinds = ["outbox", "reconciler", "compensation"];
        let url = self.server.url();
        let arguments = [&kinds[..], &["--url", &url, "--config", "bare.yaml"]].concat();
        Service::start(&self.project, "tape-reactor", &arguments, &[])
    }

    fn worker(&self, app: &str) -> Service {
        let bank = self.bank.url();
        Service::script(
            &self.project,
            &self.server.url(),
            &["ledger.py", app],
            &[("BANK_URL", &bank)],
        )
    }

    fn mood(&self, mood: &str) {
        std::fs::write(self.project.root().join("mood"), mood).unwrap();
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

    /// A run of "treasury" with one wire that waits for the connector.
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
            request_json: r#"{"to":"Bob","amount":"10.00","currency":"EUR"}"#.into(),
            semantics: pb::EffectSemantics::NonIdempotent.into(),
            dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
            business_key: invoice.into(),
            connector: "ledger".into(),
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

    async fn until(&self, what: &str, story: &[&Service], holds: impl Fn(&Self) -> bool) {
        let deadline = Deadline::start();
        while !holds(self) {
            assert!(!deadline.is_over(), "not so: {what}\n{}", told(story));
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn told(story: &[&Service]) -> String {
    story.iter().map(|one| one.said()).collect()
}

async fn effect(client: &mut TapeClient<Channel>, (run, key): &(String, String)) -> pb::EffectRecord {
    let request = pb::GetEffectRequest {
        run_id: run.clone(),
        idempotency_key: key.clone(),
    };
    client.get_effect(request).await.unwrap().into_inner().effect.unwrap()
}

async fn until_it_is(
    client: &mut TapeClient<Channel>,
    wire: &(String, String),
    wanted: pb::EffectStatus,
    story: &[&Service],
) -> pb::EffectRecord {
    let deadline = Deadline::start();
    loop {
        let found = effect(client, wire).await;
        if found.status() == wanted {
            return found;
        }
        assert!(!deadline.is_over(), "{found:?}\n{}", told(story));
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The run's journal so far: kinds and times.
async fn journal(client: &mut TapeClient<Channel>, run: &str) -> Vec<(String, i64)> {
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
        kinds.push((entry.kind, entry.ts_ms));
        if entry.seq == seq {
            break;
        }
    }
    kinds
}

fn times(journal: &[(String, i64)], kind: &str) -> usize {
    journal.iter().filter(|(its, _)| its == kind).count()
}

fn at(journal: &[(String, i64)], kind: &str) -> i64 {
    let found = journal.iter().find(|(its, _)| its == kind);
    found.unwrap_or_else(|| panic!("no {kind}: {journal:?}")).1
}

#[tokio::test]
async fn what_waits_goes_once_when_a_worker_of_its_app_comes_and_to_no_other_app() {
    let stage = Stage::set("none");
    let mut client = stage.client().await;
    let mut reactors = stage.reactors();
    let mut stranger = stage.worker("sales");
    stage
        .until("the stranger is attached", &[&stranger], |_| {
            stranger.said().contains("worker_attached")
        })
        .await;
    let wire = stage.wire(&mut client, "inv-1").await;
    // Nobody of its app has the connector: it stays, and is named.
    stage
        .until("it is named as nobody's", &[&reactors], |stage| {
            let waits = &stage.status()["server"]["unserved_effects"];
            waits[0]["connector"] == "ledger" && waits[0]["run_id"] == wire.0.as_str()
        })
        .await;
    let waiting = effect(&mut client, &wire).await;
    assert_eq!(
        (waiting.status(), waiting.attempts.len()),
        (pb::EffectStatus::Pending, 0)
    );

    let mut own = [stage.worker("treasury"), stage.worker("treasury")];
    let story = [&reactors, &own[0], &own[1], &stranger];
    let settled = until_it_is(&mut client, &wire, pb::EffectStatus::Confirmed, &story).await;
    let wires = stage.bank.wires();
    assert_eq!(wires.len(), 1, "{wires:?}");
    assert_eq!(wires[0]["id"], settled.external_ref.as_str());
    let attempt = &settled.attempts[0];
    assert_eq!(
        (settled.attempts.len(), attempt.connector_version.as_str()),
        (1, "in-process")
    );
    // Nobody saw what left, and the evidence says in which worker.
    let evidence: Value = serde_json::from_str(&attempt.evidence_json).unwrap();
    assert!(evidence["unseen_in_worker"].is_string(), "{evidence}");
    assert_eq!(evidence["exchanges"], Value::Array(Vec::new()));
    let entries = journal(&mut client, &wire.0).await;
    assert_eq!(times(&entries, "effect.sent"), 1, "{entries:?}");
    assert!(!stranger.said().contains("dispatch"), "{}", stranger.said());
    assert!(reactors.stop() && stranger.stop() && own[0].stop() && own[1].stop());
}

#[tokio::test]
async fn a_worker_killed_after_it_was_asked_leaves_doubt_that_another_one_settles() {
    let stage = Stage::set("none");
    let mut client = stage.client().await;
    let mut reactors = stage.reactors();
    let mut mortal = stage.worker("treasury");
    // The bank books, and does not answer for a long time.
    stage.bank.control(r#"{"next_answer":"hold","hold_ms":600000}"#);
    let wire = stage.wire(&mut client, "inv-1").await;
    stage
        .until("the bank has booked", &[&reactors, &mortal], |stage| {
            !stage.bank.wires().is_empty()
        })
        .await;
    mortal.kill();
    until_it_is(&mut client, &wire, pb::EffectStatus::Unknown, &[&reactors]).await;

    let mut heir = stage.worker("treasury");
    let settled = until_it_is(&mut client, &wire, pb::EffectStatus::Confirmed, &[&reactors, &heir]).await;
    let wires = stage.bank.wires();
    assert_eq!(wires.len(), 1, "{wires:?}");
    assert_eq!(wires[0]["id"], settled.external_ref.as_str());
    assert!(!heir.said().contains("dispatch"), "{}", heir.said());
    let entries = journal(&mut client, &wire.0).await;
    assert_eq!(
        (times(&entries, "effect.sent"), times(&entries, "effect.confirmed")),
        (1, 1)
    );
    assert!(
        at(&entries, "effect.unknown") <= at(&entries, "effect.confirmed"),
        "{entries:?}"
    );
    assert!(reactors.stop() && heir.stop());
}

#[tokio::test]
async fn that_nothing_is_there_is_believed_once_nothing_can_arrive_any_more() {
    let stage = Stage::set("all");
    let mut client = stage.client().await;
    stage.mood("die before");
    let mortal = stage.worker("treasury");
    let wire = stage.wire(&mut client, "inv-1").await;
    until_it_is(
        &mut client,
        &wire,
        pb::EffectStatus::Unknown,
        &[&stage.server.service, &mortal],
    )
    .await;
    let mut heir = stage.worker("treasury");
    let story = [&stage.server.service, &heir];
    let settled = until_it_is(&mut client, &wire, pb::EffectStatus::Failed, &story).await;
    assert!(settled.error_json.contains("absent"), "{settled:?}");
    assert!(stage.bank.wires().is_empty());
    let entries = journal(&mut client, &wire.0).await;
    let believed = at(&entries, "effect.failed") - at(&entries, "effect.sent");
    assert!(believed >= 10_000, "after {believed} ms: {entries:?}");
    assert!(!heir.said().contains("dispatch"), "{}", heir.said());
    assert!(heir.stop());
}

#[tokio::test]
async fn what_was_done_twice_is_found_and_undone_once() {
    let stage = Stage::set("all");
    let mut client = stage.client().await;
    stage.mood("twice");
    let mut worker = stage.worker("treasury");
    let wire = stage.wire(&mut client, "inv-1").await;
    let story = [&stage.server.service, &worker];
    let settled = until_it_is(&mut client, &wire, pb::EffectStatus::Confirmed, &story).await;
    let reversed = |stage: &Stage| {
        let wires = stage.bank.wires().into_iter();
        wires.filter(|wire| wire["status"] == "reversed").collect::<Vec<_>>()
    };
    stage
        .until("the surplus is undone", &story, |stage| !reversed(stage).is_empty())
        .await;
    let (wires, undone) = (stage.bank.wires(), reversed(&stage));
    assert_eq!((wires.len(), undone.len()), (2, 1), "{wires:?}");
    assert_ne!(undone[0]["id"], settled.external_ref.as_str());
    let deadline = Deadline::start();
    loop {
        let request = pb::ListObligationsRequest {
            run_id: wire.0.clone(),
            ..Default::default()
        };
        let found = client.list_obligations(request).await.unwrap().into_inner().obligations;
        if found.len() == 1 && found[0].status() == pb::ObligationStatus::Compensated {
            assert_eq!(found[0].attempts, 1, "{found:?}");
            break;
        }
        assert!(!deadline.is_over(), "{found:?}\n{}", told(&story));
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    assert!(worker.stop());
}
