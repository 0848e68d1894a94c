//! What SQLite says, by what the caller does next.

use tape_store::StoreError;

/// An error before COMMIT was sent, or of a read: nothing was written.
pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(cause) if is_corrupt(cause.as_ref()) => StoreError::Corrupt(error.to_string()),
        sqlx::Error::Database(cause) if is_full(cause.as_ref()) => full(),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// An error of COMMIT itself: it may have happened. Not on a full disk: then the mark that makes it count was not written.
pub(crate) fn in_doubt(error: &sqlx::Error) -> StoreError {
    match error {
        sqlx::Error::Database(cause) if is_full(cause.as_ref()) => full(),
        _ => StoreError::InDoubt(error.to_string()),
    }
}

fn full() -> StoreError {
    StoreError::Unavailable("the disk is full; make room, and the server goes on by itself".to_owned())
}

fn is_full(error: &dyn sqlx::error::DatabaseError) -> bool {
    const SQLITE_FULL: &str = "13";
    error.code().is_some_and(|code| code == SQLITE_FULL)
}

fn is_corrupt(error: &dyn sqlx::error::DatabaseError) -> bool {
    const SQLITE_CORRUPT: &str = "11";
    const SQLITE_NOTADB: &str = "26";
    error
        .code()
        .is_some_and(|code| code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
}
