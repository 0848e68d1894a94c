//! A store with runs in it, as the first version made it, opened by this one: every step in between is applied, and what was
//! there is there.

#![allow(clippy::unwrap_used, reason = "a test fails by it, also in its helpers")]

use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::{PgPool, SqlitePool};
use tape_core::{DueKind, EntityId, EntityKind, RowKey, Time};
use tape_store::{DueQuery, ListQuery, Store, codec};
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_sqlite::{SqliteConfig, SqliteStore};
use tape_store_tests::cluster::Cluster;
use tape_store_tests::{commit, head};

/// Runs in the old store.
const RUNS: i64 = 50;

/// The first step of a store's migrations alone.
async fn first_step(migrations: &str, folder: &Path) -> Migrator {
    let steps = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../server/store")
        .join(migrations);
    std::fs::copy(
        steps.join("migrations/0001_entities.sql"),
        folder.join("0001_entities.sql"),
    )
    .expect("the first step");
    Migrator::new(folder).await.expect("a migration")
}

fn run(number: i64) -> EntityId {
    EntityId {
        kind: EntityKind::Run,
        id: format!("r-{number:03}"),
    }
}

/// A row's kind and key as they are stored.
fn key(key: &RowKey) -> (i16, Vec<u8>) {
    let (kind, bytes) = codec::encode_key(key);
    (i16::from(kind), bytes)
}

fn effect() -> RowKey {
    RowKey::Effect(tape_core::EffectKey("e".to_owned()))
}

/// Everything that the first version wrote is found, by every way of looking; and the entities go on from their versions.
async fn everything_is_there(store: &dyn Store) {
    for number in 1..=RUNS {
        let loaded = store.load(&run(number), &[effect()], &[]).await.unwrap();
        assert_eq!(loaded.version, 3, "{number}");
        assert_eq!(loaded.rows.len(), 2, "{number}");
        let journal = store.journal(&run(number), 1, 10).await.unwrap();
        assert_eq!(journal.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
        let next = store.commit(commit(&run(number), 3, vec![head("new")])).await.unwrap();
        assert_eq!(next, 4);
    }
    let tail = store.tail(0, 1000).await.unwrap();
    assert_eq!(tail.len(), usize::try_from(2 * RUNS).unwrap());
    assert!(tail.windows(2).all(|pair| pair[0].position < pair[1].position));
    assert!(tail.iter().all(|entry| entry.tenant == "acme" && entry.app == "app"));
    let listed = store.list(&ListQuery::all(EntityKind::Run, 1000)).await.unwrap();
    assert_eq!(listed.len(), usize::try_from(RUNS).unwrap());
    let work = DueQuery {
        kind: DueKind::Outbox,
        until: Time(i64::MAX),
        tenants: None,
        apps: None,
        by: None,
        limit: 1000,
    };
    let due = store.due(&work).await.unwrap();
    assert_eq!(
        due.len(),
        usize::try_from(RUNS).unwrap(),
        "work that waited still waits"
    );
    assert_eq!(due[0].key, effect());
}

#[tokio::test]
async fn a_sqlite_file_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let config = SqliteConfig::new(folder.path().join("tape.db"));
    let url = format!("sqlite:{}?mode=rwc", config.path.display());
    let pool = SqlitePool::connect(&url).await.unwrap();
    let steps = tempfile::tempdir().unwrap();
    first_step("sqlite", steps.path()).await.run(&pool).await.unwrap();
    let (head, effect) = (key(&RowKey::Head), key(&effect()));
    for number in 1..=RUNS {
        sqlx::query("INSERT INTO entities VALUES (?, 1, ?, 3, 'acme', 'app', 'user', 2, ?)")
            .bind(number)
            .bind(run(number).id)
            .bind(number)
            .execute(&pool)
            .await
            .unwrap();
        for (kind, key, due) in [(head.0, &head.1, None), (effect.0, &effect.1, Some(2_i64))] {
            sqlx::query("INSERT INTO rows VALUES (?, ?, ?, ?, ?, x'01')")
                .bind(number)
                .bind(kind)
                .bind(key)
                .bind(due)
                .bind(due.map(|_| number))
                .execute(&pool)
                .await
                .unwrap();
        }
        sqlx::query("INSERT INTO journal (no, seq, body) VALUES (?1, 1, x'01'), (?1, 2, x'02')")
            .bind(number)
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;

    let before = SqliteStore::schema(&config).await.unwrap();
    assert!(before.at == 1 && before.pending.len() > 1, "{before:?}");
    let store = SqliteStore::open(&config).await.unwrap();
    everything_is_there(&store).await;
    store.close().await;
    let after = SqliteStore::schema(&config).await.unwrap();
    assert!(after.at == after.known && after.pending.is_empty(), "{after:?}");
}

#[tokio::test]
async fn a_postgres_database_of_the_first_version_is_brought_up_to_date() {
    let cluster = Cluster::start();
    let url = cluster.database("old").await;
    let pool = PgPool::connect(&url).await.unwrap();
    let steps = tempfile::tempdir().unwrap();
    first_step("postgres", steps.path()).await.run(&pool).await.unwrap();
    let (head, effect) = (key(&RowKey::Head), key(&effect()));
    for number in 1..=RUNS {
        let no: i64 = sqlx::query_scalar(
            "INSERT INTO entities (kind, id, version, tenant, app, \"user\", status, created)
             VALUES (1, $1, 3, 'acme', 'app', 'user', 2, $2) RETURNING no",
        )
        .bind(run(number).id)
        .bind(number)
        .fetch_one(&pool)
        .await
        .unwrap();
        for (kind, key, due) in [(head.0, &head.1, None), (effect.0, &effect.1, Some(2_i16))] {
            sqlx::query("INSERT INTO rows VALUES ($1, $2, $3, $4, $5, '\\x01')")
                .bind(no)
                .bind(kind)
                .bind(key)
                .bind(due)
                .bind(due.map(|_| number))
                .execute(&pool)
                .await
                .unwrap();
        }
        sqlx::query("INSERT INTO journal (no, seq, body) VALUES ($1, 1, '\\x01'), ($1, 2, '\\x02')")
            .bind(no)
            .execute(&pool)
            .await
            .unwrap();
    }
    pool.close().await;

    let config = PostgresConfig::parse(&url).unwrap();
    let before = PostgresStore::schema(&config).await.unwrap();
    assert!(before.at == 1 && before.pending.len() > 1, "{before:?}");
    let store = PostgresStore::open(&config).await.unwrap();
    everything_is_there(&store).await;
    store.close().await;
    let after = PostgresStore::schema(&config).await.unwrap();
    assert!(after.at == after.known && after.pending.is_empty(), "{after:?}");
}
