//! Choosing the store by its URL.

use std::sync::Arc;

use tape_store::{Schema, Store, StoreError};
use tape_store_memory::MemoryStore;
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_sqlite::{SqliteConfig, SqliteStore};

use crate::node::NodeError;

/// Opens the store that `url` names.
pub(crate) async fn open(url: &str) -> Result<Arc<dyn Store>, NodeError> {
    match url.split_once(':').map_or(url, |(scheme, _)| scheme) {
        "sqlite" => {
            let config = SqliteConfig::parse(url).map_err(NodeError::Config)?;
            if let Some(folder) = config.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder).map_err(|error| NodeError::Store {
                    url: url.to_owned(),
                    problem: format!("{} cannot be made: {error}", folder.display()),
                })?;
            }
            let store = SqliteStore::open(&config).await;
            let store = store.map_err(|error| NodeError::Store {
                url: url.to_owned(),
                problem: error.to_string(),
            })?;
            Ok(Arc::new(store))
        }
        "postgres" | "postgresql" | "alloydb" => {
            let config = PostgresConfig::parse(url).map_err(NodeError::Config)?;
            let store = PostgresStore::open(&config).await;
            let store = store.map_err(|error| NodeError::Store {
                url: redact(url),
                problem: error.to_string(),
            })?;
            Ok(Arc::new(store))
        }
        "memory" => Ok(Arc::new(MemoryStore::new())),
        _ => Err(NodeError::Config(format!(
            "{:?} names no store that this server has; write sqlite:<path>, for example sqlite:tape.db, or postgres://user:password@host/database",
            redact(url)
        ))),
    }
}

/// How far the schema of the store that `url` names is; changes nothing.
///
/// # Errors
/// [`NodeError`] if it cannot be told.
pub async fn schema(url: &str) -> Result<Schema, NodeError> {
    let unavailable = |error: StoreError| NodeError::Store {
        url: redact(url),
        problem: error.to_string(),
    };
    match url.split_once(':').map_or(url, |(scheme, _)| scheme) {
        "sqlite" => {
            let config = SqliteConfig::parse(url).map_err(NodeError::Config)?;
            SqliteStore::schema(&config).await.map_err(unavailable)
        }
        "postgres" | "postgresql" | "alloydb" => {
            let config = PostgresConfig::parse(url).map_err(NodeError::Config)?;
            PostgresStore::schema(&config).await.map_err(unavailable)
        }
        _ => Err(NodeError::Config(format!(
            "{:?} has no schema to migrate; name a store by sqlite:<path> or postgres://...",
            redact(url)
        ))),
    }
}

/// Brings the schema of the store that `url` names up to date.
///
/// # Errors
/// [`NodeError`] if it is in use (SQLite), belongs to a newer server, or cannot be reached.
pub async fn migrate(url: &str) -> Result<(), NodeError> {
    open(url).await?.close().await;
    Ok(())
}

/// A URL without its password.
pub(crate) fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let Some((credentials, host)) = rest.rsplit_once('@') else {
        return url.to_owned();
    };
    let user = credentials.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:***@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(redact("postgres://me:secret@host/db"), "postgres://me:***@host/db");
        assert_eq!(redact("sqlite:tape.db"), "sqlite:tape.db");
    }
}
