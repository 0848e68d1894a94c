//! Which database, and how many connections.

use std::time::Duration;

/// Configuration of a Postgres store.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=...`, with the driver's own parameters. In [`parse`](Self::parse) also
    /// `pool_size`, `statement_timeout_ms`, `connect_timeout_ms` and `notify=on|off`.
    pub url: String,
    /// Connections for reading.
    pub readers: u32,
    /// Longest time that a statement may take.
    pub statement_timeout: Duration,
    /// Tell other servers of commits; without it they find them by polling.
    pub notify: bool,
    /// Longest time to wait for a connection.
    pub connect_timeout: Duration,
    /// Most commits written in one transaction.
    pub batch_max: usize,
    /// Commits that may wait for the writer before callers have to.
    pub queue_max: usize,
}

impl PostgresConfig {
    /// How long the database may take to answer: a little more than it allows itself, so that its own error comes first.
    pub(crate) fn patience(&self) -> Duration {
        self.statement_timeout + Duration::from_secs(1)
    }

    /// Takes our own parameters out of the URL: the driver would pass them on to the database, which does not know them.
    fn take_parameters(&mut self) -> Result<(), String> {
        let Some((base, parameters)) = self.url.split_once('?') else {
            return Ok(());
        };
        let (base, mut others) = (base.to_owned(), Vec::new());
        for parameter in parameters.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let number = || {
                let number = value.parse::<u32>().ok().filter(|number| *number > 0);
                number.ok_or_else(|| format!("{name}={value} in the store's URL is not a positive whole number"))
            };
            match name {
                "notify" => {
                    self.notify = match value {
                        "on" => true,
                        "off" => false,
                        _ => return Err(format!("notify={value} in the store's URL is neither on nor off")),
                    }
                }
                "pool_size" => self.readers = number()?,
                "statement_timeout_ms" => self.statement_timeout = Duration::from_millis(number()?.into()),
                "connect_timeout_ms" => self.connect_timeout = Duration::from_millis(number()?.into()),
                _ => others.push(parameter.to_owned()),
            }
        }
        self.url = if others.is_empty() {
            base
        } else {
            format!("{base}?{}", others.join("&"))
        };
        Ok(())
    }

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
        let mut config = Self {
            url: format!("postgres://{rest}"),
            readers: 8,
            statement_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            batch_max: 512,
            queue_max: 1024,
            notify: true,
        };
        config.take_parameters()?;
        Ok(config)
    }
}

fn not_ours(url: &str) -> String {
    let scheme = url.split("://").next().unwrap_or_default();
    format!("{scheme:?} is no Postgres URL; write postgres://user:password@host:5432/database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_parameters_are_taken_out_of_the_url() {
        let url = "postgres://me@host/db?sslmode=require&pool_size=3&statement_timeout_ms=500&connect_timeout_ms=250&notify=off";
        let config = PostgresConfig::parse(url).unwrap();
        assert_eq!(config.url, "postgres://me@host/db?sslmode=require");
        assert_eq!((config.readers, config.notify), (3, false));
        assert_eq!(config.statement_timeout, Duration::from_millis(500));
        assert_eq!(config.connect_timeout, Duration::from_millis(250));
        let plain = PostgresConfig::parse("postgres://me@host/db?pool_size=1").unwrap();
        assert_eq!(plain.url, "postgres://me@host/db");
        let wrong = PostgresConfig::parse("postgres://me@host/db?pool_size=many").unwrap_err();
        assert!(wrong.contains("pool_size=many"), "{wrong}");
    }

    #[test]
    fn alloydb_is_postgres() {
        let config = PostgresConfig::parse("alloydb://me@10.0.0.1:5432/tape?sslmode=require").unwrap();
        assert_eq!(config.url, "postgres://me@10.0.0.1:5432/tape?sslmode=require");
    }
}
