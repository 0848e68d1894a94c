//! Each call is a span that says who was asked for what and how it ended, and the caller's trace goes upstream.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tape_connector_port::{Connectors, Unmarked};
use tape_connector_tests::{PROBE, RefusingMark, Setup, Upstream, effect, obligation};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

type Fields = BTreeMap<String, String>;

/// The fields of every span of a connector's call, in the order in which they began.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<(u64, Fields)>>>);

struct Read<'a>(&'a mut Fields);

impl Visit for Read<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(
            field.name().to_owned(),
            format!("{value:?}").trim_matches('"').to_owned(),
        );
    }
}

impl<S: tracing::Subscriber> Layer<S> for Calls {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if attributes.metadata().name() == "connector_call" {
            let mut fields = Fields::new();
            attributes.record(&mut Read(&mut fields));
            self.0.lock().unwrap().push((id.into_u64(), fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut calls = self.0.lock().unwrap();
        if let Some((_, fields)) = calls.iter_mut().rev().find(|(one, _)| *one == id.into_u64()) {
            values.record(&mut Read(fields));
        }
    }
}

impl Calls {
    fn take(&self) -> Vec<Fields> {
        self.0.lock().unwrap().drain(..).map(|(_, fields)| fields).collect()
    }
}

fn script(upstream: &Upstream, headers: &Value) -> Value {
    json!({
        "steps": [{"send": {"method": "POST", "url": upstream.url("/ok"), "headers": headers}}],
        "answer": {"confirmed": {"external_ref": "x-1", "response": "{}"}}
    })
}

#[tokio::test]
async fn a_call_is_a_span_with_its_connector_and_its_outcome() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let calls = Calls::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(calls.clone()));

    let call = effect("play", &script(&upstream, &json!([])));
    let called = host.dispatch(PROBE, None, &call, &Unmarked).await.unwrap();
    let [span] = &calls.take()[..] else {
        panic!("not one span")
    };
    let expected = [
        ("connector", PROBE),
        ("version", "1.0.0"),
        ("digest", &called.digest),
        ("question", "dispatch"),
        ("operation", "play"),
        ("tenant", &call.tenant),
        ("run", &call.run_id),
        ("key", &call.idempotency_key),
        ("outcome", "confirmed"),
    ];
    for (name, value) in expected {
        assert_eq!(span.get(name).map(String::as_str), Some(value), "{name} of {span:?}");
    }

    let outcome_of = |calls: &Calls| calls.take().pop().and_then(|mut span| span.remove("outcome"));
    let absent = effect(
        "play",
        &json!({"steps": [{"send": {"method": "GET", "url": upstream.url("/ok")}}], "answer": "absent"}),
    );
    host.observe(PROBE, None, &absent).await.unwrap();
    assert_eq!(outcome_of(&calls).unwrap(), "absent");
    let undo = obligation(call.clone(), None, &script(&upstream, &json!([])));
    host.compensate(PROBE, None, &undo, &Unmarked).await.unwrap();
    assert_eq!(outcome_of(&calls).unwrap(), "resolved");
    let broken = effect("play", &json!({"steps": [{"panic": "no"}], "answer": "absent"}));
    host.status_check(PROBE, None, &broken, "x").await.unwrap();
    assert_eq!(outcome_of(&calls).unwrap(), "inconclusive");
    host.dispatch(PROBE, None, &call, &RefusingMark).await.unwrap_err();
    assert_eq!(outcome_of(&calls).unwrap(), "TAPE-C005");
}

#[tokio::test]
async fn the_trace_is_the_callers_whatever_the_guest_says() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let forged = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-01";
    let mut call = effect(
        "play",
        &script(
            &upstream,
            &json!([["TraceParent", forged], ["host", "elsewhere.example"]]),
        ),
    );
    host.dispatch(PROBE, None, &call, &Unmarked).await.unwrap();
    let wasi = json!({"wasi-send": {
        "method": "POST", "authority": upstream.address().to_string(), "path": "/ok", "body": "",
        "headers": [["traceparent", forged]]
    }});
    let trace_parent = call.trace_parent.clone().unwrap();
    call.payload_json = json!({"steps": [wasi], "answer": {"unknown": {"reason": "{{last}}"}}}).to_string();
    host.dispatch(PROBE, None, &call, &Unmarked).await.unwrap();
    let received = upstream.received();
    assert_eq!(received.len(), 2);
    for request in received {
        let lines: Vec<_> = request
            .lines()
            .filter(|line| line.starts_with("traceparent: "))
            .collect();
        assert_eq!(lines, [format!("traceparent: {trace_parent}")], "{request}");
        assert!(!request.contains("elsewhere.example"), "{request}");
    }
}
