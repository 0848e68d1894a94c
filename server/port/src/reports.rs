//! How the reactors of this process are doing: for `tape status`, `tape doctor` and the metrics.

use tape_core::{DueKind, Time};

/// One reactor.
#[derive(Clone, Debug)]
pub struct ReactorReport {
    /// Which.
    pub kind: DueKind,
    /// It runs in this process.
    pub enabled: bool,
    /// When it last finished a pass; zero = never.
    pub last_pass: Time,
    /// Passes so far.
    pub passes: u64,
    /// Rows that it could not handle so far.
    pub errors: u64,
    /// The last of these errors; empty = none.
    pub last_error: String,
}

/// Where reports come from.
pub trait Reports: Send + Sync {
    /// All five reactors, in the order of [`DueKind::ALL`].
    fn reactors(&self) -> Vec<ReactorReport>;
}
