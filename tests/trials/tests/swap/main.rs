//! Hot swap under load: 64 clients wire money through the bank's connector while its versions are swapped, rolled back, shared,
//! trapping and removed, and while the server is killed in the middle of a swap. The bank's own ledger says what left.
//!
//! `TAPE_TRIAL_SWAPS=200` is the whole trial; without it there are few, so that CI is done within a minute.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a trial that fails says what it saw")]

mod check;
mod deployer;
mod load;
mod swapper;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_e2e::Bank;
use tape_store_tests::cluster::Cluster;
use tape_trials::{Answer, Server, seed, store_of_postgres, store_of_sqlite, swaps, tell};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::check::check;
use crate::deployer::Deployer;
use crate::load::{Load, client};
use crate::swapper::{Questions, Swapper, listen};

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
