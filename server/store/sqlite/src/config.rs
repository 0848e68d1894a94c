//! Where the database is, and how durable a commit is.

use std::path::PathBuf;

/// Configuration of a SQLite store.
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    /// The database file. Its folder must exist.
    pub path: PathBuf,
    /// Connections for reading.
    pub readers: u32,
    /// Most commits written in one transaction.
    pub batch_max: usize,
    /// Commits that may wait for the writer before callers have to.
    pub queue_max: usize,
}

impl SqliteConfig {
    /// The defaults, for a file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            readers: 4,
            batch_max: 512,
            queue_max: 1024,
        }
    }

    /// Reads `sqlite:<path>` or `sqlite://<path>`.
    ///
    /// # Errors
    /// The sentence to show if it is something else.
    pub fn parse(url: &str) -> Result<Self, String> {
        let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
        match path {
            Some(path) if !path.is_empty() => Ok(Self::new(path)),
            _ => Err(format!(
                "{url:?} is no SQLite URL; write sqlite:<path>, for example sqlite:tape.db"
            )),
        }
    }
}
