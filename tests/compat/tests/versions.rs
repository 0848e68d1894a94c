//! The host keeps linking every version of the contract: a component that was built against the first one runs beside one that was
//! built against a later one, and a version that the host does not speak is refused by its name.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

use serde_json::{Value, json};
use tape_connector_port::{CompensateOutcome, Connectors, ObserveAnswer, Outcome, Progress, StatusAnswer, Unmarked};
use tape_connector_tests::{Setup, TENANT, Upstream, effect, obligation};
use tape_host::{Deployment, Host, HostConfig, LoadError, Preview, Sandbox};
use wasmtime::component::{HasSelf, Linker};

/// The minor version, as a host that speaks it would have it.
mod minor {
    wasmtime::component::bindgen!({
        path: "wit/tape-connector@1.1.0",
        world: "guest",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

use minor::tape::connector::{clock, tenant};

/// Version 1.1.0: what it changed and what it added. The rest of it is 1.0.0's, and found there.
struct Minor;

impl Preview for Minor {
    fn version(&self) -> &str {
        "1.1.0"
    }

    fn link(&self, linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
        clock::add_to_linker::<_, HasSelf<_>>(linker, |sandbox| sandbox)?;
        tenant::add_to_linker::<_, HasSelf<_>>(linker, |sandbox| sandbox)
    }
}

impl clock::Host for Sandbox {
    async fn now_ms(&mut self) -> wasmtime::Result<i64> {
        Ok(1)
    }

    async fn monotonic_ns(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    async fn resolution_ns(&mut self) -> wasmtime::Result<u64> {
        Ok(40)
    }
}

impl tenant::Host for Sandbox {
    async fn motto(&mut self) -> wasmtime::Result<String> {
        Ok("steady".to_owned())
    }
}

/// The component of `guests/<name>`, built from its sources.
fn component(name: &str) -> Vec<u8> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| guests.join("target"), PathBuf::from);
    let package = format!("tape-compat-{name}");
    {
        let _building = BUILDING.lock().expect("no build panics while it holds the lock");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--locked",
                "--release",
                "--target",
                "wasm32-wasip2",
                "--package",
                &package,
            ])
            .current_dir(&guests)
            .env("CARGO_TARGET_DIR", &target)
            .status()
            .expect("cargo runs");
        assert!(status.success(), "{package} does not build");
    }
    let file = target
        .join("wasm32-wasip2/release")
        .join(format!("{}.wasm", package.replace('-', "_")));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn host(previews: Vec<Arc<dyn Preview>>) -> Host {
    Host::new(HostConfig {
        calls_max: 8,
        previews,
        ..HostConfig::default()
    })
    .expect("the host starts")
}

fn deployment(name: &str, upstream: &Upstream) -> Deployment {
    Deployment {
        name: name.to_owned(),
        component: component(name),
        config: json!({"for": name}),
        ..Setup::probe().host(&upstream.origin()).deployment()
    }
}

/// Asks everything that 1.0.0 can be asked.
async fn works(host: &Host, name: &str, upstream: &Upstream, said: &str) {
    let call = effect("play", &Value::from(upstream.url("/ok")));
    let called = host.dispatch(name, None, &call, &Unmarked).await.unwrap();
    assert_eq!(called.evidence.furthest(), Progress::Answered);
    let Outcome::Confirmed(receipt) = called.outcome else {
        panic!("{name} is not confirmed: {:?}", called.outcome)
    };
    let response: Value = serde_json::from_str(&receipt.response_json).unwrap();
    assert_eq!(
        (receipt.external_ref.as_str(), response),
        ("x-200", json!({"noise": 8, "time": true, "said": said}))
    );
    let sent = upstream.received();
    assert!(
        sent.last()
            .unwrap()
            .contains(&format!(r#"x-config: {{"for":"{name}"}}"#)),
        "{sent:?}"
    );

    let status = host.status_check(name, None, &call, "r-1").await.unwrap().outcome;
    assert!(matches!(status, StatusAnswer::Committed(receipt) if receipt.external_ref == "r-1"));
    let books = host.observe(name, None, &call).await.unwrap().outcome;
    assert!(matches!(books, ObserveAnswer::Duplicate(receipts) if receipts.len() == 2));
    let undo = obligation(call, Some(receipt), &Value::Null);
    let undone = host.compensate(name, None, &undo, &Unmarked).await.unwrap().outcome;
    assert!(matches!(undone, CompensateOutcome::Resolved(receipt) if receipt.external_ref == "x-200"));

    let cut = effect("play", &Value::from(upstream.url("/cut")));
    let outcome = host.dispatch(name, None, &cut, &Unmarked).await.unwrap().outcome;
    assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
    let denied = effect("play", &json!("https://elsewhere.example/"));
    let outcome = host.dispatch(name, None, &denied, &Unmarked).await.unwrap().outcome;
    assert!(
        matches!(
            &outcome,
            Outcome::Retry {
                retry_after_ms: Some(7),
                ..
            }
        ),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn one_host_runs_the_first_version_and_a_later_one() {
    let upstream = Upstream::start().await;
    let host = host(vec![Arc::new(Minor)]);
    for name in ["first", "minor"] {
        host.load(deployment(name, &upstream)).await.unwrap();
    }
    works(&host, "first", &upstream, "nothing").await;
    works(&host, "minor", &upstream, "steady every 40 ns").await;
    works(&host, "first", &upstream, "nothing").await;
    let contracts: Vec<_> = host.list().into_iter().map(|info| info.description.contract).collect();
    assert_eq!(contracts, ["1.0.0", "1.1.0"]);
}

#[tokio::test]
async fn the_host_as_it_is_runs_the_first_version_and_refuses_a_later_one_by_name() {
    let upstream = Upstream::start().await;
    let host = host(Vec::new());
    host.load(deployment("first", &upstream)).await.unwrap();
    works(&host, "first", &upstream, "nothing").await;
    let error = host.load(deployment("minor", &upstream)).await.unwrap_err();
    assert!(matches!(error, LoadError::Contract { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("built against tape:connector@1.1.0") && text.contains("speaks 1.0.0"),
        "{text}"
    );
    assert!(host.describe(TENANT, "app", "minor").is_none());
}
