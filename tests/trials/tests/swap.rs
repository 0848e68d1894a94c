//! Hot swap under load: 64 clients wire money through the bank's connector while its versions are swapped, rolled back, shared,
//! trapping and removed, and while the server is killed in the middle of a swap. The bank's own ledger says what left.
//!
//! `TAPE_TRIAL_SWAPS=200` is the whole trial; without it there are few, so that CI is done within a minute.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a trial that fails says what it saw")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tape_connector_port::is_canary;
use tape_connector_tests::component;
use tape_e2e::Bank;
use tape_proto::v1 as pb;
use tape_proto::v1::put_connector_request::Part;
use tape_store_tests::cluster::Cluster;
use tape_trials::{Answer, Caller, Server, seed, store_of_postgres, store_of_sqlite, swaps, tell};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const CLIENTS: usize = 64;
/// Swaps where nobody says how many.
const FEW: u64 = 24;
/// Claims run out soon, so that what a killed process held is found soon.
const SOON_MS: u32 = 1_500;
/// Where nobody is killed, no claim runs out because a machine is busy: then each effect is confirmed.
const LATE_MS: u32 = 30_000;
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(90);
/// Within this time every process calls what was activated.
const FOLLOW_MS: i64 = 1_000;

/// The bank's component with something behind it that changes its digest and nothing else: a custom section.
fn bank_component(mark: &str) -> Vec<u8> {
    let mut component = component("tape-connector-bank");
    let name = b"mark";
    let length = u8::try_from(1 + name.len() + mark.len()).expect("a short mark");
    component.extend([0, length, u8::try_from(name.len()).expect("short")]);
    component.extend(name);
    component.extend(mark.as_bytes());
    component
}

/// The configuration of a version that traps: before anything leaves, or just after the wire was booked.
fn trap_config(bank: &str, after_the_wire: bool) -> String {
    let body = r#"{"to":"Bob","amount":"1.00","currency":"EUR","reference":"{{business_key}}"}"#;
    let wire = json!({"send": {"method": "POST", "url": format!("{bank}/wires"), "body": body,
        "headers": [["content-type", "application/json"]]}});
    let mut steps = vec![json!({"panic": "as it was told"})];
    if after_the_wire {
        steps.insert(0, wire);
    }
    json!({
        "name": "bank", "version": "0.0.0", "contract": "1.0.0", "summary": "traps",
        "operations": [{"name": "wire", "semantics": "NON_IDEMPOTENT"}],
        "supports": {"observe": true, "compensate": true},
        "always": {"steps": steps, "answer": {"unknown": {"reason": "never said"}}},
    })
    .to_string()
}

struct Deployer {
    caller: Caller,
    bank: String,
}

impl Deployer {
    async fn put(&self, version: &str, component: Vec<u8>, config_json: String) -> String {
        let host = self
            .bank
            .trim_start_matches("http://")
            .rsplit_once(':')
            .expect("a port");
        let header = pb::PutConnectorHeader {
            name: "bank".into(),
            version: version.into(),
            config_json,
            grants: Some(pb::ConnectorGrants {
                hosts: vec![pb::HostGrant {
                    scheme: "http".into(),
                    host: host.0.into(),
                    port: host.1.parse().expect("a port"),
                    methods: vec!["GET".into(), "POST".into()],
                    ..Default::default()
                }],
                limits: Some(pb::ConnectorLimits {
                    concurrent_calls: 64,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            who: "trial".into(),
            ..Default::default()
        };
        let parts = std::iter::once(Part::Header(header))
            .chain(component.chunks(512 * 1024).map(|chunk| Part::Chunk(chunk.to_vec())));
        let parts: Vec<_> = parts.map(|part| pb::PutConnectorRequest { part: Some(part) }).collect();
        let answer = self
            .caller
            .connectors
            .clone()
            .put_connector(tonic::Request::new(stream::iter(parts)))
            .await;
        answer
            .expect("it is put")
            .into_inner()
            .version
            .expect("a version")
            .digest
    }

    async fn put_bank(&self, version: &str) -> String {
        self.put(
            version,
            bank_component(version),
            json!({ "base_url": self.bank }).to_string(),
        )
        .await
    }

    async fn put_trap(&self, version: &str, after_the_wire: bool) -> String {
        self.put(
            version,
            component("tape-connector-probe"),
            trap_config(&self.bank, after_the_wire),
        )
        .await
    }

    async fn try_activate(&self, version: &str, weight: i32) -> Answer<pb::ActivateVersionResponse> {
        let request = pb::ActivateVersionRequest {
            name: "bank".into(),
            version: version.into(),
            weight,
            ..Default::default()
        };
        Answer::of(self.caller.connectors.clone().activate_version(request).await)
    }

    async fn activate(&self, version: &str, weight: i32) {
        match self.try_activate(version, weight).await {
            Answer::Yes(_) => {}
            other => panic!("{version} is not activated: {other:?}"),
        }
    }

    async fn rollback(&self, from: &str) -> String {
        let request = pb::RollbackRequest {
            name: "bank".into(),
            from_version: from.into(),
            ..Default::default()
        };
        let answer = self
            .caller
            .connectors
            .clone()
            .rollback(request)
            .await
            .expect("rolled back");
        answer.into_inner().active.expect("a version").version
    }

    async fn remove(&self, version: &str) {
        let request = pb::RemoveVersionRequest {
            name: "bank".into(),
            version: version.into(),
            force: true,
            ..Default::default()
        };
        assert!(
            self.caller
                .connectors
                .clone()
                .remove_version(request)
                .await
                .expect("removed")
                .into_inner()
                .removed
        );
    }

    /// Active versions with their shares, as the server has them.
    async fn active(&self) -> Vec<(String, i32)> {
        let request = pb::ListConnectorsRequest {
            name: "bank".into(),
            all_versions: true,
            ..Default::default()
        };
        let listed = self
            .caller
            .connectors
            .clone()
            .list_connectors(request)
            .await
            .expect("listed");
        let active = listed
            .into_inner()
            .versions
            .into_iter()
            .filter(|version| version.weight > 0);
        let mut active: Vec<_> = active.map(|version| (version.version, version.weight)).collect();
        active.sort();
        active
    }
}

/// What the clients have done so far.
#[derive(Default)]
struct Load {
    enough: AtomicBool,
    confirmed: AtomicU64,
    /// Run and key of every effect that was begun, by its business key.
    begun: Mutex<BTreeMap<String, (String, String)>>,
    /// Business keys that a client has asked for, acknowledged or not.
    asked: Mutex<BTreeSet<String>>,
}

/// Asks until there is an answer; a server that is killed comes back.
async fn surely<T, F: Future<Output = Result<tonic::Response<T>, tonic::Status>>>(ask: impl Fn() -> F) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match Answer::of(ask().await) {
            Answer::Yes(answer) => return answer,
            Answer::No(status) => panic!("a call failed because of a swap: {status:?}"),
            Answer::Lost(status) => assert!(Instant::now() < until, "no answer: {status:?}"),
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn client(number: usize, caller: Caller, load: Arc<Load>) {
    for story in 0.. {
        if load.enough.load(Ordering::Relaxed) {
            return;
        }
        let reference = format!("w-{number}-{story}");
        let begin = pb::BeginRunRequest {
            app_name: "treasury".into(),
            user_id: format!("user-{number}"),
            session_id: "session".into(),
            invocation_id: reference.clone(),
            lease_owner: format!("driver-{number}"),
            ..Default::default()
        };
        let run = surely(|| async { caller.tape.clone().begin_run(begin.clone()).await })
            .await
            .run_id;
        let effect = pb::BeginEffectRequest {
            run_id: run.clone(),
            tool_name: "wire_money".into(),
            request_json: r#"{"to":"Bob","amount":"1.00","currency":"EUR"}"#.into(),
            semantics: pb::EffectSemantics::NonIdempotent.into(),
            dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
            business_key: reference.clone(),
            connector: "bank".into(),
            operation: "wire".into(),
            ..Default::default()
        };
        load.asked.lock().unwrap().insert(reference.clone());
        let key = surely(|| async { caller.tape.clone().begin_effect(effect.clone()).await })
            .await
            .idempotency_key;
        load.begun.lock().unwrap().insert(reference, (run.clone(), key.clone()));
        let until = Instant::now() + Duration::from_secs(5);
        // One in doubt may take its time: the client goes on, and its end is looked at at the end.
        while Instant::now() < until && !load.enough.load(Ordering::Relaxed) {
            let found = effect_of(&caller, &run, &key).await;
            if never_left(&found) {
                break;
            }
            if found.status() == pb::EffectStatus::Confirmed {
                load.confirmed.fetch_add(1, Ordering::Relaxed);
                break;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

async fn effect_of(caller: &Caller, run: &str, key: &str) -> pb::EffectRecord {
    let request = pb::GetEffectRequest {
        run_id: run.into(),
        idempotency_key: key.into(),
    };
    surely(|| async { caller.tape.clone().get_effect(request.clone()).await })
        .await
        .effect
        .expect("it was begun")
}

impl Load {
    /// Waits until so many more wires are confirmed.
    async fn goes_on(&self, more: u64) {
        let goal = self.confirmed.load(Ordering::Relaxed) + more;
        let until = Instant::now() + PATIENCE;
        while self.confirmed.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < until, "nothing is confirmed any more");
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// From when until when calls went where, as far as this process knows for sure: every server has followed by `from`, and none has
/// been told otherwise before `until`.
struct Window {
    from: i64,
    until: i64,
    /// The stable version, and the canary with its share.
    stable: String,
    canary: Option<(String, u8)>,
}

/// Who answered questions about effects: effect's key and version.
type Questions = Arc<Mutex<Vec<(String, String)>>>;

async fn listen(caller: Caller, questions: Questions) {
    loop {
        let request = pb::TailConnectorRequest {
            name: "bank".into(),
            limit: 1,
            follow: true,
            ..Default::default()
        };
        if let Ok(lines) = caller.listening().tail_connector(request).await {
            let mut lines = lines.into_inner();
            while let Ok(Some(line)) = lines.message().await {
                if line.level == "call" && line.question == "observe" {
                    questions.lock().unwrap().push((line.effect_key, line.version));
                }
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

/// The swaps, one after the other.
struct Swapper<'a> {
    deployer: Deployer,
    bank: &'a Bank,
    load: &'a Load,
    rng: ChaCha8Rng,
    digests: BTreeMap<String, String>,
    removed: BTreeSet<String>,
    windows: Vec<Window>,
    traps: u64,
}

impl Swapper<'_> {
    /// Lets the load run over what was just activated.
    async fn settle(&mut self, stable: &str, canary: Option<(&str, u8)>, wires: u64) {
        self.settle_for(stable, canary, wires, 0).await;
    }

    /// The same for longer than it takes everybody to follow: what is begun after that goes where it was told to go.
    async fn settle_long(&mut self, stable: &str, canary: Option<(&str, u8)>, wires: u64) {
        self.settle_for(stable, canary, wires, FOLLOW_MS + 700).await;
    }

    async fn settle_for(&mut self, stable: &str, canary: Option<(&str, u8)>, wires: u64, ms: i64) {
        let since = now_ms();
        self.load.goes_on(wires).await;
        while now_ms() < since + ms {
            self.load.goes_on(1).await;
        }
        self.windows.push(Window {
            from: since + FOLLOW_MS,
            until: now_ms(),
            stable: stable.into(),
            canary: canary.map(|(version, share)| (version.to_owned(), share)),
        });
    }

    async fn swap(&mut self, number: u64) {
        let wires = self.rng.random_range(8..40);
        match number % 8 {
            0 => {
                self.deployer.activate("2", 0).await;
                self.settle_long("2", None, wires).await;
            }
            1 => {
                // The answer to one wire is lost, and by the time somebody asks, another version is active.
                self.bank.control(r#"{"next_answer":"lose"}"#);
                assert_eq!(self.deployer.rollback("2").await, "1");
                self.settle("1", None, wires).await;
            }
            2 => {
                self.deployer.activate("3", 30).await;
                self.settle_long("1", Some(("3", 30)), 3 * wires).await;
            }
            3 => {
                self.bank.control(r#"{"next_answer":"lose"}"#);
                self.deployer.activate("3", 100).await;
                self.settle("3", None, wires).await;
            }
            4 => {
                assert_eq!(self.deployer.rollback("3").await, "1");
                self.settle("1", None, wires).await;
            }
            5 | 6 => {
                let (after, version) = (number % 8 == 6, format!("trap-{number}"));
                let digest = self.deployer.put_trap(&version, after).await;
                self.digests.insert(version.clone(), digest);
                self.deployer.activate(&version, 0).await;
                sleep(Duration::from_millis(self.rng.random_range(1..60))).await;
                assert_eq!(self.deployer.rollback(&version).await, "1");
                self.traps += 1;
                // Nobody can say what it did: from now on the active version is asked.
                self.deployer.remove(&version).await;
                self.removed.insert(version);
                self.settle("1", None, wires).await;
            }
            _ => {
                // An answer is held back while its version is swapped away and back.
                self.bank.control(r#"{"next_answer":"hold","hold_ms":150}"#);
                self.load.goes_on(1).await;
                self.deployer.activate("2", 0).await;
                assert_eq!(self.deployer.rollback("2").await, "1");
                self.settle("1", None, wires).await;
            }
        }
    }
}

/// FAILED because the upstream says that it never got it: a server was killed after the mark and before the byte.
fn never_left(effect: &pb::EffectRecord) -> bool {
    let code = serde_json::from_str::<serde_json::Value>(&effect.error_json).map(|error| error["code"] == "absent");
    effect.status() == pb::EffectStatus::Failed && code.unwrap_or(false)
}

/// What must hold once everybody has finished.
async fn check(swapper: &Swapper<'_>, caller: &Caller, questions: &[(String, String)], killed: bool) -> String {
    let begun = swapper.load.begun.lock().unwrap().clone();
    let until = Instant::now() + PATIENCE;
    let mut effects = BTreeMap::new();
    let mut absent = Vec::new();
    for (reference, (run, key)) in &begun {
        let effect = loop {
            let effect = effect_of(caller, run, key).await;
            if effect.status() == pb::EffectStatus::Confirmed || killed && never_left(&effect) {
                break effect;
            }
            assert!(
                effect.status() != pb::EffectStatus::Failed && !effect.stuck && Instant::now() < until,
                "an effect is lost: {effect:#?}"
            );
            sleep(LOOK_AGAIN).await;
        };
        if effect.status() == pb::EffectStatus::Failed {
            absent.push(reference.clone());
        } else {
            effects.insert(reference.clone(), effect);
        }
    }

    // The bank's own books: each wire once, and none that nobody asked for.
    let mut booked: BTreeMap<String, usize> = BTreeMap::new();
    for wire in swapper.bank.wires() {
        *booked
            .entry(wire["reference"].as_str().expect("a reference").to_owned())
            .or_default() += 1;
    }
    let twice: Vec<_> = booked.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "wired twice: {twice:?}");
    let unbooked: Vec<_> = effects
        .keys()
        .filter(|reference| !booked.contains_key(*reference))
        .collect();
    assert!(
        unbooked.is_empty(),
        "confirmed and not in the bank's books: {unbooked:?}"
    );
    let denied: Vec<_> = absent
        .iter()
        .filter(|reference| booked.contains_key(*reference))
        .collect();
    assert!(
        denied.is_empty(),
        "said to be absent, and in the bank's books: {denied:?}"
    );
    let asked = swapper.load.asked.lock().unwrap().clone();
    assert!(
        booked.keys().all(|reference| asked.contains(reference)),
        "wires that nobody asked for"
    );

    // Every attempt that sent something says which component did, and it is the one of that name.
    let mut by_key = BTreeMap::new();
    let (mut checked, mut canaries) = (0, 0);
    for effect in effects.values() {
        for attempt in &effect.attempts {
            if attempt.sent_at_ms == 0 {
                continue;
            }
            let known = swapper.digests.get(&attempt.connector_version);
            assert_eq!(known, Some(&attempt.connector_digest), "{effect:#?}");
            // Where nothing was changed around the attempt, it went where it was told to go.
            let window = swapper
                .windows
                .iter()
                .find(|window| attempt.claimed_at_ms >= window.from && attempt.sent_at_ms < window.until);
            if let Some(window) = window {
                let expected = match &window.canary {
                    Some((canary, share)) if is_canary(&effect.idempotency_key, *share) => {
                        canaries += 1;
                        canary
                    }
                    _ => &window.stable,
                };
                assert_eq!(&attempt.connector_version, expected, "{effect:#?}");
                checked += 1;
            }
            by_key.insert(effect.idempotency_key.clone(), attempt.connector_version.clone());
        }
    }

    // The version that dispatched an effect answers for it, as long as it is there.
    let mut own = 0;
    for (key, version) in questions {
        let Some(dispatched_by) = by_key.get(key) else { continue };
        if !swapper.removed.contains(dispatched_by) {
            assert_eq!(version, dispatched_by, "another version was asked about {key}");
            own += 1;
        }
    }
    let traps = swapper.traps;
    assert!(
        checked > 0 && canaries > 0,
        "no attempt could be checked: {checked}, {canaries}"
    );
    format!(
        "{} wires confirmed, each booked once; {} absent after a kill, none of them booked; {checked} attempts in settled windows went where they should ({canaries} to a canary); \
         {own} questions in doubt answered by the version that dispatched; {traps} trapping versions",
        effects.len(),
        absent.len()
    )
}

struct Stage {
    servers: Vec<Server>,
    reactors: Vec<Child>,
    _cluster: Option<Cluster>,
    folder: tempfile::TempDir,
}

impl Stage {
    fn reactor(&self) -> Child {
        let url = format!("tape://{}", self.servers[0].address());
        Command::new(tape_e2e::binary("tape-reactor"))
            .args([
                "outbox",
                "reconciler",
                "--url",
                &url,
                "--claim-ttl-ms",
                &LATE_MS.to_string(),
            ])
            .current_dir(self.folder.path())
            .env_remove("TAPE_URL")
            .env("TAPE_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .expect("tape-reactor can be started")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for reactor in &mut self.reactors {
            reactor.kill().ok();
            reactor.wait().ok();
        }
    }
}

async fn trial(what: &str, mut stage: Stage, kills: bool) {
    let (seed, swaps) = (seed(), swaps(FEW));
    tell(format!("{what}: {swaps} swaps; again by TAPE_TRIAL_SEED={seed}"));
    let load = Arc::new(Load::default());
    let bank = Bank::open(stage.folder.path());
    let deployer = Deployer {
        caller: stage.servers[0].caller(),
        bank: bank.url(),
    };
    let mut digests = BTreeMap::new();
    for version in ["1", "2", "3"] {
        digests.insert(version.to_owned(), deployer.put_bank(version).await);
    }
    deployer.activate("1", 0).await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let caller = stage.servers[number % stage.servers.len()].caller();
        clients.spawn(client(number, caller, load.clone()));
    }
    let questions = Questions::default();
    let mut listeners = JoinSet::new();
    for server in &stage.servers {
        listeners.spawn(listen(server.caller(), questions.clone()));
    }
    let mut swapper = Swapper {
        deployer,
        bank: &bank,
        load: &load,
        rng: ChaCha8Rng::seed_from_u64(seed),
        digests,
        removed: BTreeSet::new(),
        windows: Vec::new(),
        traps: 0,
    };
    let begun = Instant::now();
    let mut killed = 0;
    for number in 0..swaps {
        swapper.swap(number).await;
        // In the middle of a swap the server dies. The next one has the state before it or after it, whole.
        if kills && number % 8 == 7 {
            let pause = Duration::from_micros(swapper.rng.random_range(0..8_000));
            let activating = swapper.deployer.try_activate("2", 0);
            let answer = tokio::select! {
                answer = activating => Some(answer),
                () = sleep(pause) => None,
            };
            stage.servers[0].kill();
            stage.servers[0].start().await;
            killed += 1;
            let active = swapper.deployer.active().await;
            let after = vec![("2".to_owned(), 100)];
            match answer {
                Some(Answer::Yes(_)) => assert_eq!(active, after, "an acknowledged swap is lost"),
                _ => assert!(
                    active == after || active == [("1".to_owned(), 100)],
                    "half a swap: {active:?}"
                ),
            }
            swapper.deployer.activate("1", 0).await;
            swapper.settle("1", None, 8).await;
        }
    }
    let took = begun.elapsed();
    load.enough.store(true, Ordering::Relaxed);
    clients.join_all().await;
    let caller = stage.servers[0].caller();
    let heard = questions.lock().unwrap().clone();
    let found = check(&swapper, &caller, &heard, kills).await;
    listeners.shutdown().await;
    drop(swapper);
    for server in &mut stage.servers {
        server.stop();
    }
    tell(format!(
        "{what}: {swaps} swaps and {killed} kills in {} s: {found}",
        took.as_secs()
    ));
}

fn stage(servers: Vec<Server>, cluster: Option<Cluster>, folder: tempfile::TempDir) -> Stage {
    Stage {
        servers,
        reactors: Vec::new(),
        _cluster: cluster,
        folder,
    }
}

/// One server that does all the work, and is killed in the middle of swaps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_swap_loses_an_effect_or_wires_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_of_sqlite(folder.path());
    let mut server = Server::over(&store, "all", folder.path()).claiming_for(SOON_MS);
    server.start().await;
    trial("sqlite, one server", stage(vec![server], None, folder), true).await;
}

/// Two servers over one Postgres, and reactors in processes of their own: all of them follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_reactors_follow_within_a_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start();
    let store = store_of_postgres(&cluster).await;
    let mut servers = Vec::new();
    for reactors in ["recovery,timers", "all"] {
        let mut server = Server::over(&store, reactors, folder.path()).claiming_for(LATE_MS);
        server.start().await;
        servers.push(server);
    }
    let mut stage = stage(servers, Some(cluster), folder);
    stage.reactors = vec![stage.reactor(), stage.reactor()];
    trial("postgres, two servers and two reactors", stage, false).await;
}
