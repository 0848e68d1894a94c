//! What Postgres says, by what the caller does next.

use std::time::Duration;

use tape_store::StoreError;

/// An error of a read, or before anything was sent: nothing was written.
pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// An error of what writes and commits at once. Where the database refused it, it undid it; where it shut down, or the
/// connection broke, it may have happened.
pub(crate) fn failed(error: sqlx::Error) -> StoreError {
    // Class 57P: an administrator or a crash ended the connection.
    let refused =
        matches!(&error, sqlx::Error::Database(cause) if cause.code().is_some_and(|code| !code.starts_with("57P")));
    if refused {
        unavailable(error)
    } else {
        StoreError::InDoubt(error.to_string())
    }
}

/// No answer within reason, to what changes nothing.
pub(crate) fn silent(patience: Duration) -> StoreError {
    StoreError::Unavailable(format!(
        "the database did not answer within {} ms",
        patience.as_millis()
    ))
}

/// Whether the same transaction may go through when it is tried again at once.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK: &str = "40P01";
    match error {
        sqlx::Error::Database(cause) => cause
            .code()
            .is_some_and(|code| code == SERIALIZATION_FAILURE || code == DEADLOCK),
        _ => false,
    }
}
