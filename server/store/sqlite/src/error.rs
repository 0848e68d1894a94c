//! What SQLite says, by what the caller does next.

use tape_store::StoreError;

/// An error of a read: nothing was written.
pub(crate) fn unavailable(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(cause) if is(cause.as_ref(), &[CORRUPT, NOT_A_DATABASE]) => {
            StoreError::Corrupt(error.to_string())
        }
        sqlx::Error::Database(cause) if is(cause.as_ref(), &[FULL]) => full(),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// An error of the writer's. Where the disk failed it may have happened: what was on its way there can turn up after a
/// restart. With every other answer of SQLite's nothing was written; on a full disk the mark that makes it count was not.
pub(crate) fn failed(error: rusqlite::Error) -> StoreError {
    // The lower byte is the primary result code.
    match error
        .sqlite_error()
        .map(|cause| cause.extended_code.cast_unsigned() & 0xff)
    {
        Some(CORRUPT | NOT_A_DATABASE) => StoreError::Corrupt(error.to_string()),
        Some(FULL) => full(),
        Some(code) if code != IO => StoreError::Unavailable(error.to_string()),
        _ => StoreError::InDoubt(error.to_string()),
    }
}

fn full() -> StoreError {
    StoreError::Unavailable("the disk is full; make room, and the server goes on by itself".to_owned())
}

const IO: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const NOT_A_DATABASE: u32 = 26;

/// Whether it is one of these primary result codes; the extended ones have more in their upper bytes.
fn is(error: &dyn sqlx::error::DatabaseError, codes: &[u32]) -> bool {
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| codes.contains(&(code & 0xff)))
}
