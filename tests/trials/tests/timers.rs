//! Timers while the servers that hold them are killed: a gate's timeout comes, once, and never early; what a signal has resolved
//! stays resolved.

#![allow(clippy::panic, reason = "a test's own helpers: what is wrong is said by a panic")]

use std::time::{Duration, SystemTime};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_proto::v1 as pb;
use tape_store_tests::cluster::Cluster;
use tape_trials::{Answer, Caller, Dump, Server, rounds, seed, store_of_postgres, store_of_sqlite, tell};
use tokio::time::{Instant, sleep};

/// Rounds where nobody says how many.
const ROUNDS: u64 = 3;
const RUNS: u32 = 64;
/// What a killed server had claimed is free after this.
const CLAIM_MS: u32 = 700;
/// Longest wait until every gate is resolved.
const SETTLED_MAX: Duration = Duration::from_secs(60);

/// A gate that somebody waits at.
struct Waiting {
    run: String,
    /// Unix milliseconds before which it must not time out.
    not_before: i64,
    signalled: bool,
}

#[allow(clippy::disallowed_methods, reason = "compared with what the servers' clock says")]
fn unix_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

/// Asks until there is an answer: the server may be away for a moment.
async fn insist<T, F: Future<Output = Result<tonic::Response<T>, tonic::Status>>>(ask: impl Fn() -> F) -> T {
    loop {
        match Answer::of(ask().await) {
            Answer::Yes(answer) => return answer,
            Answer::No(status) => panic!("refused: {status}"),
            Answer::Lost(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// A run that is parked at a gate with a timeout.
async fn park(caller: &Caller, app: &str, n: u32, timeout_ms: i64) -> Waiting {
    let begin = pb::BeginRunRequest {
        app_name: app.to_owned(),
        invocation_id: format!("i-{n}"),
        lease_owner: "driver".into(),
        ..Default::default()
    };
    let run = insist(|| {
        let (mut tape, begin) = (caller.tape.clone(), begin.clone());
        async move { tape.begin_run(begin).await }
    })
    .await
    .run_id;
    let not_before = unix_ms() + timeout_ms;
    let wait = pb::AwaitSignalRequest {
        run_id: run.clone(),
        gate_name: "approval".into(),
        timeout_ms,
        ..Default::default()
    };
    insist(|| {
        let (mut tape, wait) = (caller.tape.clone(), wait.clone());
        async move { tape.await_signal(wait).await }
    })
    .await;
    Waiting {
        run,
        not_before,
        signalled: false,
    }
}

/// Signals the gate. Whether the signal came before the timeout.
async fn signal(caller: &Caller, waiting: &Waiting) -> bool {
    let signal = pb::SendSignalRequest {
        run_id: waiting.run.clone(),
        gate_name: "approval".into(),
        resolution_json: "true".into(),
        request_id: format!("signal {}", waiting.run),
        ..Default::default()
    };
    insist(|| {
        let (mut tape, signal) = (caller.tape.clone(), signal.clone());
        async move { tape.send_signal(signal).await }
    })
    .await
    .accepted
}

/// Waits until nobody waits at a gate any more.
async fn until_resolved(caller: &Caller, app: &str, servers: &[Server]) {
    let began = Instant::now();
    loop {
        let request = pb::ListRunsRequest {
            app_name: app.to_owned(),
            statuses: vec![pb::RunStatus::Waiting.into()],
            ..Default::default()
        };
        let page = insist(|| {
            let (mut admin, request) = (caller.admin.clone(), request.clone());
            async move { admin.list_runs(request).await }
        })
        .await;
        if page.runs.is_empty() && page.next_page_token.is_empty() {
            return;
        }
        let said: Vec<_> = servers.iter().map(Server::said).collect();
        assert!(
            began.elapsed() < SETTLED_MAX,
            "{} runs wait for ever: {said:#?}",
            page.runs.len()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// What the journal tells of one gate.
async fn held(caller: &Caller, waiting: &Waiting) -> Result<bool, String> {
    let dump = Dump::of(caller, &waiting.run)
        .await
        .map_err(|status| status.to_string())?;
    judged(&dump, waiting)
}

/// Whether it timed out, and what is wrong with that.
fn judged(dump: &Dump, waiting: &Waiting) -> Result<bool, String> {
    let wrong = dump.contradictions();
    if !wrong.is_empty() {
        return Err(format!("{wrong:#?}"));
    }
    let journal = dump.rows("journal");
    let of = |kind: &str| journal.iter().filter(|entry| entry["kind"] == kind).collect::<Vec<_>>();
    let (timed_out, fired) = (of("gate.timed_out"), of("timer.fired"));
    if timed_out.len() != usize::from(!waiting.signalled) {
        return Err(format!(
            "signalled: {}, and it timed out so: {timed_out:?}",
            waiting.signalled
        ));
    }
    let Some(at) = timed_out
        .first()
        .map(|entry| entry["ts_ms"].as_i64().unwrap_or_default())
    else {
        return Ok(false);
    };
    if at < waiting.not_before {
        return Err(format!("it timed out {} ms early", waiting.not_before - at));
    }
    if fired.len() != 1 {
        return Err(format!("its timer fired so: {fired:?}"));
    }
    Ok(true)
}

/// Rounds of: runs that wait, a server that is killed while their timers fire, and a look at every gate.
async fn timed(what: &str, mut servers: Vec<Server>) {
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rounds = rounds(ROUNDS);
    tell(format!("{what}: {rounds} rounds; again by TAPE_TRIAL_SEED={seed}"));
    for server in &mut servers {
        server.start().await;
    }
    let (mut timeouts, mut signals) = (0, 0);
    for round in 0..rounds {
        let app = format!("timed-{round}");
        let survivor = servers.len() - 1;
        let caller = servers[survivor].caller();
        let mut all = Vec::new();
        for n in 0..RUNS {
            all.push(park(&caller, &app, n, rng.random_range(300..1_500)).await);
        }
        // Some are signalled while the first of the others time out, and then, in the middle of it, a server dies.
        for waiting in &mut all {
            if rng.random_ratio(1, 4) {
                waiting.signalled = signal(&caller, waiting).await;
            }
        }
        sleep(Duration::from_millis(rng.random_range(0..900))).await;
        servers[0].kill();
        servers[0].start().await;
        let caller = servers[survivor].caller();
        until_resolved(&caller, &app, &servers).await;
        for waiting in &all {
            match held(&caller, waiting).await {
                Ok(true) => timeouts += 1,
                Ok(false) => signals += 1,
                Err(problem) => panic!("run {} in round {round}: {problem}", waiting.run),
            }
        }
    }
    for server in &mut servers {
        server.stop();
    }
    tell(format!(
        "{what}: {rounds} kills, {timeouts} timeouts, {signals} signals"
    ));
    assert!(timeouts > 0 && signals > 0, "both were meant to happen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_comes_though_its_server_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_of_sqlite(folder.path());
    timed(
        "sqlite",
        vec![Server::over(&store, "timers", folder.path()).claiming_for(CLAIM_MS)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_comes_once_though_one_of_two_servers_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start();
    let store = store_of_postgres(&cluster).await;
    let server = || Server::over(&store, "timers", folder.path()).claiming_for(CLAIM_MS);
    timed("postgres", vec![server(), server()]).await;
}

#[test]
fn a_gate_that_times_out_early_or_twice_or_not_at_all_is_found() {
    let told = |at: &[i64], signalled: bool| {
        let entry = |(index, kind, at): (usize, &str, i64)| serde_json::json!({"seq": index + 1, "kind": kind, "ts_ms": at, "subject": "/t"});
        let begun = [(0, "run.begun", 1)];
        let timeouts = at
            .iter()
            .enumerate()
            .flat_map(|(n, at)| [(2 * n + 1, "gate.timed_out", *at), (2 * n + 2, "timer.fired", *at)]);
        let journal: Vec<_> = begun.into_iter().chain(timeouts).map(entry).collect();
        let timed_out = serde_json::json!({"resolution": {"signal": "gate.timeout"}});
        let timer = serde_json::json!({"timer_id": "t", "state": "FIRED", "fire_at_ms": 0});
        let dump = Dump::planted([
            ("run", vec![serde_json::json!({"seq": journal.len()})]),
            ("gate", vec![timed_out; at.len()]),
            ("timer", vec![timer; at.len()]),
            ("journal", journal),
        ]);
        let waiting = Waiting {
            run: "r".into(),
            not_before: 50,
            signalled,
        };
        judged(&dump, &waiting)
    };
    assert_eq!(told(&[50], false), Ok(true));
    assert_eq!(told(&[], true), Ok(false));
    for (at, signalled, what) in [
        (&[49][..], false, "1 ms early"),
        (&[50, 60], false, "it timed out so"),
        (&[], false, "it timed out so"),
        (&[50], true, "it timed out so"),
    ] {
        let said = told(at, signalled).expect_err(what);
        assert!(said.contains(what), "{said}");
    }
}
