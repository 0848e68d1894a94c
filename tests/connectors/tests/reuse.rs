//! Instances that serve several calls, where that is granted: only of one tenant, one at a time, only after an answer, and only so
//! often.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tape_connector_port::{Called, Connectors, Deployable, Mark, Outcome, Progress, Unmarked};
use tape_connector_tests::{
    Components, CountingMark, PROBE, Setup, TENANT, Upstream, effect, probe_description, probe_version,
};
use tape_host::{Deployment, Host, HostConfig, LoadError, Secret, Secrets, Source, Wanted};
use tokio::task::JoinSet;

async fn play(host: &Host, tenant: &str, steps: Value) -> Called<Outcome> {
    play_marked(host, tenant, steps, &Unmarked).await
}

async fn play_marked(host: &Host, tenant: &str, steps: Value, mark: &dyn Mark) -> Called<Outcome> {
    let mut call = effect(
        "play",
        &json!({"steps": steps, "answer": {"unknown": {"reason": "{{last}}"}}}),
    );
    tenant.clone_into(&mut call.tenant);
    host.dispatch(PROBE, None, &call, mark)
        .await
        .expect("the call takes place")
}

fn reason(called: Called<Outcome>) -> String {
    match called.outcome {
        Outcome::Retry { reason, .. } => reason,
        Outcome::Unknown(doubt) => doubt.reason,
        other => panic!("neither unknown nor a retry: {other:?}"),
    }
}

/// Tells the instance something; what it remembers by then.
async fn tell(host: &Host, tenant: &str, text: &str) -> String {
    reason(play(host, tenant, json!([{"remember": text}])).await)
}

async fn tell_all(host: &Host, texts: &[&str]) -> Vec<String> {
    let mut memories = Vec::new();
    for text in texts {
        memories.push(tell(host, TENANT, text).await);
    }
    memories
}

#[tokio::test]
async fn a_fresh_instance_serves_each_call_unless_more_is_granted() {
    let host = Setup::probe().start().await;
    assert_eq!(tell_all(&host, &["a", "b"]).await, ["a", "b"]);
    let host = Setup::probe().reuse(1).start().await;
    assert_eq!(tell_all(&host, &["a", "b"]).await, ["a", "b"]);
}

#[tokio::test]
async fn an_instance_serves_as_many_calls_as_are_granted() {
    let host = Setup::probe().reuse(3).start().await;
    assert_eq!(
        tell_all(&host, &["a", "b", "c", "d", "e"]).await,
        ["a", "a b", "a b c", "d", "d e"]
    );
    let error = host
        .load(Setup::probe().reuse(10_001).deployment())
        .await
        .expect_err("that is too many");
    assert!(
        matches!(&error, LoadError::Grant { .. }) && error.to_string().contains("reuse_calls: 10001"),
        "{error}"
    );
}

#[tokio::test]
async fn one_tenants_memory_never_meets_another_tenant() {
    let host = Setup::probe().reuse(100).start().await;
    let other = Deployment {
        tenant: "other".to_owned(),
        ..Setup::probe().reuse(100).deployment()
    };
    host.load(other).await.unwrap();
    let mut callers = JoinSet::new();
    for (caller, tenant) in [TENANT, "other"].repeat(4).into_iter().enumerate() {
        let host = host.clone();
        callers.spawn(async move {
            for round in 0..25 {
                let memory = tell(&host, tenant, &format!("{tenant}:{caller}:{round}")).await;
                assert!(
                    memory.split(' ').all(|text| text.split(':').next() == Some(tenant)),
                    "{tenant} saw {memory}"
                );
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_serves_one_call_at_a_time() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).reuse(1_000).start().await;
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let (host, url) = (host.clone(), upstream.url("/ok"));
        callers.spawn(async move {
            for round in 0..10 {
                let me = format!("{caller}:{round}");
                let get = json!({"send": {"method": "GET", "url": url}});
                let steps = json!([{"remember": me}, get, {"remember": "end"}]);
                let memory = reason(play(&host, TENANT, steps).await);
                assert!(
                    memory.ends_with(&format!("{me} end")),
                    "somebody spoke in between: {memory}"
                );
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn an_instance_that_broke_serves_no_other_call() {
    let upstream = Upstream::start().await;
    let setup = Setup::probe().host(&upstream.origin()).reuse(100);
    let host = setup
        .limits(|limits| {
            limits.timeout_ms = 300;
            limits.memory_bytes = 8 * 1024 * 1024;
        })
        .start()
        .await;
    let not_json = json!({
        "steps": [{"remember": "breach"}, {"send": {"method": "POST", "url": upstream.url("/ok")}}],
        "answer": {"confirmed": {"external_ref": "", "response": "not json"}}
    });
    for breaks in [
        json!([{"remember": "x"}, {"panic": "out of order"}]),
        json!([{"remember": "x"}, "loop"]),
        json!([{"remember": "x"}, "wait"]),
        json!([{"remember": "x"}, "allocate"]),
        json!([{"remember": "x"}, "recurse"]),
        json!([{"remember": "x"}, "exit"]),
        json!([{"remember": "x"}, {"random": 65_537}]),
    ] {
        assert_eq!(tell_all(&host, &["a", "b"]).await, ["a", "a b"]);
        play(&host, TENANT, breaks.clone()).await;
        assert_eq!(tell(&host, TENANT, "new").await, "new", "after {breaks}");
        // The next round begins with an instance of its own, too.
        play(&host, TENANT, json!([{"panic": "clear"}])).await;
    }
    tell(&host, TENANT, "a").await;
    host.dispatch(PROBE, None, &effect("play", &not_json), &Unmarked)
        .await
        .unwrap();
    assert_eq!(tell(&host, TENANT, "new").await, "new", "after a breach");
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_its_instance_with_it() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).reuse(100).start().await;
    assert_eq!(tell(&host, TENANT, "a").await, "a");
    let mut caller = JoinSet::new();
    let (calling, url) = (host.clone(), upstream.url("/hang"));
    caller.spawn(async move { play(&calling, TENANT, json!([{"send": {"method": "GET", "url": url}}])).await });
    while upstream.received().is_empty() {
        tokio::task::yield_now().await;
    }
    caller.shutdown().await;
    assert_eq!(tell(&host, TENANT, "new").await, "new");
}

#[tokio::test]
async fn a_new_version_or_configuration_begins_anew() {
    let version = |version: &str| {
        let mut description = probe_description();
        description["version"] = json!(version);
        Setup::probe().config(description).reuse(100)
    };
    let host = version("1.0.0").start().await;
    assert_eq!(tell_all(&host, &["a", "b"]).await, ["a", "a b"]);
    host.load(version("1.0.0").deployment()).await.unwrap();
    assert_eq!(tell(&host, TENANT, "c").await, "c");
    host.load(version("2.0.0").deployment()).await.unwrap();
    assert_eq!(tell(&host, TENANT, "d").await, "d");
    // The former version is still asked about what it dispatched: in a fresh instance each time.
    for _ in 0..2 {
        let script = json!({"steps": [{"remember": "old"}], "answer": {"unknown": {"reason": "{{last}}"}}});
        let call = effect("play", &script);
        let called = host.dispatch(PROBE, Some("1.0.0"), &call, &Unmarked).await.unwrap();
        assert_eq!(
            (called.version.clone(), reason(called)),
            ("1.0.0".to_owned(), "old".to_owned())
        );
    }
}

/// A secret that is another one each time.
struct Rotating(AtomicU32);

impl Secrets for Rotating {
    fn get(&self, _: &str) -> Option<Secret> {
        Some(Secret::new(format!("s3cr3t-{}", self.0.fetch_add(1, Ordering::SeqCst))))
    }
}

#[tokio::test]
async fn allowances_secrets_and_evidence_belong_to_the_call() {
    let upstream = Upstream::start().await;
    let setup = Setup::probe()
        .host(&upstream.origin())
        .secret("token", "", &[&upstream.origin()])
        .limits(|limits| {
            limits.requests_per_call = 2;
            limits.log_bytes = 10;
        })
        .reuse(100);
    let host = setup.start().await;
    let deployment = Deployment {
        secrets: Arc::new(Rotating(AtomicU32::new(0))),
        ..setup.deployment()
    };
    host.load(deployment).await.unwrap();
    let send = json!({"send": {"method": "POST", "url": upstream.url("/echo"), "body": "{{secret:token}}"}});
    for round in 0..3 {
        let called = play(
            &host,
            TENANT,
            json!([send, send, {"log": {"text": "12345678", "times": 1}}, {"print": {"text": format!("round {round}"), "times": 1}}, {"remember": "x"}]),
        )
        .await;
        assert_eq!(called.evidence.exchanges.len(), 2, "{called:?}");
        assert!(!format!("{called:?}").contains("s3cr3t"));
        assert_eq!(
            reason(called),
            vec!["x"; round + 1].join(" "),
            "it is the same instance"
        );
    }
    let sent = upstream.received();
    let tokens: Vec<_> = sent.iter().map(|request| request.rsplit('-').next().unwrap()).collect();
    assert_eq!(
        tokens,
        ["1", "1", "2", "2", "3", "3"],
        "each call has the value of its time; 0 was that of the introduction"
    );
    // Last words are those of the call that broke.
    let broke = reason(play(&host, TENANT, json!([{"panic": "now"}])).await);
    assert!(broke.contains("now") && !broke.contains("round"), "{broke}");
}

#[tokio::test]
async fn a_request_that_a_call_left_alone_never_leaves_in_the_next_call() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).reuse(1_000).start().await;
    for (method, round) in ["POST", "GET"].into_iter().zip(1..) {
        let begin = json!({"wasi-begin": {
            "method": method, "authority": upstream.address().to_string(), "path": "/ok", "body": "late"
        }});
        let first = play(&host, TENANT, json!([begin, {"remember": "first"}])).await;
        assert_eq!(first.evidence.furthest(), Progress::NotSent, "{method}: {first:?}");
        // The same instance finishes it: the call that it belonged to has ended, and said that nothing had left.
        let mark = CountingMark::new(&upstream);
        let steps = json!(["wasi-finish", "wasi-await", {"remember": "second"}]);
        let second = play_marked(&host, TENANT, steps, &mark).await;
        assert!(second.evidence.exchanges.is_empty(), "{method}: {second:?}");
        assert_eq!(mark.asked(), 0, "{method}");
        let memory = reason(second);
        assert_eq!(memory, vec!["first second"; round].join(" "), "it is the same instance");
    }
    assert!(upstream.received().is_empty(), "{:?}", upstream.received());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_leaves_unawaited_is_in_the_evidence_of_its_own_call_or_does_not_leave() {
    const ROUNDS: usize = 40;
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).reuse(1_000).start().await;
    let begin = json!({"wasi-begin": {
        "method": "POST", "authority": upstream.address().to_string(), "path": "/ok", "body": "unawaited"
    }});
    let mut told = 0;
    for _ in 0..ROUNDS {
        let called = play(&host, TENANT, json!([begin, "wasi-finish"])).await;
        told += usize::from(called.evidence.furthest() != Progress::NotSent);
    }
    // One that is waited for, behind all of them.
    let last = play(&host, TENANT, json!([begin, "wasi-finish", "wasi-await"])).await;
    assert_eq!(last.evidence.exchanges.len(), 1, "{last:?}");
    let left = upstream.received().len() - 1;
    assert!(left <= told, "{left} left, and {told} calls know of it");
}

#[tokio::test]
async fn an_instance_does_not_outlive_the_swap_of_its_version() {
    let upstream = Upstream::start().await;
    let versions: Vec<Deployable> = ["1.0.0", "2.0.0"]
        .map(|version| probe_version(version, &upstream.origin(), 100))
        .into();
    let source: Arc<dyn Source> = Arc::new(Components::default());
    let host = Host::new(HostConfig::default()).unwrap();
    let active = |version: &str| Wanted {
        tenant: TENANT.to_owned(),
        name: PROBE.to_owned(),
        versions: versions.clone(),
        shares: vec![(version.to_owned(), 100)],
    };
    host.deploy(&active("1.0.0"), &source).await.unwrap();
    assert_eq!(tell_all(&host, &["a", "b"]).await, ["a", "a b"]);

    // One instance is idle, and another one is in a call, when its version is swapped away.
    let mut calling = JoinSet::new();
    let (other, hold) = (
        host.clone(),
        json!({"send": {"method": "GET", "url": upstream.url("/hold")}}),
    );
    calling.spawn(async move { reason(play(&other, TENANT, json!([hold, {"remember": "c"}])).await) });
    while upstream.received().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(tell(&host, TENANT, "x").await, "x");
    host.deploy(&active("2.0.0"), &source).await.unwrap();
    assert_eq!(tell(&host, TENANT, "d").await, "d");
    upstream.let_go();
    assert_eq!(
        calling.join_next().await.unwrap().unwrap(),
        "a b c",
        "it ends where it began"
    );

    // Back again: nobody finds what was said before the swap.
    host.deploy(&active("1.0.0"), &source).await.unwrap();
    assert_eq!(tell_all(&host, &["e", "f"]).await, ["e", "e f"]);
}
