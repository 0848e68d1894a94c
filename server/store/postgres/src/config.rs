//! Which database, and how many connections.

use std::time::Duration;

/// Configuration of a Postgres store.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=...`, with the driver's own parameters.
    pub url: String,
    /// Connections for reading.
    pub readers: u32,
    /// Longest time that a statement may take.
    pub statement_timeout: Duration,
    /// Longest time to wait for a connection.
    pub connect_timeout: Duration,
    /// Most commits written in one transaction.
    pub batch_max: usize,
    /// Commits that may wait for the writer before callers have to.
    pub queue_max: usize,
}

impl PostgresConfig {
    /// The defaults, for `postgres://`, `postgresql://` or `alloydb://`.
    ///
    /// # Errors
    /// The sentence to show if it is something else.
    pub fn parse(url: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(not_ours(url));
        };
        if !["postgres", "postgresql", "alloydb"].contains(&scheme) || rest.is_empty() {
            return Err(not_ours(url));
        }
        Ok(Self {
            url: format!("postgres://{rest}"),
            readers: 8,
            statement_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            batch_max: 512,
            queue_max: 1024,
        })
    }
}

fn not_ours(url: &str) -> String {
    let scheme = url.split("://").next().unwrap_or_default();
    format!("{scheme:?} is no Postgres URL; write postgres://user:password@host:5432/database")
}
