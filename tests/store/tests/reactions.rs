//! Reactions over real stores: whatever dies and however many servers look, an event makes one task, and claiming a few of
//! many reads a few.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use tape_connector_port::NoConnectors;
use tape_core::command::begin_run::{BeginRun, LeaseRequest};
use tape_core::command::decision::RecordDecision;
use tape_core::command::make_tasks::{Made, MakeTasks};
use tape_core::command::reaction::Asked;
use tape_core::lease::Driver;
use tape_core::reaction::ReactionName;
use tape_core::run::{Caller, Run};
use tape_core::task::{Source, Task};
use tape_core::{DueKind, RunId, RunIdentity, Time};
use tape_engine::{Engine, EngineConfig, Matcher, TaskClaim, TaskStatus};
use tape_store::Store;
use tape_store_memory::MemoryStore;
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_sqlite::{SqliteConfig, SqliteStore};
use tape_store_tests::cluster::Cluster;
use tape_store_tests::mortal::Mortal;
use tape_store_tests::world::World;
use tokio::task::JoinSet;

/// A server over a store.
fn engine(world: &Arc<World>, store: Arc<dyn Store>) -> Arc<Engine> {
    let connectors = Arc::new(NoConnectors);
    let config = EngineConfig::default();
    Arc::new(Engine::new(store, world.clone(), world.clone(), connectors, config))
}

/// Begins a run of the app and has it decide `decisions` times.
async fn story(engine: &Engine, invocation: String, decisions: i64) -> RunId {
    let begin = BeginRun {
        identity: RunIdentity {
            app: "app".into(),
            invocation,
            ..RunIdentity::default()
        },
        caller: Caller::default(),
        input_json: String::new(),
        lease: LeaseRequest {
            owner: "driver".into(),
            ttl_ms: 0,
            fenced: true,
        },
    };
    let run = engine.execute(&begin, None).await.expect("begun").run;
    for index in 0..decisions {
        engine.execute(&decision(&run, index), None).await.expect("recorded");
    }
    run.id
}

fn decision(run: &Run, index: i64) -> RecordDecision {
    RecordDecision {
        run: run.id.clone(),
        driver: Driver {
            fence: Some(run.fence),
            owner: None,
        },
        index,
        model: "m".into(),
        request_json: "{}".into(),
        response_json: index.to_string(),
        rationale: String::new(),
        policy_version: String::new(),
    }
}

/// A reaction to the decisions of all runs.
async fn on_decisions(engine: &Engine) -> ReactionName {
    let asked = Asked {
        subject_pattern: "/tape/decision/recorded/**".into(),
        predicate_cel: "payload.model == 'm' && app == 'app'".into(),
        max_concurrency: 1_000_000,
        num_shards: 4,
        ..Asked::default()
    };
    let reaction = engine.register_reaction(String::new(), "decided".into(), asked).await;
    reaction.expect("registered").name
}

fn claim(name: &ReactionName, owner: &str, shard: Option<u32>, max: u32) -> TaskClaim {
    TaskClaim {
        name: name.clone(),
        shard,
        owner: owner.into(),
        lease_ms: 0,
        max,
        due_until: None,
    }
}

/// How many tasks each event has: by run and seq.
fn by_event(tasks: &[Task]) -> BTreeMap<(String, i64), usize> {
    let mut events = BTreeMap::new();
    for task in tasks {
        *events.entry((task.source.run.0.clone(), task.source.seq)).or_default() += 1;
    }
    events
}

/// Servers match, claim and complete, and die between any two of their commits; the next one goes on. At the end every
/// event has one task, and each is done.
async fn no_task_is_lost_or_made_twice(store: Arc<dyn Store>) {
    const RUNS: i64 = 12;
    const DECISIONS: i64 = 60;
    let seed = 7;
    let mut luck = ChaCha8Rng::seed_from_u64(seed);
    let world = World::new();
    let whole = engine(&world, store.clone());
    let name = on_decisions(&whole).await;
    for run in 0..RUNS {
        story(&whole, format!("i-{run}"), DECISIONS).await;
        // A server lives for a few commits.
        let mortal = Mortal::new(store.clone(), luck.random_range(0..4), luck.random_bool(0.5));
        let server = engine(&world, mortal);
        let mut matcher = Matcher::new(server.clone());
        while matcher.pass().await.is_ok_and(|more| more) {}
        for owner in ["a", "b"] {
            let Ok(tasks) = server.claim_tasks(&claim(&name, owner, None, 40)).await else {
                break;
            };
            for task in tasks {
                drop(server.complete_task("", &task.id(), owner.to_owned()).await);
            }
        }
        world.now.fetch_add(1_500, Ordering::SeqCst);
    }
    // A server knows of what others wrote only where the store is shared: the last one begins anew.
    let whole = engine(&world, store.clone());
    let mut matcher = Matcher::new(whole.clone());
    while matcher.pass().await.expect("a pass") {}
    // What the dead held is free after their leases.
    world.now.fetch_add(60_000, Ordering::SeqCst);
    loop {
        let tasks = whole
            .claim_tasks(&claim(&name, "last", None, 100))
            .await
            .expect("claimed");
        if tasks.is_empty() {
            break;
        }
        for task in tasks {
            whole.complete_task("", &task.id(), "last".into()).await.expect("done");
        }
    }
    let all = whole.tasks(&name, None, 10_000).await.expect("listed");
    let done = whole
        .tasks(&name, Some(TaskStatus::Done), 10_000)
        .await
        .expect("listed");
    let events = by_event(&done);
    let expected = usize::try_from(RUNS * DECISIONS).expect("small");
    assert_eq!(
        (all.len(), done.len(), events.len()),
        (expected, expected, expected),
        "seed {seed}"
    );
    let counts = whole.reaction(&name).await.expect("there").counts;
    assert_eq!(
        (counts.pending, counts.claimed, counts.done, counts.dead),
        (0, 0, expected as u64, 0)
    );
}

#[tokio::test]
async fn servers_that_die_lose_no_task_in_memory() {
    no_task_is_lost_or_made_twice(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn servers_that_die_lose_no_task_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("tape.db"));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config).await.expect("a store"));
    no_task_is_lost_or_made_twice(store.clone()).await;
    store.close().await;
}

#[tokio::test]
async fn servers_that_die_lose_no_task_on_postgres() {
    let cluster = Cluster::start();
    let config = PostgresConfig::parse(&cluster.database("mortal").await).expect("a URL");
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(&config).await.expect("a store"));
    no_task_is_lost_or_made_twice(store.clone()).await;
    store.close().await;
}

/// Two servers over one Postgres: both match while both write, and workers at both claim. Each event makes one task, each
/// task is claimed once, and never are more claimed than may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_make_one_task_of_each_event() {
    const RUNS: usize = 40;
    const DECISIONS: i64 = 10;
    let cluster = Cluster::start();
    let config = PostgresConfig::parse(&cluster.database("pair").await).expect("a URL");
    let (one, other) = tokio::join!(PostgresStore::open(&config), PostgresStore::open(&config));
    let stores: [Arc<dyn Store>; 2] = [Arc::new(one.expect("a store")), Arc::new(other.expect("a store"))];
    let world = World::new();
    let servers = stores.clone().map(|store| engine(&world, store));
    let name = on_decisions(&servers[0]).await;
    let total = RUNS * usize::try_from(DECISIONS).expect("small");

    let mut writers = JoinSet::new();
    for run in 0..RUNS {
        let server = servers[run % 2].clone();
        writers.spawn(async move { story(&server, format!("i-{run}"), DECISIONS).await });
    }
    let claimed = Arc::new(AtomicUsize::new(0));
    let mut work = JoinSet::new();
    for server in &servers {
        let (server, claimed) = (server.clone(), claimed.clone());
        work.spawn(async move {
            let mut matcher = Matcher::new(server);
            while claimed.load(Ordering::SeqCst) < total {
                if !matcher.pass().await.expect("a pass") {
                    matcher.wait().await;
                }
            }
            Vec::new()
        });
    }
    for worker in 0..4_u32 {
        let (server, claimed, name) = (servers[worker as usize % 2].clone(), claimed.clone(), name.clone());
        work.spawn(async move {
            let owner = format!("w-{worker}");
            let mut done = Vec::new();
            while claimed.load(Ordering::SeqCst) < total {
                // Two of any shard, two of one each.
                let shard = (worker >= 2).then_some(worker);
                let tasks = server
                    .claim_tasks(&claim(&name, &owner, shard, 7))
                    .await
                    .expect("claimed");
                if tasks.is_empty() {
                    tokio::task::yield_now().await;
                }
                for task in tasks {
                    let settled = server.complete_task("", &task.id(), owner.clone()).await;
                    done.push(settled.expect("it is ours"));
                    claimed.fetch_add(1, Ordering::SeqCst);
                }
            }
            done
        });
    }
    writers.join_all().await;
    let done: Vec<Task> = work.join_all().await.into_iter().flatten().collect();
    let events = by_event(&done);
    assert_eq!((done.len(), events.len()), (total, total));
    assert!(done.iter().all(|task| task.attempts == 1));
    for server in &servers {
        let all = server.tasks(&name, None, 10_000).await.expect("listed");
        assert_eq!(all.len(), total);
    }
    for store in stores {
        store.close().await;
    }
}

/// Makes `count` tasks of invented events, a thousand at a time.
async fn fill(engine: &Engine, name: &ReactionName, count: i64) {
    const BATCH: i64 = 1_000;
    for from in (0..count).step_by(usize::try_from(BATCH).expect("small")) {
        let event = |position: i64| Source {
            position,
            tenant: String::new(),
            run: RunId(format!("r-{}", position % 997)),
            seq: position,
            at: Time(position),
            subject: format!("/tape/decision/recorded/r-{}", position % 997),
            payload_json: r#"{"model":"m"}"#.into(),
            trace: None,
        };
        let command = MakeTasks {
            name: name.clone(),
            generation: 1,
            from,
            upto: from + BATCH,
            events: (from + 1..=from + BATCH).map(event).collect(),
            debounced: false,
            open: Vec::new(),
        };
        let made = engine.execute(&command, None).await.expect("made");
        assert!(matches!(made, Made::Upto { new, .. } if new == 1_000), "{made:?}");
    }
}

/// Of 100,000 tasks sixteen are claimed, at the front, in a shard, again and again: each time a few dozen rows are read.
async fn a_few_of_many_cost_little(store: Arc<dyn Store>) {
    let world = World::new();
    let counted = Mortal::new(store, i64::MAX, true);
    let server = engine(&world, counted.clone());
    let name = on_decisions(&server).await;
    fill(&server, &name, 100_000).await;
    for (shard, max) in [(None, 16), (Some(2), 16), (None, 1), (Some(0), 100)] {
        counted.rows_read.store(0, Ordering::SeqCst);
        let tasks = server
            .claim_tasks(&claim(&name, "w", shard, max))
            .await
            .expect("claimed");
        assert_eq!(tasks.len(), max as usize);
        assert!(tasks.is_sorted_by_key(|task| task.source.position), "the oldest first");
        assert!(shard.is_none_or(|shard| tasks.iter().all(|task| task.place.shard == shard)));
        let read = counted.rows_read.load(Ordering::SeqCst);
        assert!(read <= 4 * max as usize + 4, "{read} rows for {max} tasks");
        counted.rows_read.store(0, Ordering::SeqCst);
        server
            .complete_task("", &tasks[0].id(), "w".into())
            .await
            .expect("done");
        let read = counted.rows_read.load(Ordering::SeqCst);
        assert!(read <= 3, "{read} rows for one task");
    }
    let first = server.tasks(&name, Some(TaskStatus::Done), 10).await.expect("listed");
    assert_eq!(first.len(), 4);
    let counts = server.reaction(&name).await.expect("there").counts;
    assert_eq!(
        (counts.pending, counts.claimed, counts.done),
        (100_000 - 133, 133 - 4, 4)
    );
}

#[tokio::test]
async fn a_few_of_many_cost_little_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("tape.db"));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config).await.expect("a store"));
    a_few_of_many_cost_little(store.clone()).await;
    store.close().await;
}

#[tokio::test]
async fn a_few_of_many_cost_little_on_postgres() {
    let cluster = Cluster::start();
    let config = PostgresConfig::parse(&cluster.database("many").await).expect("a URL");
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(&config).await.expect("a store"));
    a_few_of_many_cost_little(store.clone()).await;
    // The queue is read by its index: over all shards, and of one.
    let mut session = cluster.session("many").await;
    session.run("ANALYZE rows;").await;
    for (index, shard) in [
        ("rows_tasks ", ""),
        (
            "rows_tasks_by_shard ",
            "AND substring(r.key FROM 1 FOR 4) = '\\x00000002' ",
        ),
    ] {
        session
            .run(&format!(
                "DO $$ DECLARE step text; BEGIN
                 FOR step IN EXPLAIN SELECT r.key FROM rows r WHERE r.kind = 15
                    AND r.no = (SELECT no FROM entities WHERE kind = 7 AND id = E'\\x1fdecided') AND r.due_kind = 6 {shard}
                    AND r.due_at <= 9 ORDER BY r.due_at, r.key LIMIT 16
                 LOOP IF position('using {index}' IN step) > 0 THEN RETURN; END IF; END LOOP;
                 RAISE EXCEPTION 'another plan'; END $$;"
            ))
            .await;
    }
    store.close().await;
}

/// What is done stays listed for seven days, and windows for an hour; then both are forgotten.
#[tokio::test]
async fn what_is_long_done_is_forgotten() {
    let world = World::new();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let server = engine(&world, store.clone());
    let asked = Asked {
        subject_pattern: "/tape/decision/**".into(),
        debounce_ms: 100,
        max_concurrency: 10,
        ..Asked::default()
    };
    let reaction = server.register_reaction(String::new(), String::new(), asked).await;
    let name = reaction.expect("registered").name;
    for run in 0..3 {
        story(&server, format!("i-{run}"), 1).await;
    }
    let mut matcher = Matcher::new(server.clone());
    while matcher.pass().await.expect("a pass") {}
    world.now.fetch_add(100, Ordering::SeqCst);
    let tasks = server.claim_tasks(&claim(&name, "w", None, 10)).await.expect("claimed");
    assert_eq!(tasks.len(), 3);
    for task in &tasks[..2] {
        server.complete_task("", &task.id(), "w".into()).await.expect("done");
    }
    let windows = || store.count_due(DueKind::TaskWindow, Time::NEVER);
    assert_eq!(windows().await.expect("counted").0, 3);
    world.now.fetch_add(60 * 60 * 1000 + 1, Ordering::SeqCst);
    matcher.pass().await.expect("a pass");
    assert_eq!(windows().await.expect("counted").0, 0);
    let listed = || server.tasks(&name, None, 10);
    assert_eq!(listed().await.expect("listed").len(), 3);
    world.now.fetch_add(7 * 24 * 60 * 60 * 1000, Ordering::SeqCst);
    matcher.pass().await.expect("a pass");
    let left = listed().await.expect("listed");
    assert_eq!(
        (left.len(), left[0].id()),
        (1, tasks[2].id()),
        "what is not done is never forgotten"
    );
    assert_eq!(server.reaction(&name).await.expect("there").counts.done, 0);
}
