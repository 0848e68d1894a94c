//! Opening the database: pragmas, migrations, and the lock that keeps a second server out.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::OpenFlags;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tape_store::{Schema, Step, StoreError};

use crate::config::SqliteConfig;
use crate::error::{failed, unavailable};
use crate::written_back;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// How long a reader or the writer waits for a lock of the file.
const BUSY: Duration = Duration::from_secs(5);

/// Prepared statements that the writer keeps: all that it has.
const STATEMENTS: usize = 32;
/// What a connection keeps of the file; negative = in KiB.
const CACHE_KIB: i64 = -16_384;

fn options(config: &SqliteConfig) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&config.path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL: a commit is on the disk before it is acknowledged, also after a loss of power.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", CACHE_KIB.to_string())
        // The writer writes the log back, and nobody else: it must see how that ends.
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging()
}

/// Takes the lock beside the database: one server at a time. The system lets go of it when the process dies.
pub(crate) fn lock(config: &SqliteConfig) -> Result<File, StoreError> {
    let mut name = config.path.clone().into_os_string();
    name.push(".lock");
    let path = PathBuf::from(name);
    let failed = |error: std::io::Error| StoreError::Unavailable(format!("{}: {error}", path.display()));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
            "another server has {} open; stop it, or give this one a file of its own",
            config.path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Brings the schema up to date.
pub(crate) async fn migrate(config: &SqliteConfig) -> Result<(), StoreError> {
    let mut connection = SqliteConnection::connect_with(&options(config))
        .await
        .map_err(unavailable)?;
    let refused = |problem: String| StoreError::Unavailable(format!("{}: {problem}", config.path.display()));
    schema(&mut connection).await?.refuse_newer().map_err(refused)?;
    MIGRATIONS
        .run(&mut connection)
        .await
        .map_err(|error| refused(format!("the schema cannot be brought up to date: {error}")))?;
    connection.close().await.map_err(unavailable)
}

/// Opens the one connection that writes.
pub(crate) fn writer(config: &SqliteConfig) -> Result<rusqlite::Connection, StoreError> {
    let open = || {
        // The connection is used by one thread at a time.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(&config.path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: a commit is on the disk before it is acknowledged, also after a loss of power.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", CACHE_KIB)?;
        written_back::watch(&connection);
        Ok(connection)
    };
    open().map_err(failed)
}

/// Opens the connections that read.
pub(crate) async fn readers(config: &SqliteConfig) -> Result<SqlitePool, StoreError> {
    SqlitePoolOptions::new()
        .max_connections(config.readers)
        .min_connections(1)
        .acquire_timeout(BUSY)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options(config).read_only(false).pragma("query_only", "ON"))
        .await
        .map_err(unavailable)
}

/// How far the schema is, as a look that changes nothing; a file that is not there has none.
pub(crate) async fn look(config: &SqliteConfig) -> Result<Schema, StoreError> {
    if !config.path.exists() {
        return Ok(Schema::new(0, steps()));
    }
    let looking = SqliteConnectOptions::new()
        .filename(&config.path)
        .read_only(true)
        .busy_timeout(BUSY);
    let mut connection = SqliteConnection::connect_with(&looking).await.map_err(unavailable)?;
    let schema = schema(&mut connection).await;
    connection.close().await.map_err(unavailable)?;
    schema
}

/// Whether the database takes writes: one that changes nothing is made durable.
pub(crate) async fn try_write(config: &SqliteConfig) -> Result<(), StoreError> {
    let mut connection = SqliteConnection::connect_with(&options(config))
        .await
        .map_err(unavailable)?;
    let written = sqlx::raw_sql("BEGIN IMMEDIATE; PRAGMA user_version = 0; COMMIT")
        .execute(&mut connection)
        .await;
    connection.close().await.map_err(unavailable)?;
    written.map(drop).map_err(unavailable)
}

async fn schema(connection: &mut SqliteConnection) -> Result<Schema, StoreError> {
    let migrated: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?;
    let at: Option<i64> = if migrated > 0 {
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(&mut *connection)
            .await
            .map_err(unavailable)?
    } else {
        None
    };
    Ok(Schema::new(at.unwrap_or_default(), steps()))
}

fn steps() -> impl Iterator<Item = Step> {
    MIGRATIONS.iter().map(|step| Step {
        number: step.version,
        name: step.description.to_string(),
        sql: step.sql.as_str().to_owned(),
    })
}
