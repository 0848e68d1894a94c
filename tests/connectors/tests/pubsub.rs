//! The `pubsub` connector against Google's own emulator (`google-cloud-cli-pubsub-emulator`): another program than the model of the
//! upstream that its cases know.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tape_connector_port::{Connectors, EffectCall, FailureKind, Outcome, Progress, Unmarked};
use tape_connector_tests::{Setup, effect};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// Where Google's packages put it; `TAPE_PUBSUB_EMULATOR` names another place.
const EMULATOR: &str = "/usr/lib/google-cloud-sdk/platform/pubsub-emulator/bin/cloud-pubsub-emulator";
const PUBSUB: &str = "pubsub";
const ANSWER_MAX: Duration = Duration::from_secs(30);
const TOPIC: &str = "projects/shop/topics/orders";
const SUBSCRIPTION: &str = "projects/shop/subscriptions/orders-worker";

struct Emulator {
    child: Child,
    address: String,
    _folder: TempDir,
}

impl Emulator {
    async fn start() -> Self {
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::var_os("TAPE_PUBSUB_EMULATOR").map_or_else(|| PathBuf::from(EMULATOR), PathBuf::from);
        let child = Command::new(program)
            .args(["--host=127.0.0.1", &format!("--port={}", address.port())])
            .arg(format!("--data-dir={}", folder.path().display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the emulator is installed: apt-get install google-cloud-cli-pubsub-emulator, or set TAPE_PUBSUB_EMULATOR");
        let emulator = Self {
            child,
            address: address.to_string(),
            _folder: folder,
        };
        let began = Instant::now();
        while TcpStream::connect(&emulator.address).await.is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the emulator does not listen"
            );
            sleep(Duration::from_millis(20)).await;
        }
        emulator.ask("PUT", TOPIC, &json!({})).await;
        emulator.ask("PUT", SUBSCRIPTION, &json!({"topic": TOPIC})).await;
        emulator
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let body = body.to_string();
        let request = format!(
            "{method} /v1/{path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        // It leaves the connection open: the answer is as long as it says.
        let mut answer = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .unwrap();
                if body.len() >= length.parse().unwrap() {
                    assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {text}");
                    return serde_json::from_str(body).unwrap();
                }
            }
            let mut chunk = [0; 4096];
            let read = timeout(ANSWER_MAX, stream.read(&mut chunk)).await.unwrap().unwrap();
            assert!(read > 0, "{method} {path}: {text}");
            answer.extend_from_slice(&chunk[..read]);
        }
    }

    /// What a subscriber is given.
    async fn pull(&self) -> Vec<Value> {
        let pulled = self
            .ask("POST", &format!("{SUBSCRIPTION}:pull"), &json!({"maxMessages": 10}))
            .await;
        let messages = pulled["receivedMessages"].as_array().cloned().unwrap_or_default();
        messages
            .into_iter()
            .map(|received| received["message"].clone())
            .collect()
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn message(topic: &str) -> EffectCall {
    let payload = json!({"topic": topic, "data": {"order": 7}, "attributes": {"region": "eu"}});
    EffectCall {
        idempotent: true,
        ..effect("publish", &payload)
    }
}

#[tokio::test]
async fn a_message_reaches_a_subscriber_of_the_emulator() {
    let mut emulator = Emulator::start().await;
    let origin = format!("http://{}", emulator.address);
    let config = json!({"project": "shop", "base_url": origin, "emulator": true});
    let host = Setup::new("tape-connector-pubsub", PUBSUB, config)
        .host(&origin)
        .start()
        .await;
    let call = message("orders");
    let publish = || host.dispatch(PUBSUB, None, &call, &Unmarked);

    let called = publish().await.unwrap();
    let Outcome::Confirmed(receipt) = &called.outcome else {
        panic!("{called:?}")
    };
    let [published] = &emulator.pull().await[..] else {
        panic!("not one message")
    };
    assert_eq!(published["messageId"], receipt.external_ref.as_str());
    assert_eq!(published["data"], "eyJvcmRlciI6N30=", "{{\"order\":7}} in base64");
    assert_eq!(published["attributes"]["region"], "eu");
    assert_eq!(published["attributes"]["tape-key"], call.idempotency_key.as_str());

    // Again, as after a lost answer: another message, by whose key a subscriber sees that it is the same.
    publish().await.unwrap();
    let keys: Vec<Value> = emulator
        .pull()
        .await
        .iter()
        .map(|message| message["attributes"]["tape-key"].clone())
        .collect();
    assert!(keys.iter().all(|key| *key == call.idempotency_key.as_str()), "{keys:?}");

    let nowhere = host
        .dispatch(PUBSUB, None, &message("no-such-topic"), &Unmarked)
        .await
        .unwrap();
    let Outcome::Failed(failure) = &nowhere.outcome else {
        panic!("{nowhere:?}")
    };
    assert!(
        failure.kind == FailureKind::Rejected && !failure.retryable,
        "{failure:?}"
    );
    assert!(failure.message.contains("Topic not found"), "{failure:?}");

    emulator.stop();
    let gone = publish().await.unwrap();
    // A kept connection may have taken a request with it: then it is doubt, which publishing again settles.
    assert!(
        matches!(gone.outcome, Outcome::Retry { .. } | Outcome::Unknown(_)),
        "{gone:?}"
    );
    assert!(gone.evidence.furthest() != Progress::Answered, "{gone:?}");
}
