//! What a commit hangs on: the one before it, where it was decided on a state that was not durable yet.
//!
//! ```text
//! X: 8 ─▶ 9      Y, decided on what X leaves: 9 ─▶ 10
//!       └── another server writes its own 9: X is refused, and Y finds version 9, but not the one that it was decided on
//! ```
//!
//! A version says how many commits there were, not which. So Y names X, and falls with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a commit has fallen: shared between its maker, its store, and the commits that were decided on it.
#[derive(Clone, Debug, Default)]
pub struct Fate(Arc<AtomicBool>);

impl Fate {
    /// The commit was not written, or nobody knows: what was decided on it must not be written.
    pub fn fall(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether it has fallen.
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A commit's place among those of its entity that are under way. The default hangs on nothing.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The commit that it was decided on, unless that was durable by then.
    pub before: Option<Fate>,
    /// Its own fate.
    pub own: Fate,
}

impl Chain {
    /// Whether the commit has fallen, by itself or with the one before it.
    #[must_use]
    pub fn has_fallen(&self) -> bool {
        self.own.has_fallen() || self.before.as_ref().is_some_and(Fate::has_fallen)
    }
}
