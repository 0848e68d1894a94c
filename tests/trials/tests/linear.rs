//! Leases and values are linearizable: whatever many clients of one, two or three servers were told fits one order of
//! events, lost answers and killed servers included.

#![allow(clippy::panic, reason = "a trial that fails says what it saw")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_proto::v1 as pb;
use tape_store_tests::cluster::Cluster;
use tape_trials::history::{LeaseInput, LeaseModel, LeaseOutput, Recorder, ValueInput, ValueModel, ValueOutput};
use tape_trials::linear::check;
use tape_trials::{Answer, Caller, Server, detail, rounds, seed, store_of_postgres, store_of_sqlite, tell};
use tokio::task::JoinSet;
use tonic::{Code, Response, Status};

const CLIENTS: u32 = 6;
/// Operations of each client in a round.
const STEPS: u32 = 60;
/// Short enough that leases run out many times in a round.
const LEASE: Duration = Duration::from_millis(120);

/// Servers over one store.
struct Group {
    servers: Vec<Server>,
    /// Whether what they acknowledged outlives them.
    durable: bool,
}

impl Group {
    async fn start(store: &str, count: usize, folder: &tempfile::TempDir) -> Self {
        let mut servers = Vec::new();
        for _ in 0..count {
            let mut server = Server::over(store, "none", folder.path());
            server.start().await;
            servers.push(server);
        }
        Self {
            servers,
            durable: !store.starts_with("memory"),
        }
    }

    fn callers(&self) -> Vec<Caller> {
        self.servers.iter().map(Server::caller).collect()
    }

    /// Lets the clients go on, and kills one of the servers meanwhile.
    async fn disturb(&mut self, rng: &mut ChaCha8Rng, mut clients: JoinSet<()>) {
        for _ in 0..CLIENTS / 3 {
            clients.join_next().await.expect("clients").expect("a client");
        }
        if self.durable {
            let one = rng.random_range(0..self.servers.len());
            self.servers[one].kill();
            self.servers[one].start().await;
        }
        clients.join_all().await;
    }
}

/// A call whose answer is now and then not waited for.
async fn answer<T>(impatience: Option<u64>, call: impl Future<Output = Result<Response<T>, Status>>) -> Answer<T> {
    match impatience {
        Some(ms) => match tokio::time::timeout(Duration::from_millis(ms), call).await {
            Ok(said) => Answer::of(said),
            Err(_) => Answer::Lost(Status::deadline_exceeded("not waited for")),
        },
        None => Answer::of(call.await),
    }
}

fn impatience(rng: &mut ChaCha8Rng) -> Option<u64> {
    rng.random_ratio(1, 30).then(|| rng.random_range(1..8))
}

async fn values(group: &mut Group, rng: &mut ChaCha8Rng, round: u64) {
    let key = format!("key-{round}");
    let recorder = Arc::new(Recorder::<ValueInput, ValueOutput>::default());
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let (callers, recorder, key) = (group.callers(), recorder.clone(), key.clone());
        let mut rng = ChaCha8Rng::from_rng(rng);
        clients.spawn(async move {
            let mut known = 0;
            for step in 0..STEPS {
                let caller = &callers[rng.random_range(0..callers.len())];
                let input = match rng.random_range(0..10) {
                    0..=4 => ValueInput::Write(number * STEPS + step, [-1, 0, known][rng.random_range(0..3)]),
                    5 => ValueInput::Delete,
                    _ => ValueInput::Read,
                };
                let impatience = impatience(&mut rng);
                let mut said = None;
                let doing = async {
                    said = value(caller, &key, &input, impatience).await;
                    said.clone()
                };
                recorder.record(input.clone(), doing).await;
                match said {
                    Some(
                        ValueOutput::Written(version)
                        | ValueOutput::Guarded(version)
                        | ValueOutput::Deleted(_, version)
                        | ValueOutput::Found(version, _),
                    ) => known = version,
                    None => tokio::time::sleep(Duration::from_millis(3)).await,
                }
            }
        });
    }
    group.disturb(rng, clients).await;
    if let Err(problem) = check(&ValueModel, recorder.taken()) {
        panic!("value {key}: {problem}");
    }
}

async fn value(caller: &Caller, key: &str, input: &ValueInput, impatience: Option<u64>) -> Option<ValueOutput> {
    let mut tape = caller.tape.clone();
    let key = key.to_owned();
    match *input {
        ValueInput::Write(number, if_version) => {
            let write = pb::WriteValueRequest {
                key,
                value_json: number.to_string(),
                if_version,
                ..Default::default()
            };
            match answer(impatience, tape.write_value(write)).await {
                Answer::Yes(written) => Some(ValueOutput::Written(written.version)),
                Answer::No(status) if status.code() == Code::Aborted => {
                    Some(ValueOutput::Guarded(detail(&status).version))
                }
                Answer::No(status) => panic!("{status}"),
                Answer::Lost(_) => None,
            }
        }
        ValueInput::Delete => {
            let delete = pb::DeleteValueRequest {
                key,
                ..Default::default()
            };
            match answer(impatience, tape.delete_value(delete)).await {
                Answer::Yes(said) => Some(ValueOutput::Deleted(said.deleted, said.version)),
                Answer::No(status) => panic!("{status}"),
                Answer::Lost(_) => None,
            }
        }
        ValueInput::Read => {
            let get = pb::GetValueRequest {
                key,
                ..Default::default()
            };
            match answer(impatience, tape.get_value(get)).await {
                Answer::Yes(said) => {
                    let value = said.value.unwrap_or_default();
                    Some(ValueOutput::Found(value.version, value.value_json.parse().ok()))
                }
                Answer::No(status) => panic!("{status}"),
                Answer::Lost(_) => None,
            }
        }
    }
}

async fn leases(group: &mut Group, rng: &mut ChaCha8Rng, round: u64) {
    let start = pb::StartRunRequest {
        app_name: "lease".into(),
        invocation_id: format!("round-{round}"),
        ..Default::default()
    };
    let run = group.callers()[0]
        .admin
        .start_run(start)
        .await
        .expect("a run")
        .into_inner()
        .run_id;
    let recorder = Arc::new(Recorder::<LeaseInput, LeaseOutput>::default());
    // The newest fence that anybody got: writes are made under it too, and under older ones.
    let newest = Arc::new(AtomicI64::new(0));
    let mut clients = JoinSet::new();
    for owner in 0..CLIENTS {
        let (callers, recorder, newest, run) = (group.callers(), recorder.clone(), newest.clone(), run.clone());
        let mut rng = ChaCha8Rng::from_rng(rng);
        clients.spawn(async move {
            let mut mine = 0;
            for step in 0..STEPS {
                let caller = &callers[rng.random_range(0..callers.len())];
                let known = if rng.random() {
                    mine
                } else {
                    newest.load(Ordering::Relaxed)
                };
                let input = if known == 0 || rng.random_ratio(1, 3) {
                    LeaseInput::Take(owner)
                } else {
                    LeaseInput::Write(known)
                };
                let impatience = impatience(&mut rng);
                let mut said = None;
                let doing = async {
                    said = lease(caller, &run, &input, i64::from(owner * STEPS + step), impatience).await;
                    said.clone()
                };
                recorder.record(input.clone(), doing).await;
                if let Some(LeaseOutput::Granted(fence)) = said {
                    mine = fence;
                    newest.fetch_max(fence, Ordering::Relaxed);
                }
                // Now and then long enough for a lease to run out.
                let pause = if rng.random_ratio(1, 12) {
                    150
                } else {
                    rng.random_range(0..15)
                };
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        });
    }
    group.disturb(rng, clients).await;
    let history = recorder.taken();
    let fences = newest.load(Ordering::Relaxed);
    assert!(
        fences > 1,
        "the lease never changed hands in {} operations",
        history.len()
    );
    let model = LeaseModel {
        ttl_us: u64::try_from(LEASE.as_micros()).expect("short"),
    };
    if let Err(problem) = check(&model, history) {
        panic!("lease of {run}: {problem}");
    }
}

async fn lease(
    caller: &Caller,
    run: &str,
    input: &LeaseInput,
    index: i64,
    impatience: Option<u64>,
) -> Option<LeaseOutput> {
    let mut tape = caller.tape.clone();
    let run_id = run.to_owned();
    match *input {
        LeaseInput::Take(owner) => {
            let resume = pb::ResumeRunRequest {
                run_id,
                lease_owner: format!("owner-{owner}"),
                lease_ttl_ms: i64::try_from(LEASE.as_millis()).expect("short"),
                fenced: true,
                ..Default::default()
            };
            match answer(impatience, tape.resume_run(resume)).await {
                Answer::Yes(said) => Some(LeaseOutput::Granted(said.run.expect("a run").fence)),
                Answer::No(status) => {
                    let detail = detail(&status);
                    assert_eq!(detail.code, "TAPE-R005", "{status}");
                    let holder = detail.owner.trim_start_matches("owner-").parse().expect("an owner");
                    Some(LeaseOutput::Held(holder, detail.fence))
                }
                Answer::Lost(_) => None,
            }
        }
        LeaseInput::Write(fence) => {
            let decision = pb::RecordDecisionRequest {
                run_id,
                fence,
                decision_index: index,
                model: "m".into(),
                response_json: "1".into(),
                ..Default::default()
            };
            match answer(impatience, tape.record_decision(decision)).await {
                Answer::Yes(_) => Some(LeaseOutput::Written),
                Answer::No(status) => {
                    let detail = detail(&status);
                    assert_eq!(status.code(), Code::Aborted, "{status}");
                    Some(LeaseOutput::Fenced(detail.fence))
                }
                Answer::Lost(_) => None,
            }
        }
    }
}

async fn linearizable(what: &str, mut group: Group) {
    let (seed, rounds) = (seed(), rounds(3));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    tell(format!("{what}: {rounds} rounds; again by TAPE_TRIAL_SEED={seed}"));
    for round in 0..rounds {
        values(&mut group, &mut rng, round).await;
        leases(&mut group, &mut rng, round).await;
    }
    for server in &mut group.servers {
        server.stop();
    }
    let operations = rounds * u64::from(2 * CLIENTS * STEPS);
    tell(format!(
        "{what}: {operations} operations in {} histories, each has an order",
        2 * rounds
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_in_memory_is_linearizable() {
    let folder = tempfile::tempdir().expect("a folder");
    let group = Group::start("memory:", 1, &folder).await;
    linearizable("memory", group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_over_sqlite_is_linearizable() {
    let folder = tempfile::tempdir().expect("a folder");
    let group = Group::start(&store_of_sqlite(folder.path()), 1, &folder).await;
    linearizable("sqlite", group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_and_three_servers_over_one_postgres_are_linearizable() {
    for count in [2, 3] {
        let folder = tempfile::tempdir().expect("a folder");
        let cluster = Cluster::start();
        let group = Group::start(&store_of_postgres(&cluster).await, count, &folder).await;
        linearizable(&format!("{count} servers over postgres"), group).await;
    }
}
