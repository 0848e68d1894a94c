//! Several servers over one Postgres: leases, fences, claims, business keys and the tail, while servers are killed.

#![allow(clippy::panic, reason = "a trial that fails says what it saw")]

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_proto::v1 as pb;
use tape_store_tests::cluster::Cluster;
use tape_trials::{
    Answer, Caller, Clients, Dump, Follower, Plan, Server, journals_are_whole, keys_are_unique, rounds, seed,
    store_of_postgres, stories_hold, tell, values_hold,
};
use tokio::task::JoinSet;
use tonic::Code;

struct Group {
    servers: Vec<Server>,
    _cluster: Cluster,
    _folder: tempfile::TempDir,
}

impl Group {
    async fn of(count: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Cluster::start();
        let store = store_of_postgres(&cluster).await;
        let mut servers = Vec::new();
        for _ in 0..count {
            let mut server = Server::over(&store, "timers", folder.path());
            server.start().await;
            servers.push(server);
        }
        Self {
            servers,
            _cluster: cluster,
            _folder: folder,
        }
    }

    fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(Server::address).collect()
    }

    fn callers(&self) -> Vec<Caller> {
        self.servers.iter().map(Server::caller).collect()
    }

    async fn kill_one(&mut self, rng: &mut ChaCha8Rng) {
        let one = rng.random_range(0..self.servers.len());
        self.servers[one].kill();
        self.servers[one].start().await;
    }
}

/// Drivers go from server to server with each call; nothing is lost, and every server tells all of it in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_killed_lose_nothing_and_every_tail_is_whole() {
    for count in [2, 3] {
        let (seed, rounds) = (seed(), rounds(3));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        tell(format!(
            "{count} servers, {rounds} kills; again by TAPE_TRIAL_SEED={seed}"
        ));
        let mut group = Group::of(count).await;
        let mut followers: Vec<Follower> = (0..count)
            .map(|first| Follower::start(&group.addresses(), first))
            .collect();
        let plan = Plan {
            app: "moving".into(),
            clients: 24,
            servers: group.addresses(),
            seed,
        };
        let mut clients = Clients::start(&plan);
        for _ in 0..rounds {
            clients.acknowledged(rng.random_range(100..400)).await;
            group.kill_one(&mut rng).await;
        }
        clients.acknowledged(100).await;
        let values = clients.values.clone();
        let stories = clients.finish().await;

        let caller = group.servers[0].caller();
        let dumps = journals_are_whole(&caller, "moving").await;
        stories_hold(&stories, &dumps);
        keys_are_unique(&dumps);
        values_hold(&caller, "moving", &values).await;
        let ends: BTreeMap<String, i64> = dumps
            .iter()
            .map(|(run, dump)| (run.clone(), dump.run()["seq"].as_i64().expect("a seq")))
            .collect();
        for follower in &mut followers {
            let seen = follower.has_seen(&ends).await;
            assert!(seen.wrong.is_empty(), "{:#?}", seen.wrong);
        }
        let entries: i64 = ends.values().sum();
        tell(format!(
            "{count} servers: {} runs, {entries} entries, each seen once by {count} followers",
            ends.len()
        ));
    }
}

/// How long a lease lasts where drivers fight for it.
const LEASE_MS: i64 = 100;

/// What one driver wrote: decision's index, and whether it was acknowledged (true), refused (false), or neither.
type Written = Vec<(i64, Option<bool>)>;

/// Drivers that fight for a few runs over all servers, and go on writing after they have lost them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_driver_at_a_time_writes_and_a_former_one_never_does() {
    let seed = seed();
    tell(format!("leases: again by TAPE_TRIAL_SEED={seed}"));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut group = Group::of(3).await;
    let mut runs = Vec::new();
    for number in 0..3 {
        let start = pb::StartRunRequest {
            app_name: "fought for".into(),
            invocation_id: format!("run {number}"),
            ..Default::default()
        };
        let started = group.callers()[0].admin.start_run(start).await.expect("a run");
        runs.push(started.into_inner().run_id);
    }
    let mut drivers = JoinSet::new();
    for number in 0..12 {
        let (callers, run) = (group.callers(), runs[number % runs.len()].clone());
        let rng = ChaCha8Rng::from_rng(&mut rng);
        drivers.spawn(async move { (run.clone(), drive(&callers, &run, number, rng).await) });
    }
    group.kill_one(&mut rng).await;
    let mut written: BTreeMap<String, Written> = BTreeMap::new();
    while let Some(done) = drivers.join_next().await {
        let (run, wrote) = done.expect("a driver");
        written.entry(run).or_default().extend(wrote);
        if written.len() == 1 {
            group.kill_one(&mut rng).await;
        }
    }
    let mut takeovers = 0;
    for (run, written) in written {
        let dump = Dump::of(&group.servers[0].caller(), &run).await.expect("a dump");
        let mut wrong = dump.contradictions();
        wrong.extend(under_whose_fence(&dump));
        for (index, acknowledged) in written {
            let there = dump.find("decision", "decision_index", index).is_some();
            if acknowledged.is_some_and(|acknowledged| acknowledged != there) {
                wrong.push(format!(
                    "decision {index}: acknowledged {acknowledged:?}, there {there}"
                ));
            }
        }
        assert!(wrong.is_empty(), "run {run}: {wrong:#?}");
        takeovers += dump.rows("lease").len();
    }
    assert!(takeovers > runs.len(), "nobody took over");
    tell(format!("leases: {takeovers} take-overs of {} runs", runs.len()));
}

/// Invariant 3, told by the journal: a decision carries the fence under which it was sent, and the newest take-over before it
/// must be that one. And a take-over comes only after the lease before it has run out.
fn under_whose_fence(dump: &Dump) -> Vec<String> {
    let (mut fence, mut expires, mut wrong) = (0, 0, Vec::new());
    for entry in dump.rows("journal") {
        let seq = &entry["seq"];
        if entry["kind"] == "run.attached" {
            let at = entry["ts_ms"].as_i64().unwrap_or_default();
            if at < expires {
                wrong.push(format!("entry {seq}: taken over at {at}, before {expires}"));
            }
            let next = entry["payload"]["fence"].as_i64().unwrap_or_default();
            if next != fence + 1 {
                wrong.push(format!("entry {seq}: fence {next} after {fence}"));
            }
            fence = next;
            expires = entry["payload"]["expires_ms"].as_i64().unwrap_or_default();
        }
        if entry["kind"] == "decision.recorded" {
            let row = dump.find("decision", "seq", seq.clone());
            let sent = row.map_or("none", |row| row["rationale"].as_str().unwrap_or_default());
            if sent != fence.to_string() {
                wrong.push(format!("entry {seq}: written under fence {sent}, {fence} is in force"));
            }
        }
    }
    wrong
}

async fn drive(callers: &[Caller], run: &str, number: usize, mut rng: ChaCha8Rng) -> Written {
    let mut written = Written::new();
    let mut fence = 0;
    for step in 0..120 {
        let mut tape = callers[rng.random_range(0..callers.len())].tape.clone();
        if fence == 0 {
            let resume = pb::ResumeRunRequest {
                run_id: run.to_owned(),
                lease_owner: format!("driver {number} {step}"),
                lease_ttl_ms: LEASE_MS,
                fenced: true,
                ..Default::default()
            };
            if let Answer::Yes(resumed) = Answer::of(tape.resume_run(resume).await) {
                fence = resumed.run.expect("a run").fence;
            }
            let pause = rng.random_range(0..40);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            continue;
        }
        let index = i64::try_from(number * 1_000 + step).expect("small");
        let decision = pb::RecordDecisionRequest {
            run_id: run.to_owned(),
            fence,
            decision_index: index,
            model: "m".into(),
            response_json: "1".into(),
            rationale: fence.to_string(),
            ..Default::default()
        };
        match Answer::of(tape.record_decision(decision).await) {
            Answer::Yes(_) => written.push((index, Some(true))),
            Answer::No(status) => {
                assert_eq!(status.code(), Code::Aborted, "{status}");
                written.push((index, Some(false)));
                // Now and then it does not believe it.
                if rng.random_ratio(2, 3) {
                    fence = 0;
                }
            }
            Answer::Lost(_) => written.push((index, None)),
        }
        // As if it were held still, for longer than its lease.
        if rng.random_ratio(1, 15) {
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
    written
}

/// Runs that want the same business keys at once, and dispatchers that want the same effects, over all servers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_business_key_has_one_effect_and_an_effect_one_dispatcher() {
    const KEYS: usize = 12;
    const RUNS: usize = 6;
    let seed = seed();
    tell(format!("business keys: again by TAPE_TRIAL_SEED={seed}"));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut group = Group::of(3).await;
    let mut racers = JoinSet::new();
    for number in 0..RUNS {
        let callers = group.callers();
        let rng = ChaCha8Rng::from_rng(&mut rng);
        racers.spawn(async move { race(&callers, number, KEYS, rng).await });
    }
    // A server that dies between the reservation and its effect leaves a key that somebody else must be able to take.
    for _ in 0..2 {
        group.kill_one(&mut rng).await;
    }
    let mut owners: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (key, owner) in racers.join_all().await.into_iter().flatten() {
        owners.entry(key).or_default().push(owner);
    }
    let dumps = journals_are_whole(&group.servers[0].caller(), "racing").await;
    keys_are_unique(&dumps);
    let mut effects = Vec::new();
    for (key, owners) in &owners {
        assert_eq!(owners.len(), RUNS, "key {key}");
        assert!(
            owners.iter().all(|owner| owner == &owners[0]),
            "key {key} is of {owners:?}"
        );
        let name = format!("invoice {key}");
        let effect = dumps[&owners[0]]
            .find("effect", "business_key", name)
            .expect("the owner has the effect");
        effects.push((
            owners[0].clone(),
            effect["idempotency_key"].as_str().expect("a key").to_owned(),
        ));
    }
    assert_eq!(effects.len(), KEYS);

    let mut claims = JoinSet::new();
    for (run, key) in effects {
        for (number, caller) in group.callers().into_iter().cycle().take(6).enumerate() {
            let claim = pb::ClaimEffectDispatchRequest {
                run_id: run.clone(),
                idempotency_key: key.clone(),
                claimer: format!("dispatcher {number}"),
                ..Default::default()
            };
            let key = key.clone();
            claims.spawn(async move {
                let said = caller
                    .tape
                    .clone()
                    .claim_effect_dispatch(claim)
                    .await
                    .expect("an answer");
                (key, said.into_inner().acquired)
            });
        }
    }
    let mut acquired: BTreeMap<String, usize> = BTreeMap::new();
    for (key, got) in claims.join_all().await {
        *acquired.entry(key).or_default() += usize::from(got);
    }
    assert!(acquired.values().all(|count| *count == 1), "{acquired:#?}");
    journals_are_whole(&group.servers[1].caller(), "racing").await;
}

/// One run that wants all keys. Who owns each, as it was told.
async fn race(callers: &[Caller], number: usize, keys: usize, mut rng: ChaCha8Rng) -> Vec<(usize, String)> {
    let begin = pb::BeginRunRequest {
        app_name: "racing".into(),
        invocation_id: format!("racer {number}"),
        lease_owner: format!("racer {number}"),
        lease_ttl_ms: 3_600_000,
        fenced: true,
        ..Default::default()
    };
    let begun = loop {
        let mut tape = callers[rng.random_range(0..callers.len())].tape.clone();
        match Answer::of(tape.begin_run(begin.clone()).await) {
            Answer::Yes(begun) => break begun,
            Answer::No(status) => panic!("{status}"),
            Answer::Lost(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let mut owners = Vec::new();
    for key in 0..keys {
        let effect = pb::BeginEffectRequest {
            run_id: begun.run_id.clone(),
            fence: begun.fence,
            decision_index: i64::try_from(key).expect("small"),
            tool_name: "wire".into(),
            request_json: "{}".into(),
            semantics: pb::EffectSemantics::NonIdempotent.into(),
            dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
            connector: "elsewhere".into(),
            business_key: format!("invoice {key}"),
            ..Default::default()
        };
        let answer = loop {
            let mut tape = callers[rng.random_range(0..callers.len())].tape.clone();
            match Answer::of(tape.begin_effect(effect.clone()).await) {
                Answer::Yes(answer) => break answer,
                Answer::No(status) => panic!("{status}"),
                Answer::Lost(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let owner = if answer.deduplicated {
            answer.owner_run_id
        } else {
            begun.run_id.clone()
        };
        owners.push((key, owner));
    }
    owners
}

#[test]
fn a_decision_under_another_fence_and_an_early_take_over_are_found() {
    use serde_json::json;
    let attached = |seq: i64, at: i64, fence: i64| json!({"seq": seq, "kind": "run.attached", "ts_ms": at, "payload": {"fence": fence, "expires_ms": at + 100}});
    let told = |second: serde_json::Value, sent: &str| {
        let decided = json!({"seq": 3, "kind": "decision.recorded", "ts_ms": 300});
        under_whose_fence(&Dump::planted([
            ("journal", vec![attached(1, 0, 1), second, decided]),
            ("decision", vec![json!({"seq": 3, "rationale": sent})]),
        ]))
    };
    assert_eq!(told(attached(2, 100, 2), "2"), Vec::<String>::new());
    assert_eq!(told(attached(2, 99, 2), "2"), ["entry 2: taken over at 99, before 100"]);
    assert_eq!(told(attached(2, 100, 3), "3"), ["entry 2: fence 3 after 1"]);
    assert_eq!(
        told(attached(2, 100, 2), "1"),
        ["entry 3: written under fence 1, 2 is in force"]
    );
}
