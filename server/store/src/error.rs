//! What can go wrong in a store, by what the caller does next.

/// A failed request to a store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The entity moved on. Load and decide again.
    #[error("the entity is at version {found}, not at {expected}")]
    Conflict {
        /// The version that the commit was decided on.
        expected: u64,
        /// The version in the store.
        found: u64,
    },
    /// No answer came: it may have been written or not. Load and decide again; an operation that was recorded answers
    /// from its record.
    #[error("the store gave no answer: {0}")]
    InDoubt(String),
    /// The store cannot serve now: disk full, no connection, closing. Nothing was written. Repeat the request later.
    #[error("the store does not serve: {0}")]
    Unavailable(String),
    /// What was read makes no sense. A person has to look.
    #[error("the store holds something that cannot be read: {0}")]
    Corrupt(String),
}
