//! `tape dev` while its connector is rebuilt: real processes, a real component, the bank's books.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::fs;

use serde_json::Value;
use tape_e2e::{Bank, Dev, Project, Turn};
use tape_proto::v1 as pb;
use tape_proto::v1::tape_client::TapeClient;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

const COMPONENT: &str = "connectors/bank/bank.wasm";

/// What a rebuild leaves: the same component with other bytes, by a section that nobody reads.
fn rebuilt(component: &[u8], what: &str) -> Vec<u8> {
    let length = |bytes: usize| u8::try_from(bytes).ok().filter(|length| *length < 0x80).unwrap();
    let name = b"build";
    let mut all = component.to_vec();
    all.extend([0, length(1 + name.len() + what.len()), length(name.len())]);
    all.extend(name);
    all.extend(what.as_bytes());
    all
}

/// A client that is called from a test without a runtime of its own.
struct Caller {
    runtime: Runtime,
    client: TapeClient<Channel>,
}

type Wire = (String, String);

impl Caller {
    fn of(dev: &Dev<'_>) -> Self {
        let runtime = Runtime::new().unwrap();
        let endpoint = Channel::from_shared(dev.url().replace("tape://", "http://")).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self {
            runtime,
            client: TapeClient::new(channel),
        }
    }

    fn wire(&self, invoice: &str) -> Wire {
        let mut client = self.client.clone();
        let begin = pb::BeginRunRequest {
            app_name: "treasury".into(),
            user_id: "user".into(),
            session_id: "session".into(),
            invocation_id: invoice.into(),
            lease_owner: "driver".into(),
            ..Default::default()
        };
        let effect = |run: &str| pb::BeginEffectRequest {
            run_id: run.into(),
            tool_name: "wire_money".into(),
            request_json: r#"{"to":"Bob","amount":"10.00","currency":"EUR","memo":"lunch"}"#.into(),
            semantics: pb::EffectSemantics::NonIdempotent.into(),
            dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
            business_key: invoice.into(),
            connector: "bank".into(),
            operation: "wire".into(),
            ..Default::default()
        };
        self.runtime.block_on(async {
            let run = client.begin_run(begin).await.unwrap().into_inner().run_id;
            let begun = client.begin_effect(effect(&run)).await.unwrap().into_inner();
            (run, begun.idempotency_key)
        })
    }

    fn effect(&self, (run, key): &Wire) -> pb::EffectRecord {
        let mut client = self.client.clone();
        let request = pb::GetEffectRequest {
            run_id: run.clone(),
            idempotency_key: key.clone(),
        };
        let found = self.runtime.block_on(client.get_effect(request)).unwrap().into_inner();
        found.effect.unwrap()
    }

    /// The version that dispatched it, once it is confirmed.
    fn confirmed_by(&self, dev: &Dev<'_>, wire: &Wire) -> String {
        let is = |status| move || self.effect(wire).status() == status;
        dev.wait_until("the wire is confirmed", is(pb::EffectStatus::Confirmed));
        self.effect(wire).attempts[0].connector_version.clone()
    }
}

/// The calls of the connector that were about an effect: the question and the version that was asked.
fn calls(dev: &Dev<'_>, key: &str) -> Vec<(String, String)> {
    let said = dev.tape(&["--output", "json", "connector", "logs", "bank"]);
    let lines = String::from_utf8_lossy(&said.stdout).into_owned();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    lines
        .filter(|line| line["level"] == "call" && line["effect_key"] == key)
        .map(|line| (text(&line, "question"), text(&line, "version")))
        .collect()
}

#[test]
fn a_rebuild_is_swapped_in_and_a_broken_one_leaves_what_is_there() {
    let _turn = Turn::take();
    let project = Project::init();
    let mut bank = Bank::open(project.root());
    let dev = project.dev_without_agent(&[("BANK_URL", &bank.url())]);
    let caller = Caller::of(&dev);
    let component = project.root().join(COMPONENT);
    let first = fs::read(&component).unwrap();
    let swapped = |times: usize| move |dev: &Dev<'_>| dev.story().matches("is swapped: calls go to").count() == times;

    let before = caller.wire("inv-1");
    let old = caller.confirmed_by(&dev, &before);

    // One is in doubt, and its upstream cannot be asked, when the rebuild comes.
    bank.control(r#"{"next_answer":"hold","hold_ms":600000}"#);
    let in_doubt = caller.wire("inv-2");
    dev.wait_until("the bank has booked it", || bank.wires().len() == 2);
    bank.close();
    dev.wait_until("it is in doubt", || {
        caller.effect(&in_doubt).status() == pb::EffectStatus::Unknown
    });
    fs::write(&component, rebuilt(&first, "second")).unwrap();
    dev.wait_until("it is swapped", || swapped(1)(&dev));
    let asked_before = calls(&dev, &in_doubt.1).len();

    // The next call runs the new version, and the old one answers for what it did: these books are new and have nothing.
    bank.reopen(project.root());
    let after = caller.wire("inv-3");
    let new = caller.confirmed_by(&dev, &after);
    assert_ne!(old, new);
    dev.wait_until("it is settled", || {
        caller.effect(&in_doubt).status() == pb::EffectStatus::Failed
    });
    let asked = calls(&dev, &in_doubt.1);
    assert!(asked.len() > asked_before, "{asked:?}");
    assert!(asked.iter().all(|(_, version)| *version == old), "{old}: {asked:?}");
    assert_eq!(asked.last().unwrap().0, "observe");

    // A build that is no component is told, and nothing else changes.
    fs::write(&component, b"half a build").unwrap();
    dev.wait_until("the broken build is told", || {
        dev.story().contains("connector `bank` stays as it was")
    });
    let meanwhile = caller.wire("inv-4");
    assert_eq!(caller.confirmed_by(&dev, &meanwhile), new);

    // The next good one is swapped in again.
    fs::write(&component, rebuilt(&first, "third")).unwrap();
    dev.wait_until("the next build is swapped in", || swapped(2)(&dev));
    let last = caller.wire("inv-5");
    let newest = caller.confirmed_by(&dev, &last);
    assert!(newest != new && newest != old, "{newest}");
    let references: Vec<Value> = bank.wires().iter().map(|wire| wire["reference"].clone()).collect();
    assert_eq!(references, ["inv-3", "inv-4", "inv-5"]);
}
