//! The kit finds what is wrong: connectors with one defect each, and what must notice it. And its fake upstream breaks as it says.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tape_connector_kit::{Call, Fake, Fault, Grant, Kit, Problem, Recorder, Report, Route, Subject};
use tape_connector_tests::{connectors_folder, subject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The configured connector, with a defect laid over its configuration.
fn defective(change: impl FnOnce(&mut Subject)) -> Subject {
    let mut subject = subject("http");
    subject.cases.clear();
    change(&mut subject);
    subject
}

fn operation(subject: &mut Subject) -> &mut Value {
    &mut subject.setup.config["operations"]["create_invoice"]
}

async fn report(subject: Subject) -> Report {
    Kit::open(subject)
        .await
        .unwrap_or_else(|problem| panic!("{problem}"))
        .run()
        .await
}

/// That `fact` is broken, and that the report says why in these words.
async fn notices(fact: &str, why: &str, change: impl FnOnce(&mut Subject)) {
    let report = report(defective(change)).await;
    let broken: BTreeMap<_, _> = report
        .broken()
        .map(|line| (line.name.as_str(), serde_json::to_string(&line.finding).unwrap()))
        .collect();
    let found = broken
        .get(fact)
        .unwrap_or_else(|| panic!("{fact:?} was not noticed; broken: {broken:?}"));
    assert!(found.contains(why), "{found}");
}

const LOST: &str = "a lost answer is unknown, and what happened is found";

#[tokio::test]
async fn a_connector_that_cannot_settle_doubt_is_noticed() {
    notices(LOST, "nothing can settle the doubt", |subject| {
        operation(subject)["observe"] = Value::Null;
        operation(subject)["status_check"] = Value::Null;
    })
    .await;
}

#[tokio::test]
async fn books_that_are_read_wrongly_are_noticed() {
    notices(LOST, "it came to \\\"absent\\\", expected present", |subject| {
        operation(subject)["observe"]["where"] = json!({"/status": "settled"});
    })
    .await;
    notices(
        "what never left may be tried again, and is absent",
        "expected absent",
        |subject| {
            operation(subject)["observe"]["absent_statuses"] = json!([]);
            operation(subject)["observe"]["request"]["path"] = json!("/invoices/in_1");
            operation(subject)["observe"]["items"] = Value::Null;
        },
    )
    .await;
}

#[tokio::test]
async fn a_claim_to_be_idempotent_is_noticed() {
    notices(
        "the same key twice is one effect",
        "hold 2 entries, expected 1",
        |subject| {
            operation(subject)["semantics"] = json!("IDEMPOTENT");
        },
    )
    .await;
}

#[tokio::test]
async fn undoing_without_looking_is_noticed() {
    notices(
        "undone twice is undone once",
        "it came to \\\"failed\\\", expected resolved",
        |subject| {
            operation(subject)["compensate"]["look"] = Value::Null;
        },
    )
    .await;
}

#[tokio::test]
async fn undoing_nothing_is_noticed() {
    notices(
        "undone twice is undone once",
        "the upstream's books are as they were",
        |subject| {
            operation(subject)["compensate"]["look"] = Value::Null;
            operation(subject)["compensate"]["request"] =
                json!({"method": "GET", "path": "/invoices/{{receipt/external_ref}}"});
        },
    )
    .await;
}

#[tokio::test]
async fn a_refusal_that_is_taken_for_success_is_noticed() {
    notices(
        "every status comes to what it means",
        "404: it came to \\\"confirmed\\\", expected failed",
        |subject| {
            operation(subject)["success"] = json!({"statuses": [201, 404]});
        },
    )
    .await;
}

#[tokio::test]
async fn a_secret_that_is_not_used_and_a_host_that_is_not_asked_for_are_noticed() {
    notices(
        "secrets arrive, and come out nowhere",
        "secret `other` never arrived",
        |subject| {
            subject
                .setup
                .secrets
                .insert("other".to_owned(), "value-of-other".to_owned());
        },
    )
    .await;
    notices(
        "it reaches no host that it does not ask for",
        "connector.toml does not",
        |subject| {
            subject.manifest.asks.hosts.clear();
        },
    )
    .await;
}

#[tokio::test]
async fn a_manifest_that_says_something_else_is_noticed() {
    notices(
        "it is who its manifest says",
        "describe() says \\\"1.0.0\\\"",
        |subject| {
            subject.manifest.version = "2.0.0".to_owned();
        },
    )
    .await;
}

#[tokio::test]
async fn a_request_that_nothing_was_said_about_is_shown() {
    notices(
        "the sample effect is confirmed, once",
        "nothing was said about it",
        |subject| {
            subject.setup.routes.remove(0);
        },
    )
    .await;
}

#[tokio::test]
async fn a_case_that_does_not_hold_shows_answer_and_request() {
    let mut subject = subject("bank");
    subject.cases.truncate(1);
    subject.cases[0].1.steps[0].expect = json!({"outcome": "confirmed", "external_ref": "w-9"});
    let shown = report(subject).await.to_string();
    for expected in [
        "answer.external_ref is \"w-1\", expected \"w-9\"",
        "POST /wires HTTP/1.1",
        "the answer: {",
    ] {
        assert!(shown.contains(expected), "{shown}");
    }
}

#[tokio::test]
async fn a_folder_that_makes_no_sense_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let problem = |folder: &std::path::Path| Subject::read(folder, Vec::new()).unwrap_err().to_string();
    assert!(problem(folder.path()).contains("connector.toml") && problem(folder.path()).contains("tape connector new"));
    let bank = connectors_folder().join("bank");
    std::fs::copy(bank.join("connector.toml"), folder.path().join("connector.toml")).unwrap();
    std::fs::create_dir(folder.path().join("cases")).unwrap();
    std::fs::write(
        folder.path().join("cases/upstream.yaml"),
        "effect: {operation: wire}\nroute: []\n",
    )
    .unwrap();
    let text = problem(folder.path());
    assert!(
        text.contains("cases/upstream.yaml") && text.contains("`route`"),
        "{text}"
    );
}

#[tokio::test]
async fn a_component_that_is_none_is_refused_by_its_code() {
    let mut subject = subject("bank");
    subject.component = b"\0asm\x01\0\0\0".to_vec();
    let Err(Problem::Host { code, .. }) = Kit::open(subject).await else {
        panic!()
    };
    assert_eq!(code, Some("TAPE-C021"));
}

#[tokio::test]
async fn what_is_recorded_can_be_played() {
    // The model of one world is the "real" upstream of the other.
    let kit = Kit::open(subject("http"))
        .await
        .unwrap_or_else(|problem| panic!("{problem}"));
    let real = kit.world(Grant::All, &Value::Null).await.unwrap();
    let recorder = Recorder::open(&real.fake.origin())
        .await
        .unwrap_or_else(|problem| panic!("{problem}"));
    let secrets = kit.subject.setup.secrets.clone();
    let world = kit.world(Grant::Nobody(recorder.origin()), &Value::Null).await.unwrap();
    let told = world.dispatch(&world.effect()).await;
    assert_eq!(told.outcome(), "confirmed", "{}", told.answer);
    let recording = recorder
        .take("recorded", Call::Dispatch, &told, &secrets)
        .unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!((recording.requests, real.fake.entries()), (1, 1));
    assert!(!recording.yaml.contains("tok-4711"), "{}", recording.yaml);

    let folder = tempfile::tempdir().unwrap();
    let http = connectors_folder().join("http");
    std::fs::create_dir(folder.path().join("cases")).unwrap();
    for file in ["connector.toml", "cases/upstream.yaml"] {
        std::fs::copy(http.join(file), folder.path().join(file)).unwrap();
    }
    std::fs::write(folder.path().join("cases/recorded.yaml"), &recording.yaml).unwrap();
    let again =
        Subject::read(folder.path(), kit.subject.component.clone()).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(again.cases.len(), 1);
    let report = report(again).await;
    assert!(report.holds(), "{report}\n{}", recording.yaml);
}

/// What is left on the connection after one request, and whether it was reset.
async fn ask(fake: &Fake, method: &str) -> (String, bool) {
    let mut stream = TcpStream::connect(fake.origin().trim_start_matches("http://"))
        .await
        .unwrap();
    let request = format!("{method} /things HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
    let written = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    (String::from_utf8(answer).unwrap(), written.is_err() || read.is_err())
}

#[tokio::test]
async fn every_fault_does_what_it_says() {
    let routes: Vec<Route> = serde_json::from_value(json!([
        {"on": "POST /things", "adds": {"id": "{{n}}"}, "reply": {"status": 201, "json": {"id": "{{entry/id}}"}}},
        {"on": "GET /things", "reply": {"json": "{{entries}}"}}
    ]))
    .unwrap();
    let fake = Fake::open(routes, Vec::new()).await.unwrap();
    let whole = ask(&fake, "POST").await.0;
    assert!(
        whole.starts_with("HTTP/1.1 201 Created\r\n") && whole.ends_with("{\"id\":1}"),
        "{whole}"
    );

    // Fault, what comes back, whether the connection is reset, entries written.
    let cases = [
        (Fault::ResetBefore, String::new(), true, 0),
        (Fault::ResetAfter, String::new(), true, 0),
        (Fault::Lose, String::new(), false, 1),
        (Fault::Cut(7), whole[..7].to_owned(), false, 1),
        (Fault::DelayMs(1), whole.clone(), false, 1),
        (Fault::AnswerTwice, whole.repeat(2), false, 1),
        (Fault::BookTwice, whole.clone(), false, 2),
    ];
    for (fault, expected, is_reset, entries) in cases {
        fake.reset(BTreeMap::new(), None);
        fake.break_next(fault);
        // Reading is never broken.
        assert!(ask(&fake, "GET").await.0.ends_with("[]"), "{fault:?}");
        let (answer, reset) = ask(&fake, "POST").await;
        let expected = if fault == Fault::BookTwice {
            expected.replace("\"id\":1", "\"id\":2")
        } else {
            expected
        };
        assert_eq!(
            (answer, reset, fake.entries()),
            (expected, is_reset, entries),
            "{fault:?}"
        );
        fake.reset(BTreeMap::new(), None);
        assert_eq!(ask(&fake, "POST").await.0, whole, "one request is broken, not the next");
    }
}
