//! Opening the database: pragmas, migrations, and the lock that keeps a second server out.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tape_store::StoreError;

use crate::config::SqliteConfig;
use crate::error::unavailable;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// How long a reader or the writer waits for a lock of the file.
const BUSY: Duration = Duration::from_secs(5);

fn options(config: &SqliteConfig) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&config.path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL: a commit is on the disk before it is acknowledged, also after a loss of power.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY)
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-16384")
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

/// Opens the one connection that writes, and brings the schema up to date.
pub(crate) async fn writer(config: &SqliteConfig) -> Result<SqliteConnection, StoreError> {
    let mut connection = SqliteConnection::connect_with(&options(config))
        .await
        .map_err(unavailable)?;
    MIGRATIONS.run(&mut connection).await.map_err(|error| {
        StoreError::Unavailable(format!(
            "{}: the schema cannot be brought up to date: {error}. Is it the file of a newer server? `tape migrate --dry-run` tells.",
            config.path.display()
        ))
    })?;
    Ok(connection)
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
