//! The suite over every store.

use std::sync::Arc;

use tape_store::Store;
use tape_store_memory::MemoryStore;
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_sqlite::{SqliteConfig, SqliteStore};
use tape_store_tests::cluster::Cluster;

struct Fresh {
    store: Arc<dyn Store>,
    // The folder lives as long as the store in it.
    _folder: Option<tempfile::TempDir>,
    _cluster: Option<Cluster>,
}

async fn memory() -> Fresh {
    Fresh {
        store: Arc::new(MemoryStore::new()),
        _folder: None,
        _cluster: None,
    }
}

async fn sqlite() -> Fresh {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&SqliteConfig::new(folder.path().join("tape.db")))
        .await
        .expect("a store");
    Fresh {
        store: Arc::new(store),
        _folder: Some(folder),
        _cluster: None,
    }
}

async fn postgres() -> Fresh {
    let cluster = Cluster::start();
    let config = PostgresConfig::parse(&cluster.database("suite").await).expect("a URL");
    let store = PostgresStore::open(&config).await.expect("a store");
    Fresh {
        store: Arc::new(store),
        _folder: None,
        _cluster: Some(cluster),
    }
}

macro_rules! facts {
    ($($fact:ident($($how:tt)*)),* $(,)?) => {
        facts!(@over memory, $($fact($($how)*)),*);
        facts!(@over sqlite, $($fact($($how)*)),*);
        facts!(@over postgres, $($fact($($how)*)),*);
    };
    (@over $store:ident, $($fact:ident($($how:tt)*)),*) => {
        mod $store {
            $(#[tokio::test]
            async fn $fact() {
                let fresh = super::$store().await;
                facts!(@call tape_store_tests::$fact, fresh.store, $($how)*);
                fresh.store.close().await;
            })*
        }
    };
    (@call $fact:path, $store:expr, shared) => { $fact($store.clone()).await };
    (@call $fact:path, $store:expr,) => { $fact($store.as_ref()).await };
}

facts!(
    nothing_is_there_before_the_first_commit(),
    a_commit_is_read_back(),
    a_commit_on_an_old_version_leaves_no_trace(),
    one_of_many_racing_commits_wins(shared),
    commits_sent_in_order_are_written_in_order(shared),
    a_commit_falls_with_the_one_before_it(),
    the_journal_is_read_from_a_place_on(),
    the_tail_is_in_commit_order_and_resumes(),
    a_range_can_be_cut_to_its_last_rows(),
    a_deleted_row_is_gone(),
    due_work_is_named_in_order(),
    work_of_others_hides_nothing(),
    a_hint_moves_with_its_row(),
    listings_are_paged(),
    tasks_are_named_by_queue_and_shard(),
    the_tail_has_an_end_and_says_whose_it_is(),
);

#[tokio::test]
async fn sqlite_keeps_what_it_acknowledged_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("tape.db"));
    let entity = tape_store_tests::run("a");
    let store = SqliteStore::open(&config).await.expect("a store");
    let mut commit = tape_store_tests::commit(&entity, 0, vec![tape_store_tests::row("k", "1", None)]);
    commit.entries = vec![(1, vec![7])];
    store.commit(commit).await.expect("committed");
    // No close: as if the process had been killed.
    drop(store);
    let again = SqliteStore::open(&config).await.expect("the store again");
    assert_eq!(again.load(&entity, &[], &[]).await.expect("loaded").version, 1);
    let journal = again.journal(&entity, 1, 9).await.expect("journal");
    assert_eq!(
        (journal.len(), journal[0].seq, journal[0].body.as_slice()),
        (1, 1, &[7_u8][..])
    );
    again.close().await;
}

#[tokio::test]
async fn a_closed_sqlite_store_refuses_and_says_so() {
    let fresh = sqlite().await;
    fresh.store.close().await;
    let refused = fresh
        .store
        .commit(tape_store_tests::commit(&tape_store_tests::run("a"), 0, Vec::new()))
        .await;
    assert!(refused.expect_err("refused").to_string().contains("closing"));
}

#[tokio::test]
async fn a_second_server_on_one_sqlite_file_is_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = SqliteConfig::new(folder.path().join("tape.db"));
    let first = SqliteStore::open(&config).await.expect("a store");
    let refused = SqliteStore::open(&config).await.err().expect("refused").to_string();
    assert!(
        refused.contains("another server has") && refused.contains("tape.db"),
        "{refused}"
    );
    first.close().await;
    SqliteStore::open(&config).await.expect("free again").close().await;
}

#[tokio::test]
async fn sqlite_fsyncs_every_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&SqliteConfig::new(folder.path().join("tape.db")))
        .await
        .expect("a store");
    assert_eq!(
        store.durability().await.expect("pragmas"),
        ("wal".to_owned(), 2),
        "journal_mode, synchronous (2 = FULL)"
    );
    store.close().await;
}

/// Two servers over one Postgres: of commits that race, one wins, and batches that cross do not fail each other.
#[tokio::test]
async fn two_servers_share_one_postgres() {
    let cluster = Cluster::start();
    let config = PostgresConfig::parse(&cluster.database("shared").await).expect("a URL");
    let (one, other) = tokio::join!(PostgresStore::open(&config), PostgresStore::open(&config));
    let servers: [Arc<dyn Store>; 2] = [
        Arc::new(one.expect("migrated once, under a lock")),
        Arc::new(other.expect("migrated once, under a lock")),
    ];
    for round in 0..20 {
        let mut tasks = tokio::task::JoinSet::new();
        for racer in 0..64_usize {
            let store = servers[racer % 2].clone();
            let entity = tape_store_tests::run(&format!("e-{}", racer % 16));
            let row = tape_store_tests::row("k", &racer.to_string(), None);
            let mut commit = tape_store_tests::commit(&entity, round, vec![row]);
            commit.entries = vec![(i64::try_from(round).expect("small") + 1, vec![1])];
            tasks.spawn(async move { store.commit(commit).await });
        }
        let answers = tasks.join_all().await;
        let lost = answers
            .iter()
            .filter(|answer| matches!(answer, Err(tape_store::StoreError::Conflict { .. })))
            .count();
        assert_eq!(
            answers.iter().filter(|answer| answer.is_ok()).count(),
            16,
            "{answers:?}"
        );
        assert_eq!(lost, 48);
    }
    for store in servers {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tail_of_one_server_has_no_gap() {
    for fresh in [memory().await, sqlite().await] {
        tape_store_tests::the_tail_has_no_gap_under_writers(std::slice::from_ref(&fresh.store), 16, 20).await;
        fresh.store.close().await;
    }
}

/// Two servers over one Postgres, whose transactions overlap: the tail skips nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tail_of_two_servers_has_no_gap() {
    let cluster = Cluster::start();
    let config = PostgresConfig::parse(&cluster.database("tail").await).expect("a URL");
    let (one, other) = tokio::join!(PostgresStore::open(&config), PostgresStore::open(&config));
    let servers: [Arc<dyn Store>; 2] = [Arc::new(one.expect("a store")), Arc::new(other.expect("a store"))];
    tape_store_tests::the_tail_has_no_gap_under_writers(&servers, 64, 100).await;
    for store in servers {
        store.close().await;
    }
}

/// A transaction that took its place in the order and is still open: what another server commits meanwhile comes after
/// it, so no reader passes it.
#[tokio::test]
async fn an_open_transaction_is_not_passed() {
    let cluster = Cluster::start();
    let config = PostgresConfig::parse(&cluster.database("open").await).expect("a URL");
    let store = PostgresStore::open(&config).await.expect("a store");
    let mut first = tape_store_tests::commit(&tape_store_tests::run("a"), 0, Vec::new());
    first.entries = vec![(1, vec![1])];
    store.commit(first).await.expect("committed");

    let mut other = cluster.session("open").await;
    other
        .run("SET statement_timeout = '20s'; BEGIN; INSERT INTO journal (no, seq, body) SELECT no, 2, '\\x02' FROM entities WHERE id = 'a';")
        .await;
    let mut second = tape_store_tests::commit(&tape_store_tests::run("b"), 0, Vec::new());
    second.entries = vec![(1, vec![3])];
    let mut second = store.submit(second).await;
    // It waits for its place: until then nothing is to be read behind the first entry.
    other.run("DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;").await;
    let early = store.tail(0, 10).await.expect("a tail");
    assert_eq!(early.len(), 1);
    other.run("COMMIT;").await;
    (&mut second).await.expect("committed");
    let bodies: Vec<Vec<u8>> = store
        .tail(early[0].position, 10)
        .await
        .expect("a tail")
        .into_iter()
        .map(|entry| entry.body)
        .collect();
    assert_eq!(bodies, [vec![2], vec![3]]);
    store.close().await;
}
