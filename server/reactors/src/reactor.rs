//! What every reactor is: a kind of work, and how one row of it is handled.

use async_trait::async_trait;
use tape_core::DueKind;
use tape_port::{DueItem, DueWork, Tape, TapeError};

/// Who a reactor is, and for how long it holds what it works on.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name as an owner of claims: unique to the process.
    pub owner: String,
    /// How long a claim lasts, in milliseconds. Renewed at a third of it.
    pub claim_ms: i64,
}

/// One of the five.
#[async_trait]
pub trait Reactor: Send + Sync {
    /// Its kind of work.
    fn kind(&self) -> DueKind;

    /// What it looks for in the next pass.
    fn work(&self) -> DueWork;

    /// Handles one row: claims it, acts, records. Nothing to do is a success.
    ///
    /// # Errors
    /// The row could not be handled; it stays due, and is tried again after a backoff.
    async fn handle(&self, item: &DueItem) -> Result<(), TapeError>;

    /// Waits until there may be work.
    async fn woken(&self);
}

/// One pass, row by row: reads what is due and handles it. Returns the errors of the rows that could not be handled.
/// The [`Driver`](crate::Driver) does the same with several rows at once.
///
/// # Errors
/// [`TapeError::Unavailable`] if what is due cannot be read.
pub async fn pass(tape: &dyn Tape, reactor: &dyn Reactor) -> Result<Vec<TapeError>, TapeError> {
    let mut errors = Vec::new();
    for item in tape.due(&reactor.work()).await? {
        match reactor.handle(&item).await {
            Err(error) if !error.is_lost() => errors.push(error),
            // Handled, or somebody else moved it first.
            _ => {}
        }
    }
    Ok(errors)
}
