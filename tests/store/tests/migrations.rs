//! What a database of an older version is after it was opened by this one.

use sqlx::{Connection as _, Executor as _};
use tape_core::{DueKind, EntityId, EntityKind, RowKey, Time};
use tape_store::{Commit, DueQuery, Listing, Store, StoredRow};
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_sqlite::{SqliteConfig, SqliteStore};
use tape_store_tests::cluster::Cluster;
use tape_store_tests::{commit, row, run};

/// Runs of an older version, with their statuses: before retention, one that had ended was nobody's work.
async fn older_runs(store: &dyn Store) {
    for (name, status) in [("running", 2), ("terminal", 4), ("stuck", 7)] {
        let head = StoredRow {
            key: RowKey::Head,
            ..row("head", "1", None)
        };
        let listing = Listing {
            app: "x".into(),
            status,
            created: Time(7),
            ..Listing::default()
        };
        let older = Commit {
            listing: Some(listing),
            ..commit(&run(name), 0, vec![head])
        };
        store.commit(older).await.expect("a run");
    }
}

/// The runs that retention looks at.
async fn ended(store: &dyn Store) -> Vec<EntityId> {
    let query = DueQuery {
        kind: DueKind::Retention,
        until: Time(7),
        tenants: None,
        apps: None,
        by: Some(vec!["4".into()]),
        limit: 10,
    };
    let mut found: Vec<_> = store
        .due(&query)
        .await
        .expect("hints")
        .into_iter()
        .map(|row| row.entity)
        .collect();
    found.sort();
    found
}

fn expected() -> Vec<EntityId> {
    let mut expected = vec![run("stuck"), run("terminal")];
    expected.sort();
    assert!(expected.iter().all(|entity| entity.kind == EntityKind::Run));
    expected
}

#[tokio::test]
async fn runs_that_ended_before_there_was_retention_are_found_in_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tape.db");
    let config = SqliteConfig::new(&path);
    let store = SqliteStore::open(&config).await.expect("a store");
    older_runs(&store).await;
    assert!(ended(&store).await.is_empty());
    store.close().await;
    let url = format!("sqlite:{}", path.display());
    let mut raw = sqlx::SqliteConnection::connect(&url).await.expect("the file");
    raw.execute("DELETE FROM _sqlx_migrations WHERE version = 5")
        .await
        .expect("an older version");
    raw.close().await.expect("closed");
    let store = SqliteStore::open(&config).await.expect("migrated");
    assert_eq!(ended(&store).await, expected());
    store.close().await;
}

#[tokio::test]
async fn runs_that_ended_before_there_was_retention_are_found_in_postgres() {
    let cluster = Cluster::start();
    let url = cluster.database("older").await;
    let config = PostgresConfig::parse(&url).expect("a URL");
    let store = PostgresStore::open(&config).await.expect("a store");
    older_runs(&store).await;
    assert!(ended(&store).await.is_empty());
    store.close().await;
    let mut raw = sqlx::PgConnection::connect(&url).await.expect("the database");
    raw.execute("DELETE FROM _sqlx_migrations WHERE version = 5")
        .await
        .expect("an older version");
    raw.close().await.expect("closed");
    let store = PostgresStore::open(&config).await.expect("migrated");
    assert_eq!(ended(&store).await, expected());
    store.close().await;
}

/// An answer to a request id as an older version wrote it, which nobody forgets, in a run of its own; and one of ours.
async fn older_answers(store: &dyn Store) {
    let answer = |due| StoredRow {
        key: RowKey::Request("q-1".into()),
        ..row("q-1", "1", due)
    };
    let ours = tape_core::Due {
        kind: DueKind::Request,
        at: Time(7),
    };
    for (name, due) in [("older", None), ("ours", Some(ours))] {
        store
            .commit(commit(&run(name), 0, vec![answer(due)]))
            .await
            .expect("a run");
    }
}

/// Whose answers are to be forgotten by then.
async fn to_be_forgotten(store: &dyn Store, until: Time) -> Vec<EntityId> {
    let query = DueQuery {
        kind: DueKind::Request,
        until,
        tenants: None,
        apps: None,
        by: None,
        limit: 10,
    };
    let found = store.due(&query).await.expect("hints");
    found.into_iter().map(|row| row.entity).collect()
}

#[allow(clippy::disallowed_methods, reason = "compared with what the database's clock says")]
fn unix_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

/// A day from the migration on, and not before, all of them are.
async fn forgotten_in_a_day(store: &dyn Store) {
    const DAY_MS: i64 = 24 * 3_600_000;
    let now = Time(unix_ms());
    assert_eq!(to_be_forgotten(store, now.after(DAY_MS / 2)).await, [run("ours")]);
    assert_eq!(
        to_be_forgotten(store, now.after(DAY_MS)).await,
        [run("ours"), run("older")]
    );
}

#[tokio::test]
async fn answers_that_an_older_version_wrote_are_forgotten_in_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tape.db");
    let config = SqliteConfig::new(&path);
    let store = SqliteStore::open(&config).await.expect("a store");
    older_answers(&store).await;
    assert_eq!(to_be_forgotten(&store, Time::NEVER).await, [run("ours")]);
    store.close().await;
    let url = format!("sqlite:{}", path.display());
    let mut raw = sqlx::SqliteConnection::connect(&url).await.expect("the file");
    raw.execute("DELETE FROM _sqlx_migrations WHERE version = 8")
        .await
        .expect("an older version");
    raw.close().await.expect("closed");
    let store = SqliteStore::open(&config).await.expect("migrated");
    forgotten_in_a_day(&store).await;
    store.close().await;
}

#[tokio::test]
async fn answers_that_an_older_version_wrote_are_forgotten_in_postgres() {
    let cluster = Cluster::start();
    let url = cluster.database("answers").await;
    let config = PostgresConfig::parse(&url).expect("a URL");
    let store = PostgresStore::open(&config).await.expect("a store");
    older_answers(&store).await;
    assert_eq!(to_be_forgotten(&store, Time::NEVER).await, [run("ours")]);
    store.close().await;
    let mut raw = sqlx::PgConnection::connect(&url).await.expect("the database");
    raw.execute("DELETE FROM _sqlx_migrations WHERE version = 8")
        .await
        .expect("an older version");
    raw.close().await.expect("closed");
    let store = PostgresStore::open(&config).await.expect("migrated");
    forgotten_in_a_day(&store).await;
    store.close().await;
}

/// Every statement that looks for work or lists entities is served by an index in Postgres, however large its tables. SQLite's are
/// held to the same in its own crate.
#[tokio::test]
async fn no_look_for_work_and_no_listing_goes_through_a_whole_table_in_postgres() {
    let cluster = Cluster::start();
    let url = cluster.database("plans").await;
    let store = PostgresStore::open(&PostgresConfig::parse(&url).expect("a URL"))
        .await
        .expect("a store");
    let plans = store.plans().await.expect("plans");
    assert!(plans.len() > 20, "{}", plans.len());
    for (name, steps) in plans {
        assert!(
            !steps.iter().any(|step| step.contains("Seq Scan")),
            "{name}: {steps:#?}"
        );
    }
    store.close().await;
}
