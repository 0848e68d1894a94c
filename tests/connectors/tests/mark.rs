//! The mark before the byte: nothing that could change the upstream leaves before its caller has written that it may.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use serde_json::{Value, json};
use tape_connector_port::{ConnectorError, Connectors, Outcome};
use tape_connector_tests::{CountingMark, PROBE, RefusingMark, Setup, Upstream, effect, obligation};

fn script(upstream: &Upstream, requests: &[(&str, &str)]) -> Value {
    let send = |&(method, path): &(&str, &str)| json!({"send": {"method": method, "url": upstream.url(path)}});
    let steps: Vec<_> = requests.iter().map(send).collect();
    json!({"steps": steps, "answer": {"confirmed": {"external_ref": "x-1", "response": "{}"}}})
}

#[tokio::test]
async fn the_mark_comes_before_the_first_unsafe_request_and_once() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let mark = CountingMark::new(&upstream);
    let call = effect(
        "play",
        &script(&upstream, &[("GET", "/ok"), ("POST", "/ok"), ("PUT", "/ok")]),
    );
    let outcome = host.dispatch(PROBE, None, &call, &mark).await.unwrap().outcome;
    assert!(matches!(outcome, Outcome::Confirmed(_)), "{outcome:?}");
    assert_eq!(
        (mark.asked(), mark.received_before()),
        (1, 1),
        "only the GET may have arrived by then"
    );
    assert_eq!(upstream.received().len(), 3);
}

#[tokio::test]
async fn reading_needs_no_mark() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let mark = CountingMark::new(&upstream);
    let call = effect("play", &script(&upstream, &[("GET", "/ok"), ("HEAD", "/status/200")]));
    host.dispatch(PROBE, None, &call, &mark).await.unwrap();
    assert_eq!(mark.asked(), 0);
}

#[tokio::test]
async fn without_the_mark_nothing_leaves() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let payload = script(&upstream, &[("POST", "/ok"), ("POST", "/ok")]);
    let refused = ConnectorError::MarkRefused {
        reason: "a newer driver owns this effect".to_owned(),
    };
    let call = effect("play", &payload);
    assert_eq!(
        host.dispatch(PROBE, None, &call, &RefusingMark).await.unwrap_err(),
        refused
    );
    let call = obligation(call, None, &payload);
    assert_eq!(
        host.compensate(PROBE, None, &call, &RefusingMark).await.unwrap_err(),
        refused
    );
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_question_cannot_change_anything() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let mut payload = script(&upstream, &[("GET", "/ok"), ("POST", "/ok")]);
    payload["answer"] = json!({"confirmed": {"external_ref": "{{last}}", "response": "{}"}});
    let called = host.observe(PROBE, None, &effect("play", &payload)).await.unwrap();
    assert!(
        format!("{:?}", called.outcome).contains("observe and status-check only read"),
        "{:?}",
        called.outcome
    );
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn the_callers_trace_goes_upstream() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let call = effect("play", &script(&upstream, &[("POST", "/ok")]));
    host.dispatch(PROBE, None, &call, &CountingMark::new(&upstream))
        .await
        .unwrap();
    let expected = format!("traceparent: {}", call.trace_parent.unwrap());
    assert!(upstream.received()[0].contains(&expected), "{:?}", upstream.received());
}
