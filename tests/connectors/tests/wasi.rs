//! wasi:http, for code that insists on it: the same grants, the same secrets, the same mark, the same evidence.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use serde_json::{Value, json};
use tape_connector_port::{Called, ConnectorError, Connectors, Mark, Outcome, Progress};
use tape_connector_tests::{CountingMark, PROBE, RefusingMark, Setup, Upstream, effect};
use tape_host::Host;

fn post(upstream: &Upstream, path: &str) -> Value {
    json!({"wasi-send": {
        "method": "POST", "authority": upstream.address().to_string(), "path": path, "body": "{{secret:token}}",
        "headers": [["authorization", "Bearer {{secret:token}}"]]
    }})
}

async fn play(host: &Host, step: Value, mark: &dyn Mark) -> Result<Called<Outcome>, ConnectorError> {
    let script = json!({"steps": [step], "answer": {"unknown": {"reason": "{{last}}"}}});
    host.dispatch(PROBE, None, &effect("play", &script), mark).await
}

fn setup(upstream: &Upstream) -> Setup {
    Setup::probe()
        .host(&upstream.origin())
        .secret("token", "s3cr3t", &[&upstream.origin()])
}

#[tokio::test]
async fn a_granted_request_goes_out_marked_filled_in_and_recorded() {
    let upstream = Upstream::start().await;
    let host = setup(&upstream).start().await;
    let mark = CountingMark::new(&upstream);
    let called = play(&host, post(&upstream, "/echo"), &mark).await.unwrap();
    let [request] = &upstream.received()[..] else {
        panic!("not one request: {:?}", called.outcome)
    };
    assert!(
        request.contains("authorization: Bearer s3cr3t\r\n") && request.ends_with("\r\n\r\ns3cr3t"),
        "{request}"
    );
    assert_eq!((mark.asked(), mark.received_before()), (1, 0));
    assert_eq!(called.evidence.furthest(), Progress::Answered);
    let text = format!("{called:?}");
    assert!(
        text.contains("Bearer {{secret:token}}") && !text.contains("s3cr3t"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_not_granted_does_not_leave() {
    let (upstream, other) = (Upstream::start().await, Upstream::start().await);
    let host = setup(&upstream).start().await;
    let called = play(&host, post(&other, "/ok"), &CountingMark::new(&other))
        .await
        .unwrap();
    assert!(
        matches!(&called.outcome, Outcome::Retry { reason, .. } if reason.contains("HttpRequestDenied")),
        "{:?}",
        called.outcome
    );
    assert_eq!(called.evidence.furthest(), Progress::NotSent);
    assert!(other.received().is_empty());
}

#[tokio::test]
async fn without_the_mark_nothing_leaves() {
    let upstream = Upstream::start().await;
    let host = setup(&upstream).start().await;
    let error = play(&host, post(&upstream, "/ok"), &RefusingMark).await.unwrap_err();
    assert!(matches!(error, ConnectorError::MarkRefused { .. }), "{error}");
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_doubt() {
    let upstream = Upstream::start().await;
    let host = setup(&upstream).start().await;
    for path in ["/cut", "/cut-body"] {
        let called = play(&host, post(&upstream, path), &CountingMark::new(&upstream))
            .await
            .unwrap();
        assert!(matches!(called.outcome, Outcome::Unknown(_)), "{:?}", called.outcome);
        assert_eq!(called.evidence.furthest(), Progress::Sent);
    }
}
