//! Guests that loop, hoard, crash, flood and reach for what is not theirs: each ends with an error that names it, and the next call does
//! not notice.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tape_connector_port::{ConnectorError, Connectors, Outcome, Unmarked};
use tape_connector_tests::{PROBE, Setup, Upstream, effect};
use tape_host::{Host, HostGrant, Names};
use tokio::time::timeout;

const UNKNOWN: fn() -> Value = || json!({"unknown": {"reason": "{{last}}"}});

async fn play(host: &Host, steps: Value) -> Outcome {
    let call = effect("play", &json!({"steps": steps, "answer": UNKNOWN()}));
    host.dispatch(PROBE, None, &call, &Unmarked)
        .await
        .expect("the call takes place")
        .outcome
}

/// What the guest says its last request came to, or why it broke.
async fn told(host: &Host, steps: Value) -> String {
    match play(host, steps).await {
        Outcome::Retry { reason, .. } => reason,
        Outcome::Unknown(doubt) => doubt.reason,
        other => panic!("neither unknown nor a retry: {other:?}"),
    }
}

async fn is_unharmed(host: &Host, upstream: &Upstream) {
    let call = effect(
        "play",
        &json!({
            "steps": [{"send": {"method": "POST", "url": upstream.url("/ok")}}],
            "answer": {"confirmed": {"external_ref": "x-1", "response": "{}"}}
        }),
    );
    let outcome = host
        .dispatch(PROBE, None, &call, &Unmarked)
        .await
        .expect("the call takes place")
        .outcome;
    assert!(
        matches!(outcome, Outcome::Confirmed(_)),
        "the next call was harmed: {outcome:?}"
    );
}

fn post(url: &str) -> Value {
    json!([{"send": {"method": "POST", "url": url}}])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_does_not_stop_is_stopped_and_named() {
    let upstream = Upstream::start().await;
    let host = Setup::probe()
        .host(&upstream.origin())
        .limits(|limits| limits.timeout_ms = 300)
        .start()
        .await;
    for step in ["loop", "wait"] {
        let reason = timeout(Duration::from_secs(5), told(&host, json!([step])))
            .await
            .expect("it is stopped");
        assert!(
            reason.contains("did not answer in time: `probe`") && reason.contains("limits.timeout_ms"),
            "{reason}"
        );
        is_unharmed(&host, &upstream).await;
    }
}

#[tokio::test]
async fn a_guest_that_spins_leaves_the_runtime_to_others() {
    let upstream = Upstream::start().await;
    let host = Setup::probe()
        .host(&upstream.origin())
        .limits(|limits| limits.timeout_ms = 500)
        .start()
        .await;
    // One thread: if the loop did not yield, the other call would only begin after it ended.
    let (reason, ()) = tokio::join!(told(&host, json!(["loop"])), async {
        timeout(Duration::from_millis(400), is_unharmed(&host, &upstream))
            .await
            .expect("others are served meanwhile");
    });
    assert!(reason.contains("did not answer in time"), "{reason}");
}

#[tokio::test]
async fn the_callers_deadline_ends_a_call_before_the_connectors_limit() {
    let host = Setup::probe().start().await;
    let mut call = effect("play", &json!({"steps": ["wait"], "answer": UNKNOWN()}));
    call.deadline_ms = 1;
    let ended = timeout(Duration::from_secs(5), host.dispatch(PROBE, None, &call, &Unmarked)).await;
    let outcome = ended.expect("it is stopped").unwrap().outcome;
    assert!(
        matches!(&outcome, Outcome::Retry { reason, .. } if reason.contains("deadline")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_guest_that_crashes_is_named_with_its_last_words() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let cases = [
        (
            json!([{"panic": "the vault is on fire"}]),
            "the connector crashed: `probe`",
            "the vault is on fire",
        ),
        (
            json!(["allocate"]),
            "the connector met a limit: `probe`",
            "limits.memory_bytes",
        ),
        (json!(["recurse"]), "the connector met a limit: `probe`", "stack"),
        (json!(["exit"]), "the connector crashed: `probe`", "exit"),
    ];
    for (steps, what, detail) in cases {
        let reason = told(&host, steps).await;
        assert!(reason.contains(what) && reason.contains(detail), "{reason}");
        is_unharmed(&host, &upstream).await;
    }
}

#[tokio::test]
async fn a_crash_after_the_request_left_is_unknown() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let steps = json!([{"send": {"method": "POST", "url": upstream.url("/ok")}}, {"panic": "too late"}]);
    let Outcome::Unknown(doubt) = play(&host, steps).await else {
        panic!("not unknown")
    };
    assert!(
        doubt.reason.contains("too late") && doubt.sent.ends_with("/ok"),
        "{doubt:?}"
    );
    is_unharmed(&host, &upstream).await;
}

#[tokio::test]
async fn floods_are_cut_and_the_call_goes_on() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let line = "all work and no play ".repeat(50);
    for step in [
        json!({"log": {"text": line, "times": 5000}}),
        json!({"print": {"text": line, "times": 5000}}),
    ] {
        let steps = json!([step, {"send": {"method": "POST", "url": upstream.url("/ok")}}]);
        assert!(told(&host, steps).await.starts_with("200 "));
    }
}

/// Everything that was logged meanwhile, as a person reads it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_guest_cannot_speak_for_another_run() {
    let host = Setup::probe().start().await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let forged = "done\n2026-01-01T00:00:00Z  INFO connector_call{tenant=other run=r-9 key=k-9}: tape: settled";
    let fields = json!([["run", "r-9"], ["tenant", "other"], ["\nkey", "\u{1b}[2Jk-9"]]);
    told(
        &host,
        json!([{"log": {"text": forged, "times": 1, "fields": fields}}, {"print": {"text": forged, "times": 1}}]),
    )
    .await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let spoken: Vec<_> = log.lines().filter(|line| line.contains("r-9")).collect();
    assert!(spoken.len() >= 2, "{log}");
    for line in spoken {
        let span = line.split("tape::connector").next().unwrap();
        assert!(
            span.contains("run=\"r-1\"") && span.contains("tenant=\"default\"") && !span.contains("r-9"),
            "{line}"
        );
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}

#[tokio::test]
async fn an_answer_larger_than_its_limit_is_a_breach() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let post = json!({"send": {"method": "POST", "url": upstream.url("/ok")}});
    for (external_ref, response, problem) in [
        ("x", "\"{{last}}\"", "response is larger than"),
        ("{{last}}", "{}", "external-ref is longer than"),
    ] {
        let script = json!({
            "steps": [post, {"repeat": {"text": "all work and no play", "times": 262_144}}],
            "answer": {"confirmed": {"external_ref": external_ref, "response": response}}
        });
        let call = effect("play", &script);
        let Outcome::Unknown(doubt) = host.dispatch(PROBE, None, &call, &Unmarked).await.unwrap().outcome else {
            panic!("not unknown")
        };
        assert!(
            doubt.reason.contains("broke its contract: `probe`") && doubt.reason.contains(problem),
            "{doubt:?}"
        );
        is_unharmed(&host, &upstream).await;
    }
}

#[tokio::test]
async fn more_random_bytes_than_there_are_at_once_end_the_call() {
    let host = Setup::probe().start().await;
    assert_eq!(told(&host, json!([{"random": 65_536}])).await, "65536 bytes");
    let reason = told(&host, json!([{"random": 65_537}])).await;
    assert!(
        reason.contains("`probe`") && reason.contains("random.bytes gives 65536 bytes at most"),
        "{reason}"
    );
}

/// Files, environment, input, sockets and names are there for code that looks for them, and empty.
#[tokio::test]
async fn there_is_nothing_to_be_found_outside() {
    let upstream = Upstream::start().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("secret");
    std::fs::write(&file, "s3cr3t").unwrap();
    let file = file.to_str().unwrap();
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let address = upstream.address().to_string();
    for (step, expected) in [
        (json!({"read-file": file}), "refused: "),
        (json!({"read-file": "/etc/passwd"}), "refused: "),
        (json!({"read-file": "/"}), "refused: "),
        (json!({"read-file": "."}), "refused: "),
        (json!({"read-file": "/proc/self/environ"}), "refused: "),
        (json!({"write-file": file}), "refused: "),
        (json!("environment"), "0 variables, 0 arguments"),
        (json!("input"), "done: 0 bytes"),
        (json!({"connect": address}), "refused: "),
        (json!({"datagram": address}), "refused: "),
        (json!({"listen": "127.0.0.1:0"}), "refused: "),
        (json!({"lookup": "localhost"}), "refused: "),
        (json!({"lookup": "s3cr3t.exfiltrated.example"}), "refused: "),
    ] {
        let told = told(&host, json!([step])).await;
        assert!(told.starts_with(expected), "{step}: {told}");
    }
    assert!(upstream.received().is_empty());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "s3cr3t");
    is_unharmed(&host, &upstream).await;
}

#[tokio::test]
async fn what_is_not_granted_is_refused_by_name() {
    let upstream = Upstream::start().await;
    let other = Upstream::start().await;
    let grant = HostGrant {
        host: upstream.origin(),
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        private: false,
        read_only_paths: Vec::new(),
    };
    let host = Setup::probe().grant(grant).start().await;
    let delete = json!([{"send": {"method": "DELETE", "url": upstream.url("/ok")}}]);
    let cases = [
        (
            post(&other.url("/ok")),
            format!("host `{}` is not granted", other.origin()),
        ),
        (
            post("https://elsewhere.example/"),
            "host `https://elsewhere.example:443` is not granted".to_owned(),
        ),
        (
            post("http://169.254.169.254/latest/meta-data"),
            "host `http://169.254.169.254:80` is not granted".to_owned(),
        ),
        (
            post(&format!("http://2130706433:{}/ok", other.address().port())),
            "is not granted".to_owned(),
        ),
        (post("file:///etc/passwd"), "scheme `file`".to_owned()),
        (
            post(&upstream.url("/ok").replace("http://", "http://user:pw@")),
            "credentials in a url".to_owned(),
        ),
        (delete, "method DELETE is not granted".to_owned()),
    ];
    for (steps, refusal) in cases {
        let told = told(&host, steps).await;
        assert!(
            told.starts_with("denied: connector `probe`: ") && told.contains(&refusal),
            "{told}"
        );
    }
    assert!(other.received().is_empty() && upstream.received().is_empty());
    is_unharmed(&host, &upstream).await;
}

#[tokio::test]
async fn a_host_granted_without_methods_is_only_read() {
    let upstream = Upstream::start().await;
    let grant = HostGrant {
        host: upstream.origin(),
        ..HostGrant::default()
    };
    let host = Setup::probe().grant(grant).start().await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let told = told(&host, json!([{"send": {"method": method, "url": upstream.url("/ok")}}])).await;
        let refusal = format!(
            "method {method} is not granted for host `{}`, only GET, HEAD",
            upstream.origin()
        );
        let cure = format!("tape connector grant NAME --grant {}={method}", upstream.origin());
        assert!(
            told.starts_with("denied: ") && told.contains(&refusal) && told.contains(&cure),
            "{told}"
        );
    }
    assert!(upstream.received().is_empty());
    let told = told(&host, json!([{"send": {"method": "GET", "url": upstream.url("/ok")}}])).await;
    assert!(told.starts_with("200 "), "{told}");
}

/// A resolver in which every name is this machine.
struct LeadsHome;

#[async_trait::async_trait]
impl Names for LeadsHome {
    async fn lookup(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

#[tokio::test]
async fn a_name_that_leads_home_is_refused_unless_that_is_granted() {
    let upstream = Upstream::start().await;
    let port = upstream.address().port();
    let grant = |private| HostGrant {
        host: format!("http://bank.example:{port}"),
        methods: vec!["POST".to_owned()],
        private,
        read_only_paths: Vec::new(),
    };
    let url = format!("http://bank.example:{port}/ok");

    let granted = Setup::probe().grant(grant(true)).start_where(Arc::new(LeadsHome)).await;
    let told_granted = told(&granted, post(&url)).await;
    assert!(told_granted.starts_with("200 "), "{told_granted}");

    let host = Setup::probe()
        .grant(grant(false))
        .start_where(Arc::new(LeadsHome))
        .await;
    let told = told(&host, post(&url)).await;
    assert!(
        told.starts_with("denied: ") && told.contains("resolves to 127.0.0.1, a private address; grant `private`"),
        "{told}"
    );
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_never_followed() {
    let upstream = Upstream::start().await;
    let other = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let told = told(&host, post(&upstream.url(&format!("/redirect/{}", other.url("/ok"))))).await;
    assert!(told.starts_with("302 "), "{told}");
    assert!(other.received().is_empty());
}

#[tokio::test]
async fn requests_are_counted() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let send = json!({"send": {"method": "GET", "url": upstream.url("/ok")}});
    let told = told(&host, Value::from(vec![send; 17])).await;
    assert_eq!(told, "denied: more than 16 requests in one call");
    assert_eq!(upstream.received().len(), 16);
}

#[tokio::test]
async fn a_body_larger_than_its_limit_does_not_leave() {
    let upstream = Upstream::start().await;
    let host = Setup::probe().host(&upstream.origin()).start().await;
    let send = json!({"method": "POST", "url": upstream.url("/ok"), "body": "x".repeat(1024), "times": 4097});
    let told = told(&host, json!([{"send": send}])).await;
    assert!(
        told.starts_with("denied: ") && told.contains("nothing was sent"),
        "{told}"
    );
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_connector_that_breaks_call_after_call_rests() {
    let host = Setup::probe().start().await;
    for _ in 0..10 {
        told(&host, json!([{"panic": "again"}])).await;
    }
    let call = effect("play", &json!({"steps": [], "answer": UNKNOWN()}));
    let error = host.dispatch(PROBE, None, &call, &Unmarked).await.unwrap_err();
    assert!(
        matches!(&error, ConnectorError::CircuitOpen { last_error, .. } if last_error.contains("again")),
        "{error}"
    );
    assert!(error.is_retryable() && error.retry_after_ms().is_some());
    let info = &host.list()[0];
    assert_eq!((info.calls, info.failures), (10, 10));
}

/// What the probe can do, the host must withstand: a step that no test takes fails here.
#[test]
fn no_trick_is_without_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    for entry in std::fs::read_dir(folder.join("tests")).unwrap() {
        tests += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    let script = std::fs::read_to_string(folder.join("../../connectors/probe/src/script.rs")).unwrap();
    let (_, steps) = script.split_once("pub enum Step {").unwrap();
    let (steps, _) = steps.split_once("\n}").unwrap();
    let mut found = 0;
    for line in steps.lines() {
        let Some(variant) = line
            .strip_prefix("    ")
            .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        else {
            continue;
        };
        let name: String = variant.chars().take_while(char::is_ascii_alphanumeric).collect();
        let mut kebab = String::new();
        for (at, char) in name.char_indices() {
            if char.is_ascii_uppercase() && at > 0 {
                kebab.push('-');
            }
            kebab.push(char.to_ascii_lowercase());
        }
        assert!(
            tests.contains(&format!("\"{kebab}\"")),
            "no test takes the probe's step `{kebab}`"
        );
        found += 1;
    }
    assert!(found >= 20, "the steps are not read: {found}");
}

/// Every component that is built here is tried by a test: those with a manifest by the kit (see `shipped.rs`), the others by name.
#[test]
fn no_guest_is_without_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = String::new();
    for part in ["tests", "src"] {
        for entry in std::fs::read_dir(folder.join(part)).unwrap() {
            tests += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
        }
    }
    let mut guests = 0;
    for entry in std::fs::read_dir(folder.join("../../connectors")).unwrap() {
        let path = entry.unwrap().path();
        let Ok(manifest) = std::fs::read_to_string(path.join("Cargo.toml")) else {
            continue;
        };
        if !manifest.contains("cdylib") || path.join("connector.toml").exists() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            tests.contains(&format!("\"tape-connector-{name}\"")),
            "connectors/{name} is a component, and no test of the host runs it"
        );
        guests += 1;
    }
    assert!(guests >= 1, "not even the probe was found");
}
