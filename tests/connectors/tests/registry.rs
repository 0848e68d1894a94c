//! Loading, refusing, swapping: what is accepted can be called, what is not leaves everything as it was, and no call notices a swap.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tape_connector_artifact::{SigningKey, Trust};
use tape_connector_port::{Called, ConnectorError, Connectors, Outcome, Semantics, Unmarked, Vouched};
use tape_connector_tests::{
    BANK, Components, PROBE, Setup, TENANT, Upstream, effect, probe_description, probe_version,
};
use tape_host::{Deployment, Host, HostConfig, LoadError, Source, Wanted};
use tokio::task::JoinSet;

fn empty_host() -> Host {
    Host::new(HostConfig {
        calls_max: 16,
        ..HostConfig::default()
    })
    .expect("the host starts")
}

/// A probe that describes itself as `version`.
fn probe(version: &str) -> Setup {
    let mut description = probe_description();
    description["version"] = json!(version);
    Setup::probe().config(description)
}

async fn ask(host: &Host, version: Option<&str>) -> Result<Called<Outcome>, ConnectorError> {
    let script = json!({"steps": [], "answer": {"failed": {"code": "no", "message": "", "retryable": false}}});
    host.dispatch(PROBE, version, &effect("play", &script), &Unmarked).await
}

async fn refusal(deployment: Deployment) -> (&'static str, String) {
    let host = empty_host();
    let error = host.load(deployment).await.expect_err("it is not accepted");
    assert!(host.list().is_empty());
    (error.code(), error.to_string())
}

#[tokio::test]
async fn what_is_accepted_is_listed_with_what_it_says_of_itself() {
    let host = Setup::bank("http://127.0.0.1:7900").start().await;
    let [info] = &host.list()[..] else {
        panic!("not one connector")
    };
    assert_eq!(
        (info.tenant.as_str(), info.name.as_str(), info.version.as_str()),
        (TENANT, BANK, "1.0.0")
    );
    let description = host.describe(TENANT, "app", BANK).unwrap();
    assert_eq!(
        description.operation("wire").unwrap().semantics,
        Semantics::NonIdempotent
    );
    assert!(description.supports.observe && description.supports.compensate && !description.supports.status_check);
    assert!(description.config_schema.contains("base_url"));
    assert_eq!(description.asks.hosts[0].host, "config:base_url");
}

#[tokio::test]
async fn what_is_no_connector_is_refused_by_what_it_is() {
    let deployment = |bytes: &[u8]| Deployment {
        component: bytes.to_vec(),
        ..Setup::probe().deployment()
    };
    let (code, text) = refusal(deployment(b"#!/bin/sh")).await;
    assert_eq!(
        (code, text.contains("does not begin like one")),
        ("TAPE-C021", true),
        "{text}"
    );
    let (code, text) = refusal(deployment(b"\0asm\x01\0\0\0")).await;
    assert_eq!((code, text.contains("core module")), ("TAPE-C021", true), "{text}");
    let (code, text) = refusal(deployment(b"\0asm\x0d\0\x01\0garbage")).await;
    assert_eq!(code, "TAPE-C021", "{text}");
    let (code, text) = refusal(deployment(b"\0asm\x0d\0\x01\0")).await;
    assert_eq!(
        (code, text.contains("wit/tape-connector@1.0.0")),
        ("TAPE-C022", true),
        "{text}"
    );
}

#[tokio::test]
async fn a_description_that_makes_no_sense_is_refused() {
    let change = |key: &str, value: Value| {
        let mut description = probe_description();
        description[key] = value;
        Setup::probe().config(description).deployment()
    };
    for (key, value, problem) in [
        ("contract", json!("2.0.0"), "built for contract 2.0.0"),
        ("operations", json!([]), "no operations"),
        ("operations", json!([{"name": "play", "semantics": "MAYBE"}]), "MAYBE"),
        ("version", json!(""), "must not be empty"),
    ] {
        let (code, text) = refusal(change(key, value)).await;
        assert_eq!((code, text.contains(problem)), ("TAPE-C023", true), "{text}");
    }
}

#[tokio::test]
async fn a_connector_refuses_a_configuration_in_its_own_words() {
    let setup = Setup::probe().config(json!({"unusable": "`base_url` is missing: write https://HOST"}));
    let (code, text) = refusal(setup.deployment()).await;
    assert_eq!(code, "TAPE-C024");
    assert!(text.contains("`base_url` is missing: write https://HOST"), "{text}");
}

#[tokio::test]
async fn a_deployment_that_makes_no_sense_is_refused() {
    let config = |config| Setup::bank("http://127.0.0.1:1").config(config).deployment();
    let (code, text) = refusal(config(json!({}))).await;
    assert_eq!(
        (code, text.contains("`config.base_url` is missing")),
        ("TAPE-C024", true),
        "{text}"
    );
    let (code, text) = refusal(config(json!({"base_url": 7}))).await;
    assert_eq!(
        (code, text.contains("`config.base_url` must be string")),
        ("TAPE-C024", true),
        "{text}"
    );

    let (code, text) = refusal(Setup::probe().host("ftp://files.example").deployment()).await;
    assert_eq!(
        (code, text.contains("the scheme is http or https")),
        ("TAPE-C025", true),
        "{text}"
    );
    let (code, text) = refusal(
        Setup::probe()
            .limits(|limits| limits.memory_bytes = usize::MAX)
            .deployment(),
    )
    .await;
    assert_eq!(
        (code, text.contains("limits.memory_bytes")),
        ("TAPE-C026", true),
        "{text}"
    );
    let (code, text) = refusal(Deployment {
        name: "The Bank".to_owned(),
        ..Setup::probe().deployment()
    })
    .await;
    assert_eq!(code, "TAPE-C020", "{text}");
}

#[tokio::test]
async fn a_connector_that_is_refused_leaves_its_predecessor_active() {
    let host = probe("1.0.0").start().await;
    let broken = Deployment {
        component: b"broken".to_vec(),
        ..probe("2.0.0").deployment()
    };
    assert!(matches!(host.load(broken).await, Err(LoadError::NotAComponent { .. })));
    assert_eq!(ask(&host, None).await.unwrap().version, "1.0.0");
}

#[tokio::test]
async fn an_unknown_name_is_answered_with_the_nearest() {
    let host = probe("1.0.0").start().await;
    let mut call = effect("play", &Value::Null);
    let error = host.dispatch("prob", None, &call, &Unmarked).await.unwrap_err();
    assert_eq!(
        error,
        ConnectorError::Unknown {
            name: "prob".to_owned(),
            nearest: Some("probe".to_owned())
        }
    );
    call.tenant = "somebody-else".to_owned();
    let error = host.dispatch(PROBE, None, &call, &Unmarked).await.unwrap_err();
    assert_eq!(
        error,
        ConnectorError::Unknown {
            name: PROBE.to_owned(),
            nearest: None
        },
        "other tenants' names are not told"
    );
}

#[tokio::test]
async fn what_a_connector_does_not_support_is_not_asked() {
    let host = Setup::bank("http://127.0.0.1:1").start().await;
    let error = host
        .status_check(BANK, None, &effect("wire", &Value::Null), "w-1")
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectorError::Unsupported { .. }), "{error}");
}

#[tokio::test]
async fn an_effect_is_asked_about_at_the_version_that_dispatched_it() {
    let host = probe("1.0.0").start().await;
    host.load(probe("2.0.0").deployment()).await.unwrap();
    assert_eq!(ask(&host, None).await.unwrap().version, "2.0.0");
    assert_eq!(ask(&host, Some("1.0.0")).await.unwrap().version, "1.0.0");
    assert_eq!(
        ask(&host, Some("0.9.0")).await.unwrap().version,
        "2.0.0",
        "a version that is gone is served by the active one"
    );
    assert_eq!(host.list().len(), 1);

    assert!(host.unload(TENANT, PROBE) && !host.unload(TENANT, PROBE));
    assert!(matches!(ask(&host, None).await, Err(ConnectorError::Unknown { .. })));
}

/// A host that knows one key, and wants its word.
fn strict(trusted: &SigningKey) -> Host {
    let config = HostConfig {
        calls_max: 16,
        trust: Trust {
            keys: vec![trusted.public()],
            required: true,
        },
        ..HostConfig::default()
    };
    Host::new(config).unwrap()
}

#[tokio::test]
async fn only_what_a_known_key_vouches_for_is_loaded_where_that_is_required() {
    let (trusted, _) = SigningKey::generate().unwrap();
    let (stranger, _) = SigningKey::generate().unwrap();
    let host = strict(&trusted);
    let deployment = || probe("1.0.0").deployment();
    let component = deployment().component;
    let signed = |key: &SigningKey, name: &str, version: &str| vec![key.sign(name, version, &component)];
    let mut forged = signed(&stranger, "probe", "1.0.0");
    forged[0].key = trusted.public().id();

    for (signatures, problem) in [
        (vec![], "require_signature"),
        (signed(&stranger, "probe", "1.0.0"), "none of these keys is configured"),
        (
            vec![trusted.sign("probe", "1.0.0", b"other bytes")],
            "is for other bytes",
        ),
        (forged, "forged or damaged"),
        (signed(&trusted, "probe", "1.0.1"), "describes itself as probe 1.0.0"),
        (signed(&trusted, "prober", "1.0.0"), "describes itself as probe 1.0.0"),
    ] {
        let error = host.load_signed(deployment(), &signatures).await.unwrap_err();
        assert!(
            error.code() == "TAPE-C060" && error.to_string().contains(problem),
            "{error}"
        );
        assert!(host.list().is_empty());
    }
    // Before anything is made of the bytes: these would not even be a component.
    let garbage = Deployment {
        component: b"garbage".to_vec(),
        ..deployment()
    };
    assert_eq!(host.load(garbage).await.unwrap_err().code(), "TAPE-C060");

    host.load_signed(deployment(), &signed(&trusted, "probe", "1.0.0"))
        .await
        .unwrap();
    assert_eq!(ask(&host, None).await.unwrap().version, "1.0.0");
    let error = host.load(probe("2.0.0").deployment()).await.unwrap_err();
    assert_eq!(error.code(), "TAPE-C060");
    assert_eq!(ask(&host, None).await.unwrap().version, "1.0.0", "what was there stays");
}

#[tokio::test]
async fn compiled_code_is_kept_between_starts() {
    let dir = tempfile::tempdir().unwrap();
    let kept = || {
        std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == "cwasm")
            })
            .count()
    };
    for _ in 0..2 {
        let config = HostConfig {
            calls_max: 16,
            cache_dir: Some(dir.path().to_owned()),
            ..HostConfig::default()
        };
        let host = Host::new(config).unwrap();
        host.load(probe("1.0.0").deployment()).await.unwrap();
        assert_eq!(ask(&host, None).await.unwrap().version, "1.0.0");
        assert_eq!(kept(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_under_load_is_noticed_by_no_call() {
    const CALLERS: usize = 4;
    const SWAPS: usize = 3;
    let upstream = Upstream::start().await;
    let host = probe("1.0.0").host(&upstream.origin()).start().await;
    let script = json!({
        "steps": [{"send": {"method": "POST", "url": upstream.url("/ok")}}],
        "answer": {"confirmed": {"external_ref": "x-1", "response": "{}"}}
    });
    let done = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (host, done, call) = (host.clone(), Arc::clone(&done), effect("play", &script));
        callers.spawn(async move {
            let mut calls = 0;
            while !done.load(Ordering::Acquire) {
                let called = host
                    .dispatch(PROBE, None, &call, &Unmarked)
                    .await
                    .expect("no call fails");
                assert!(matches!(called.outcome, Outcome::Confirmed(_)), "{:?}", called.outcome);
                calls += 1;
            }
            calls
        });
    }
    for swap in 0..SWAPS {
        let next = probe(&format!("2.0.{swap}")).host(&upstream.origin());
        host.load(next.deployment()).await.unwrap();
    }
    done.store(true, Ordering::Release);
    let calls: usize = callers.join_all().await.into_iter().sum();
    assert!(calls > 0);
    assert_eq!(upstream.received().len(), calls, "every call reached the upstream once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_many_calls_ask_for_at_once_is_loaded_once() {
    let components = Arc::new(Components::default());
    let source: Arc<dyn Source> = components.clone();
    let host = empty_host();
    let wanted = Wanted {
        tenant: TENANT.to_owned(),
        name: PROBE.to_owned(),
        versions: ["1.0.0", "2.0.0"]
            .map(|version| probe_version(version, "http://127.0.0.1:1", 0))
            .into(),
        shares: vec![("2.0.0".to_owned(), 100)],
    };
    host.deploy(&wanted, &source).await.unwrap();
    assert_eq!(components.asked(), ["2.0.0"], "what gets no calls is not loaded");
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let host = host.clone();
        callers.spawn(async move { ask(&host, Some("1.0.0")).await.map(|called| called.version) });
    }
    while let Some(answered) = callers.join_next().await {
        assert_eq!(answered.unwrap().unwrap(), "1.0.0");
    }
    assert_eq!(components.asked(), ["2.0.0", "1.0.0"]);
}

#[tokio::test]
async fn what_it_asks_for_and_was_not_granted_is_told_with_its_cure() {
    let host = empty_host();
    let mut version = probe_version("1.0.0", "https://a.example", 0);
    let mut config: Value = serde_json::from_str(&version.config_json).unwrap();
    config["asks"] = json!({"hosts": [
        {"host": "https://a.example", "methods": ["GET", "POST"], "why": "to book"},
        {"host": "https://b.example", "methods": ["POST"]},
        {"host": "https://c.example"},
    ]});
    version.config_json = config.to_string();
    version.grants_json = json!({"hosts": ["https://a.example"]}).to_string();
    let component = tape_connector_tests::component("tape-connector-probe");
    let secrets = Components::default().secrets(TENANT, PROBE);
    let judged = host
        .judge(&version, component, &Vouched::Before, secrets)
        .await
        .unwrap();
    assert_eq!(
        judged.missing,
        [
            "POST at https://a.example (to book): --grant https://a.example=POST",
            "host https://b.example: --grant https://b.example=POST",
            "host https://c.example: --grant https://c.example",
        ]
    );
}
