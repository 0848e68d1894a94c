//! Connecting: pool, timeouts, migrations.

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tape_store::{Schema, Step, StoreError};

use crate::config::PostgresConfig;
use crate::error::unavailable;
use crate::lanes::LANES;

/// The same numbers as the other stores'. sqlx takes an advisory lock while it migrates: servers that start together
/// wait for each other.
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The pools of a store.
pub(crate) struct Pools {
    /// For reading.
    pub(crate) readers: PgPool,
    /// For the writer.
    pub(crate) writer: PgPool,
    /// For what servers tell each other.
    pub(crate) side: PgPool,
}

/// Connects, and brings the schema up to date.
pub(crate) async fn pools(config: &PostgresConfig) -> Result<Pools, StoreError> {
    let options = options(config)?;
    let pool = PgPoolOptions::new()
        .max_connections(config.readers)
        .acquire_timeout(config.connect_timeout)
        .connect_with(options.clone())
        .await
        .map_err(unavailable)?;
    schema(&pool).await?.refuse_newer().map_err(StoreError::Unavailable)?;
    migrate(config, options.clone()).await?;
    // One connection listens, one tells; each is made when it is needed.
    let side = PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(config.connect_timeout)
        .connect_lazy_with(options.clone());
    // What writes is one statement, planned once: as for large tables, whatever they are now.
    let writing = options_of_writer(options);
    let writer = PgPoolOptions::new()
        .max_connections(LANES)
        .acquire_timeout(config.connect_timeout)
        .connect_lazy_with(writing);
    Ok(Pools {
        readers: pool,
        writer,
        side,
    })
}

/// Brings the schema up to date. However long that takes: for a large table, or behind another server that does it.
async fn migrate(config: &PostgresConfig, options: PgConnectOptions) -> Result<(), StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(config.connect_timeout)
        .connect_with(options.options([("statement_timeout", "0")]))
        .await
        .map_err(unavailable)?;
    let migrated = MIGRATIONS.run(&pool).await;
    pool.close().await;
    migrated.map_err(|error| StoreError::Unavailable(format!("the schema cannot be brought up to date: {error}")))
}

fn options_of_writer(options: PgConnectOptions) -> PgConnectOptions {
    options.options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ])
}

fn options(config: &PostgresConfig) -> Result<PgConnectOptions, StoreError> {
    let options: PgConnectOptions = config.url.parse().map_err(unavailable)?;
    Ok(options
        .application_name("tape-server")
        .options([
            ("statement_timeout", config.statement_timeout.as_millis().to_string()),
            // A server that hangs in the middle of a batch holds the order of the journal: the others go on without it.
            (
                "idle_in_transaction_session_timeout",
                config.statement_timeout.as_millis().to_string(),
            ),
        ])
        .disable_statement_logging())
}

/// How far the schema is, as a look that changes nothing.
pub(crate) async fn look(config: &PostgresConfig) -> Result<Schema, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(config.connect_timeout)
        .connect_with(options(config)?)
        .await
        .map_err(unavailable)?;
    let schema = schema(&pool).await;
    pool.close().await;
    schema
}

async fn schema(pool: &PgPool) -> Result<Schema, StoreError> {
    let migrated: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(pool)
        .await
        .map_err(unavailable)?;
    let at: Option<i64> = if migrated {
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
            .fetch_one(pool)
            .await
            .map_err(unavailable)?
    } else {
        None
    };
    let steps = MIGRATIONS.iter().map(|step| Step {
        number: step.version,
        name: step.description.to_string(),
        sql: step.sql.as_str().to_owned(),
    });
    Ok(Schema::new(at.unwrap_or_default(), steps))
}
