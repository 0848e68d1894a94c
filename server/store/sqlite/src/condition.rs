//! What the writer knows of the file's condition, for whoever asks the store.

use std::sync::atomic::{AtomicBool, Ordering};

/// How the file is.
#[derive(Debug, Default)]
pub(crate) struct Condition {
    /// The last batch could not be written.
    failing: AtomicBool,
    /// The log could not be written back: it grows until the file is opened anew.
    grows: AtomicBool,
}

impl Condition {
    /// Whether the last batch could not be written.
    pub(crate) fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Says whether the last batch could not be written. Returns what was said before.
    pub(crate) fn set_failing(&self, failing: bool) -> bool {
        self.failing.swap(failing, Ordering::Relaxed)
    }

    /// Whether the log only grows.
    pub(crate) fn grows(&self) -> bool {
        self.grows.load(Ordering::Relaxed)
    }

    /// From now on the log only grows.
    pub(crate) fn set_grows(&self) {
        self.grows.store(true, Ordering::Relaxed);
    }
}
