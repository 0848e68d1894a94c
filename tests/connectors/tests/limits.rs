//! What a limit refuses has not happened and may be asked again: it is named, it says when, and it is to be seen.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::time::Duration;

use serde_json::{Value, json};
use tape_connector_port::{CircuitState, ConnectorError, ConnectorState, Connectors, Outcome, Unmarked};
use tape_connector_tests::{CountingMark, PROBE, Setup, TENANT, Upstream, effect, nobody_listens};
use tape_host::{Deployment, Host, HostConfig};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

fn post(url: &str) -> Value {
    json!({
        "steps": [{"send": {"method": "POST", "url": url}}],
        "answer": {"confirmed": {"external_ref": "x-1", "response": "{}"}}
    })
}

async fn call(host: &Host, tenant: &str, name: &str, script: &Value) -> Result<Outcome, ConnectorError> {
    let mut call = effect("play", script);
    tenant.clone_into(&mut call.tenant);
    Ok(host.dispatch(name, None, &call, &Unmarked).await?.outcome)
}

fn refusal(answer: &Result<Outcome, ConnectorError>) -> Option<&str> {
    match answer {
        Err(ConnectorError::Overloaded { limit, .. }) => Some(limit),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

fn state(host: &Host, tenant: &str, name: &str) -> ConnectorState {
    let mut states = host.states().into_iter();
    states
        .find(|state| state.tenant == tenant && state.name == name)
        .expect("it is deployed")
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn calls_beyond_the_rate_wait_a_moment_or_are_told_when_to_come_again() {
    let upstream = Upstream::start().await;
    let setup = Setup::probe().host(&upstream.origin());
    let host = setup.limits(|limits| limits.calls_per_s = 2).start().await;
    let script = post(&upstream.url("/ok"));
    let mark = CountingMark::new(&upstream);
    let marked = effect("play", &script);

    let one = || call(&host, TENANT, PROBE, &script);
    let (a, b, c, d) = tokio::join!(one(), one(), one(), one());
    assert!([a, b, c, d].iter().all(|answer| refusal(answer).is_none()));
    let (e, f, g) = tokio::join!(one(), one(), host.dispatch(PROBE, None, &marked, &mark));
    assert!(refusal(&e).is_none() && refusal(&f).is_none());
    let Err(ConnectorError::Overloaded {
        limit, retry_after_ms, ..
    }) = g
    else {
        panic!("it was let through: {g:?}")
    };
    assert_eq!(limit, "limits.calls_per_s");
    assert_eq!((upstream.received().len(), mark.asked()), (6, 0), "nothing of it left");
    let seen = state(&host, TENANT, PROBE);
    assert_eq!((seen.rate_max, seen.refused, seen.calls), (2, 1, 6));
    assert!(seen.rate_used > 0, "{seen:?}");

    sleep(Duration::from_millis(retry_after_ms)).await;
    assert!(refusal(&call(&host, TENANT, PROBE, &script).await).is_none());
}

#[tokio::test]
async fn a_swap_does_not_forget_what_the_upstream_is_spared() {
    let upstream = Upstream::start().await;
    let setup = || {
        Setup::probe()
            .host(&upstream.origin())
            .limits(|limits| limits.calls_per_s = 1)
    };
    let host = setup().start().await;
    let script = post(&upstream.url("/ok"));
    let one = || call(&host, TENANT, PROBE, &script);
    // From before the first call: loading may take longer than the pause that is left.
    let began = Instant::now();
    assert!(refusal(&one().await).is_none());
    host.load(setup().deployment()).await.unwrap();
    assert!(refusal(&one().await).is_none());
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "the new version has a bucket of its own"
    );
}

#[tokio::test]
async fn calls_at_the_same_time_are_bounded_by_connector_and_by_tenant() {
    let upstream = Upstream::start().await;
    let host = Host::new(HostConfig {
        calls_max: 16,
        tenant_calls_max: 2,
        ..HostConfig::default()
    })
    .unwrap();
    for (tenant, name, concurrent_calls) in [("one", "first", 1), ("one", "second", 9), ("two", "first", 9)] {
        let setup = Setup::probe()
            .host(&upstream.origin())
            .limits(|limits| limits.concurrent_calls = concurrent_calls);
        let deployment = Deployment {
            tenant: tenant.to_owned(),
            name: name.to_owned(),
            ..setup.deployment()
        };
        host.load(deployment).await.unwrap();
    }
    let (ok, hang) = (post(&upstream.url("/ok")), post(&upstream.url("/hang")));

    let mut callers = JoinSet::new();
    let mut hanging = |tenant: &'static str, name: &'static str| {
        let (host, script) = (host.clone(), hang.clone());
        callers.spawn(async move { call(&host, tenant, name, &script).await });
    };
    hanging("one", "first");
    until("the first runs", || state(&host, "one", "first").running == 1).await;
    assert_eq!(
        refusal(&call(&host, "one", "first", &ok).await),
        Some("limits.concurrent_calls")
    );
    assert!(refusal(&call(&host, "one", "second", &ok).await).is_none());

    hanging("one", "second");
    until("the second runs", || state(&host, "one", "second").tenant_running == 2).await;
    assert_eq!(
        refusal(&call(&host, "one", "second", &ok).await),
        Some("the tenant's calls at the same time")
    );
    assert!(
        refusal(&call(&host, "two", "first", &ok).await).is_none(),
        "another tenant is not held up"
    );
    let seen = state(&host, "one", "first");
    assert_eq!(
        (
            seen.running,
            seen.running_max,
            seen.tenant_running,
            seen.tenant_running_max,
            seen.refused
        ),
        (1, 1, 2, 2, 1)
    );

    // A caller that goes away gives its turn back.
    callers.abort_all();
    until("both are gone", || state(&host, "one", "first").tenant_running == 0).await;
    assert!(refusal(&call(&host, "one", "first", &ok).await).is_none());
}

#[tokio::test]
async fn an_upstream_that_answers_nobody_is_left_alone_for_a_while() {
    let (upstream, nobody) = (Upstream::start().await, nobody_listens().await);
    let setup = Setup::probe().host(&upstream.origin()).host(&nobody);
    let host = setup.start().await;
    let other = Deployment {
        tenant: "other".to_owned(),
        ..setup.deployment()
    };
    host.load(other).await.unwrap();
    let (ok, dead) = (post(&upstream.url("/ok")), post(&format!("{nobody}/ok")));
    assert_eq!(state(&host, TENANT, PROBE).circuit.state, CircuitState::Closed);

    for failures in 0..10 {
        assert_eq!(state(&host, TENANT, PROBE).circuit.failures_in_a_row, failures);
        call(&host, TENANT, PROBE, &dead).await.unwrap();
        call(&host, "other", PROBE, &ok).await.unwrap();
    }
    let seen = state(&host, TENANT, PROBE);
    assert_eq!(
        (seen.circuit.state, seen.circuit.failures_in_a_row, seen.failures),
        (CircuitState::Open, 10, 10)
    );
    assert!(
        seen.circuit.since_ms > 0 && (1..=5_000).contains(&seen.circuit.retry_after_ms),
        "{seen:?}"
    );

    let mark = CountingMark::new(&upstream);
    let error = host
        .dispatch(PROBE, None, &effect("play", &ok), &mark)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ConnectorError::CircuitOpen { last_error, .. } if last_error == "the upstream did not answer"),
        "{error}"
    );
    assert!(error.is_retryable() && error.retry_after_ms().is_some() && mark.asked() == 0);
    assert!(matches!(
        call(&host, "other", PROBE, &ok).await,
        Ok(Outcome::Confirmed(_))
    ));
}
