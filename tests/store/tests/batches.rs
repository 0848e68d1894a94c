//! What ends up in one batch does not matter: commits that are sent all at once leave what they leave one by one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a step that cannot go on has failed, and says where"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_core::command::Range;
use tape_core::row::RowKind;
use tape_core::{Due, DueKind, EntityId, EntityKind, RowKey, Time};
use tape_store::{Commit, DueQuery, ListQuery, Listing, Store, StoreError};
use tape_store_memory::MemoryStore;
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_sqlite::{SqliteConfig, SqliteStore};
use tape_store_tests::cluster::Cluster;
use tape_store_tests::{commit, row, run};

const ENTITIES: u64 = 6;
const KEYS: u64 = 4;

/// A commit on one of few entities: rows written anew and again, taken away, moved in the index of due work; listings
/// that stay, change their status, or change wholly; now and then on a version that is gone.
fn random(random: &mut ChaCha8Rng, versions: &mut BTreeMap<u64, u64>, seqs: &mut BTreeMap<u64, i64>) -> Commit {
    let name = random.random_range(0..ENTITIES);
    let version = versions.entry(name).or_default();
    if random.random_ratio(1, 12) {
        return commit(&run(&name.to_string()), *version + 1, vec![row("late", "1", None)]);
    }
    let hint = |random: &mut ChaCha8Rng| {
        random.random_bool(0.5).then(|| Due {
            kind: DueKind::Outbox,
            at: Time(random.random_range(0..5)),
        })
    };
    let mut change = commit(&run(&name.to_string()), *version, Vec::new());
    for key in 0..random.random_range(0..KEYS) {
        let value = random.random_range(0..1_000).to_string();
        let mut put = row(&key.to_string(), &value, hint(random));
        if key == 0 {
            put.key = RowKey::Head;
        }
        change.puts.push(put);
    }
    for key in 0..KEYS {
        if random.random_ratio(1, 6) && !change.puts.iter().any(|put| put.key == RowKey::State(key.to_string())) {
            change.deletes.push(RowKey::State(key.to_string()));
        }
    }
    if *version == 0 || random.random_bool(0.7) {
        change.listing = Some(Listing {
            tenant: "t".into(),
            app: random.random_range(0..2).to_string(),
            user: "u".into(),
            status: random.random_range(1..4),
            created: Time(7),
        });
    }
    let seq = seqs.entry(name).or_default();
    for _ in 0..random.random_range(0..3) {
        *seq += 1;
        change.entries.push((*seq, vec![1, u8::try_from(*seq % 250).unwrap()]));
    }
    *version += 1;
    change
}

/// Everything that can be read of a store.
async fn all(store: &dyn Store) -> String {
    let mut all = String::new();
    for name in 0..ENTITIES {
        let entity = EntityId {
            kind: EntityKind::Run,
            id: name.to_string(),
        };
        let range = Range {
            kind: RowKind::State,
            last: None,
        };
        let loaded = store.load(&entity, &[RowKey::Head], &[range]).await.unwrap();
        let journal = store.journal(&entity, 1, 10_000).await.unwrap();
        let journal: Vec<_> = journal.into_iter().map(|entry| (entry.seq, entry.body)).collect();
        all.push_str(&format!("{name}: {} {:?} {journal:?}\n", loaded.version, loaded.rows));
    }
    let due = DueQuery {
        kind: DueKind::Outbox,
        until: Time(3),
        apps: None,
        by: None,
        tenants: None,
        limit: 1_000,
    };
    let mut due: Vec<_> = store
        .due(&due)
        .await
        .unwrap()
        .into_iter()
        .map(|row| format!("{row:?}"))
        .collect();
    due.sort();
    let list = ListQuery {
        kind: EntityKind::Run,
        tenant: None,
        app: None,
        user: None,
        statuses: Vec::new(),
        created_until: None,
        after: None,
        limit: 1_000,
    };
    let listed: Vec<_> = store
        .list(&list)
        .await
        .unwrap()
        .into_iter()
        .map(|listed| (listed.id, listed.listing))
        .collect();
    let counts = store.count_by_status(EntityKind::Run).await.unwrap();
    all.push_str(&format!("{due:?}\n{listed:?}\n{counts:?}\n"));
    all
}

/// What somebody is told who commits: the new version, or that it is refused. At which version it is then may be another by now.
fn told(answer: Result<u64, StoreError>) -> Result<u64, &'static str> {
    answer.map_err(|error| match error {
        StoreError::Conflict { .. } => "conflict",
        other => panic!("{other}"),
    })
}

/// Bursts of commits, sent to `store` all at once and to `memory` one by one: the same answers, and the same is left.
async fn leaves_the_same(store: &dyn Store, memory: &MemoryStore, seed: u64) {
    let mut luck = ChaCha8Rng::seed_from_u64(seed);
    let (mut versions, mut seqs) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..12 {
        let burst = luck.random_range(1..60);
        let mut answers = Vec::new();
        for _ in 0..burst {
            let change = random(&mut luck, &mut versions, &mut seqs);
            let one = memory.commit(change.clone()).await;
            answers.push((one, store.submit(change).await));
        }
        for (one, answer) in answers {
            assert_eq!(told(one), told(answer.await), "seed {seed}");
        }
    }
    assert_eq!(all(memory).await, all(store).await, "seed {seed}");
}

#[tokio::test]
async fn commits_sent_at_once_leave_in_sqlite_what_they_leave_one_by_one_in_memory() {
    for seed in 0..16 {
        let folder = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(folder.path().join("tape.db"));
        let sqlite = SqliteStore::open(&config).await.unwrap();
        let memory = MemoryStore::new();
        leaves_the_same(&sqlite, &memory, seed).await;
        sqlite.close().await;
        // What the writer remembered is gone: the file itself is asked.
        let again = SqliteStore::open(&config).await.unwrap();
        assert_eq!(all(&memory).await, all(&again).await, "seed {seed}, opened again");
        again.close().await;
    }
}

#[tokio::test]
async fn commits_sent_at_once_leave_in_postgres_what_they_leave_one_by_one_in_memory() {
    let cluster = Cluster::start();
    for seed in 0..8 {
        let url = cluster.database(&format!("seed{seed}")).await;
        let postgres = PostgresStore::open(&PostgresConfig::parse(&url).unwrap())
            .await
            .unwrap();
        leaves_the_same(&postgres, &MemoryStore::new(), seed).await;
        postgres.close().await;
    }
}

/// How many writers wait for the order of all journals.
fn waiting_for_the_order(cluster: &Cluster) -> String {
    let asked = cluster
        .program("psql")
        .args(["-X", "-q", "-A", "-t", "--dbname", "lanes", "--command"])
        .arg("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        .output()
        .unwrap();
    String::from_utf8(asked.stdout).unwrap().trim().to_owned()
}

async fn until_so_many_wait(cluster: &Cluster, count: &str) {
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..500 {
        pause.tick().await;
        if waiting_for_the_order(cluster) == count {
            return;
        }
    }
    panic!("{} writers wait, not {count}", waiting_for_the_order(cluster));
}

#[tokio::test]
async fn while_a_batch_becomes_durable_the_next_is_carried_out_and_an_entity_is_in_one_of_them() {
    let cluster = Cluster::start();
    let url = cluster.database("lanes").await;
    let store = PostgresStore::open(&PostgresConfig::parse(&url).unwrap())
        .await
        .unwrap();
    let change = |name: &str, version: u64| {
        let mut change = commit(&run(name), version, vec![row("k", &version.to_string(), None)]);
        change.entries = vec![(i64::try_from(version).unwrap() + 1, vec![1])];
        change
    };
    // Somebody else has the order of all journals: what writes waits, as it does for a disk.
    let mut other = cluster.session("lanes").await;
    other
        .run("BEGIN; DO $$ BEGIN PERFORM pg_advisory_xact_lock(1952542821); END $$;")
        .await;
    let mut answers = vec![store.submit(change("a", 0)).await];
    until_so_many_wait(&cluster, "1").await;
    answers.push(store.submit(change("a", 1)).await);
    answers.push(store.submit(change("b", 0)).await);
    until_so_many_wait(&cluster, "2").await;
    answers.push(store.submit(change("c", 0)).await);
    answers.push(store.submit(change("a", 2)).await);
    answers.push(store.submit(change("b", 1)).await);
    assert_eq!(waiting_for_the_order(&cluster), "2");
    other.run("ROLLBACK;").await;
    let mut versions = Vec::new();
    for answer in answers {
        versions.push(answer.await.unwrap());
    }
    assert_eq!(versions, [1, 2, 1, 1, 3, 2]);
    store.close().await;
}
