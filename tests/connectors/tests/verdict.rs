//! Each cell of the verdict table, with a real guest and a real connection that is cut where the table says.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test's helper fails its test")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use serde_json::{Value, json};
use tape_connector_port::{
    CompensateOutcome, Connectors, Mark, MarkRefused, ObserveAnswer, Outcome, Progress, Sender, StatusAnswer, Unmarked,
};
use tape_connector_tests::{Crowded, PROBE, Setup, Upstream, effect, nobody_listens, obligation, probe_description};
use tape_host::Host;

/// What the guest says or does once its request has come to whatever it came to.
const GUESTS: [&str; 8] = [
    "confirmed",
    "failed",
    "failed-retryable",
    "unknown",
    "panic",
    "loop",
    "wait",
    "allocate",
];

/// How far the request gets: the path asked for, and what that comes to.
const REQUESTS: [(&str, Progress); 10] = [
    ("none", Progress::NotSent),
    ("get /ok", Progress::NotSent),
    ("refused", Progress::NotSent),
    ("denied", Progress::NotSent),
    ("crowded", Progress::NotSent),
    ("/cut", Progress::Sent),
    ("/cut-head", Progress::Sent),
    ("/cut-body", Progress::Sent),
    ("/hang", Progress::Sent),
    ("/ok", Progress::Answered),
];

struct World {
    upstream: Upstream,
    nobody: String,
    crowded: Crowded,
    host: Host,
}

impl World {
    async fn new(description: Value) -> Self {
        let (upstream, nobody, crowded) = (Upstream::start().await, nobody_listens().await, Crowded::start().await);
        let setup = Setup::probe()
            .config(description)
            .host(&upstream.origin())
            .host(&nobody)
            .host(crowded.origin());
        let host = setup.limits(|limits| limits.timeout_ms = 1_000).start().await;
        Self {
            upstream,
            nobody,
            crowded,
            host,
        }
    }

    fn script(&self, guest: &str, request: &str) -> Value {
        let send = |method: &str, url: String| json!({"send": {"method": method, "url": url, "body": "{}", "timeout_ms": 200}});
        let mut steps = match request {
            "none" => vec![],
            "get /ok" => vec![send("GET", self.upstream.url("/ok"))],
            "refused" => vec![send("POST", format!("{}/ok", self.nobody))],
            "crowded" => vec![send("POST", format!("{}/ok", self.crowded.origin()))],
            "denied" => vec![send("POST", "https://elsewhere.example/ok".to_owned())],
            path => vec![send("POST", self.upstream.url(path))],
        };
        let mut answer = json!({"unknown": {"reason": "who knows: {{last}}"}});
        match guest {
            "confirmed" => answer = json!({"confirmed": {"external_ref": "x-1", "response": "{}"}}),
            "failed" => answer = json!({"failed": {"code": "no", "message": "{{last}}", "retryable": false}}),
            "failed-retryable" => answer = json!({"failed": {"code": "no", "message": "{{last}}", "retryable": true}}),
            "unknown" => {}
            "panic" => steps.push(json!({"panic": "out of order"})),
            step => steps.push(json!(step)),
        }
        json!({"steps": steps, "answer": answer})
    }

    async fn dispatch(&self, guest: &str, request: &str) -> (Outcome, Progress) {
        let call = effect("play", &self.script(guest, request));
        let called = self
            .host
            .dispatch(PROBE, None, &call, &Unmarked)
            .await
            .expect("the call takes place");
        (called.outcome, called.evidence.furthest())
    }
}

/// The table of the design, cell by cell.
fn expected(guest: &str, progress: Progress) -> &'static str {
    match (guest, progress) {
        ("confirmed", Progress::NotSent) => "failed",
        ("confirmed", Progress::Answered) => "confirmed",
        ("failed", Progress::NotSent) => "failed",
        ("failed" | "failed-retryable", Progress::Answered) => "failed",
        (_, Progress::NotSent) => "retry",
        (_, Progress::Sent | Progress::Answered) => "unknown",
    }
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Confirmed(_) => "confirmed",
        Outcome::Failed(_) => "failed",
        Outcome::Retry { .. } => "retry",
        Outcome::Unknown(_) => "unknown",
    }
}

async fn check_column(requests: &[(&str, Progress)]) {
    for guest in GUESTS {
        // A connector that breaks ten times in a row rests: each guest has a host of its own.
        let world = World::new(probe_description()).await;
        for &(request, progress) in requests {
            let (outcome, seen) = world.dispatch(guest, request).await;
            assert_eq!(seen, progress, "{guest} after {request}: {outcome:?}");
            assert_eq!(
                name(&outcome),
                expected(guest, progress),
                "{guest} after {request}: {outcome:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_where_nothing_was_sent() {
    check_column(&REQUESTS[..5]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_where_a_request_was_sent_and_not_answered() {
    check_column(&REQUESTS[5..9]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cell_where_a_request_was_answered() {
    check_column(&REQUESTS[9..]).await;
}

#[tokio::test]
async fn an_offline_connector_is_believed_without_a_request() {
    let mut description = probe_description();
    description["offline"] = json!(true);
    let world = World::new(description).await;
    assert_eq!(name(&world.dispatch("confirmed", "none").await.0), "confirmed");
    assert_eq!(name(&world.dispatch("confirmed", "/cut").await.0), "unknown");
}

#[tokio::test]
async fn an_answer_larger_than_its_limit_is_no_answer() {
    let world = World::new(probe_description()).await;
    let (outcome, progress) = world.dispatch("failed", "/big").await;
    assert_eq!(progress, Progress::Sent);
    let Outcome::Unknown(doubt) = outcome else {
        panic!("not unknown: {outcome:?}")
    };
    assert!(doubt.reason.contains("too-large"), "{doubt:?}");
}

#[tokio::test]
async fn one_request_in_doubt_outweighs_an_answered_one() {
    let world = World::new(probe_description()).await;
    let post = |path| json!({"send": {"method": "POST", "url": world.upstream.url(path)}});
    for paths in [["/cut", "/ok"], ["/ok", "/cut"]] {
        let script = json!({"steps": paths.map(post), "answer": {"confirmed": {"external_ref": "", "response": "{}"}}});
        let called = world
            .host
            .dispatch(PROBE, None, &effect("play", &script), &Unmarked)
            .await
            .unwrap();
        assert_eq!(name(&called.outcome), "unknown", "{:?}", called.evidence);
    }
}

/// An upstream that answers one request, keeps the connection, and stops listening when it is told. It never closes its ears: what comes
/// after that is counted.
struct OneAnswer {
    origin: String,
    stop: mpsc::Sender<()>,
    stopped: Mutex<mpsc::Receiver<()>>,
    heard: JoinHandle<usize>,
}

impl OneAnswer {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let ((stop, told), (done, stopped)) = (mpsc::channel(), mpsc::channel());
        let heard = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{}") {
                let mut bytes = [0; 1024];
                let count = stream.read(&mut bytes).unwrap();
                assert_ne!(count, 0, "the first request comes whole");
                request.extend(&bytes[..count]);
            }
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                .unwrap();
            told.recv().unwrap();
            drop(listener);
            stream.shutdown(Shutdown::Write).unwrap();
            done.send(()).unwrap();
            let mut rest = Vec::new();
            // Whoever closes with a reset has sent what was read until then.
            stream.read_to_end(&mut rest).ok();
            rest.len()
        });
        Self {
            origin,
            stop,
            stopped: Mutex::new(stopped),
            heard,
        }
    }
}

/// Stops the upstream just before the request leaves, and lets the client's connection have so many turns to notice.
struct StopsUpstream<'a>(&'a OneAnswer, usize);

#[async_trait]
impl Mark for StopsUpstream<'_> {
    async fn sent(&self, _: Sender<'_>) -> Result<(), MarkRefused> {
        self.0.stop.send(()).unwrap();
        self.0.stopped.lock().unwrap().recv().unwrap();
        for _ in 0..self.1 {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_request_that_a_closed_connection_gave_back_and_a_new_one_never_took_has_not_left() {
    let upstreams: Vec<OneAnswer> = (0..8).map(|_| OneAnswer::start()).collect();
    let setup = upstreams
        .iter()
        .fold(Setup::probe().config(probe_description()), |setup, upstream| {
            setup.host(&upstream.origin)
        });
    let host = setup.start().await;
    let mut unsent = 0;
    for (turns, upstream) in upstreams.into_iter().enumerate() {
        let send = json!({"send": {"method": "POST", "url": format!("{}/ok", upstream.origin), "body": "{}"}});
        let confirmed = json!({"confirmed": {"external_ref": "x-1", "response": "{}"}});
        let script = json!({"steps": [send], "answer": confirmed});
        let first = host
            .dispatch(PROBE, None, &effect("play", &script), &Unmarked)
            .await
            .unwrap();
        assert_eq!(name(&first.outcome), "confirmed", "{first:?}");

        // The second is handed to the connection that was kept, closed or not; nobody listens for another.
        let script = json!({"steps": [send], "answer": {"unknown": {"reason": "{{last}}"}}});
        let stops = StopsUpstream(&upstream, turns);
        let second = host
            .dispatch(PROBE, None, &effect("play", &script), &stops)
            .await
            .unwrap();
        let heard = upstream.heard.join().unwrap();
        let expected = if heard == 0 {
            unsent += 1;
            (Progress::NotSent, "retry")
        } else {
            (Progress::Sent, "unknown")
        };
        let came_to = (second.evidence.furthest(), name(&second.outcome));
        assert_eq!(came_to, expected, "{turns} turns, {heard} bytes were heard: {second:?}");
    }
    assert!(unsent > 0, "the connection was never found closed");
}

#[tokio::test]
async fn a_response_that_is_not_json_is_a_breach() {
    let world = World::new(probe_description()).await;
    let script = json!({
        "steps": [{"send": {"method": "POST", "url": world.upstream.url("/ok")}}],
        "answer": {"confirmed": {"external_ref": "x-1", "response": "not json"}}
    });
    let called = world
        .host
        .dispatch(PROBE, None, &effect("play", &script), &Unmarked)
        .await
        .unwrap();
    assert!(
        matches!(&called.outcome, Outcome::Unknown(doubt) if doubt.reason.contains("not JSON")),
        "{:?}",
        called.outcome
    );
}

#[tokio::test]
async fn a_claim_about_the_books_needs_an_answer_of_the_upstream() {
    let world = World::new(probe_description()).await;
    let get = |path| json!([{"send": {"method": "GET", "url": world.upstream.url(path)}}]);
    for (steps, believed) in [(get("/ok"), true), (get("/cut"), false), (json!([]), false)] {
        let call = effect("play", &json!({"steps": steps, "answer": "absent"}));
        let answer = world.host.observe(PROBE, None, &call).await.unwrap().outcome;
        assert_eq!(answer == ObserveAnswer::Absent, believed, "{answer:?}");

        let call = effect("play", &json!({"steps": steps, "answer": "not-committed"}));
        let answer = world
            .host
            .status_check(PROBE, None, &call, "x-1")
            .await
            .unwrap()
            .outcome;
        assert_eq!(answer == StatusAnswer::NotCommitted, believed, "{answer:?}");
    }
}

#[tokio::test]
async fn an_observer_that_crashes_is_inconclusive_with_its_name() {
    let world = World::new(probe_description()).await;
    let call = effect(
        "play",
        &json!({"steps": [{"panic": "out of order"}], "answer": "absent"}),
    );
    let ObserveAnswer::Inconclusive(doubt) = world.host.observe(PROBE, None, &call).await.unwrap().outcome else {
        panic!("conclusive")
    };
    assert!(
        doubt.reason.contains("`probe`") && doubt.reason.contains("out of order"),
        "{}",
        doubt.reason
    );
}

#[tokio::test]
async fn a_compensation_is_judged_like_a_dispatch() {
    let world = World::new(probe_description()).await;
    let cases = [
        ("confirmed", "/ok", "resolved"),
        ("confirmed", "get /ok", "resolved"),
        ("confirmed", "none", "failed"),
        ("confirmed", "/cut", "unknown"),
        ("failed", "/cut", "unknown"),
        ("failed", "/ok", "failed"),
        ("unknown", "refused", "retry"),
        ("panic", "none", "retry"),
        ("panic", "/ok", "unknown"),
    ];
    for (guest, request, expected) in cases {
        let call = obligation(effect("play", &Value::Null), None, &world.script(guest, request));
        let outcome = world
            .host
            .compensate(PROBE, None, &call, &Unmarked)
            .await
            .unwrap()
            .outcome;
        let name = match &outcome {
            CompensateOutcome::Resolved(_) => "resolved",
            CompensateOutcome::Failed(_) => "failed",
            CompensateOutcome::Retry { .. } => "retry",
            CompensateOutcome::Unknown(_) => "unknown",
        };
        assert_eq!(name, expected, "{guest} after {request}: {outcome:?}");
    }
}
