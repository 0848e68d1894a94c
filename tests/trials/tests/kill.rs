//! SIGKILL of the server, and of its database, at random moments under 64 clients.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_store_tests::cluster::Cluster;
use tape_trials::{
    Clients, Plan, Server, journals_are_whole, keys_are_unique, rounds, seed, store_of_postgres, store_of_sqlite,
    stories_hold, tell, values_hold,
};

/// Rounds where nobody says how many.
const ROUNDS: u64 = 8;
const CLIENTS: u32 = 64;

fn plan(round: u64, seed: u64, server: &Server) -> Plan {
    Plan {
        app: format!("trial-{round}"),
        clients: CLIENTS,
        servers: vec![server.address()],
        seed: seed.wrapping_add(round),
    }
}

/// Rounds of: clients at work, SIGKILL at a moment that the seed chooses, restart, and a look at everything.
async fn killed(what: &str, mut server: Server) {
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rounds = rounds(ROUNDS);
    tell(format!("{what}: {rounds} rounds; again by TAPE_TRIAL_SEED={seed}"));
    server.start().await;
    let (mut told, mut starts, mut runs, mut facts, mut lost) = (Vec::new(), Vec::new(), 0, 0, 0);
    for round in 0..rounds {
        let plan = plan(round, seed, &server);
        let mut clients = Clients::start(&plan);
        clients.acknowledged(rng.random_range(20..1_200)).await;
        server.kill();
        let start = server.start().await;
        starts.push(start);
        clients.acknowledged(rng.random_range(64..400)).await;
        let values = clients.values.clone();
        let stories = clients.finish().await;

        let dumps = journals_are_whole(&server.caller(), &plan.app).await;
        stories_hold(&stories, &dumps);
        keys_are_unique(&dumps);
        values_hold(&server.caller(), &plan.app, &values).await;
        runs += dumps.len();
        facts += stories.iter().map(|story| story.known.len()).sum::<usize>();
        lost += stories.iter().map(|story| story.possible.len()).sum::<usize>();
        told.push((plan.app, stories, values));
    }
    // What was acknowledged in the first round is still there after the last.
    for (app, stories, values) in &told {
        let dumps = journals_are_whole(&server.caller(), app).await;
        stories_hold(stories, &dumps);
        values_hold(&server.caller(), app, values).await;
    }
    server.stop();
    tell(format!(
        "{what}: {rounds} kills, {runs} runs, {facts} acknowledged facts, {lost} without an answer; {}",
        spread(starts)
    ));
}

fn spread(mut starts: Vec<Duration>) -> String {
    starts.sort();
    let at = |share: usize| starts[(starts.len() - 1) * share / 100].as_millis();
    format!(
        "serving after kill -9 within ms: p50 {}, p90 {}, longest {}",
        at(50),
        at(90),
        at(100)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sqlite_acknowledged_survives_a_kill_of_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store_of_sqlite(folder.path());
    killed("sqlite", Server::over(&store, "timers", folder.path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgres_acknowledged_survives_a_kill_of_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start();
    let store = store_of_postgres(&cluster).await;
    killed("postgres", Server::over(&store, "timers", folder.path())).await;
}

/// The server lives on, and its database is killed under it: all of its processes, or one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_of_postgres_itself() {
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rounds = rounds(ROUNDS);
    tell(format!(
        "postgres itself: {rounds} rounds; again by TAPE_TRIAL_SEED={seed}"
    ));
    let folder = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start();
    let store = store_of_postgres(&cluster).await;
    let mut server = Server::over(&store, "timers", folder.path());
    server.start().await;
    let (mut told, mut facts, mut lost) = (Vec::new(), 0, 0);
    for round in 0..rounds {
        let plan = plan(round, seed, &server);
        let mut clients = Clients::start(&plan);
        clients.acknowledged(rng.random_range(20..800)).await;
        if round % 2 == 0 {
            cluster.kill();
            cluster.restart();
        } else {
            assert!(cluster.kill_a_backend(), "the server has connections");
        }
        clients.acknowledged(rng.random_range(64..400)).await;
        let values = clients.values.clone();
        let stories = clients.finish().await;
        facts += stories.iter().map(|story| story.known.len()).sum::<usize>();
        lost += stories.iter().map(|story| story.possible.len()).sum::<usize>();
        told.push((plan.app, stories, values));
    }
    for (app, stories, values) in &told {
        let dumps = journals_are_whole(&server.caller(), app).await;
        stories_hold(stories, &dumps);
        keys_are_unique(&dumps);
        values_hold(&server.caller(), app, values).await;
    }
    server.stop();
    tell(format!(
        "postgres itself: {rounds} kills, {facts} acknowledged facts, {lost} without an answer"
    ));
}
