//! Connecting: pool, timeouts, migrations.

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tape_store::StoreError;

use crate::config::PostgresConfig;
use crate::error::unavailable;

/// The same numbers as the other stores'. sqlx takes an advisory lock while it migrates: servers that start together
/// wait for each other.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Connects, and brings the schema up to date.
pub(crate) async fn pool(config: &PostgresConfig) -> Result<PgPool, StoreError> {
    let options: PgConnectOptions = config.url.parse().map_err(unavailable)?;
    let options = options
        .application_name("tape-server")
        .options([
            ("statement_timeout", config.statement_timeout.as_millis().to_string()),
            // A server that hangs in the middle of a batch holds the order of the journal: the others go on without it.
            (
                "idle_in_transaction_session_timeout",
                config.statement_timeout.as_millis().to_string(),
            ),
        ])
        .disable_statement_logging();
    let pool = PgPoolOptions::new()
        // One for the writer beside the readers.
        .max_connections(config.readers + 1)
        .acquire_timeout(config.connect_timeout)
        .connect_with(options)
        .await
        .map_err(unavailable)?;
    MIGRATIONS.run(&pool).await.map_err(|error| {
        StoreError::Unavailable(format!(
            "the schema cannot be brought up to date: {error}. Is it the database of a newer server? `tape migrate --dry-run` tells."
        ))
    })?;
    Ok(pool)
}
