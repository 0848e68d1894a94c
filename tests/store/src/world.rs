//! What a server over a store needs of the world.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use tape_core::Time;
use tape_port::{Clock, Luck};

/// A clock that the test turns, and names that nobody else has.
pub struct World {
    pub now: AtomicI64,
    names: AtomicU64,
}

impl World {
    /// A world at a time of its own.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            now: AtomicI64::new(1_000_000),
            names: AtomicU64::new(0),
        })
    }
}

impl Clock for World {
    fn now(&self) -> Time {
        Time(self.now.load(Ordering::SeqCst))
    }
}

impl Luck for World {
    fn fresh(&self) -> String {
        format!("fresh-{}", self.names.fetch_add(1, Ordering::SeqCst))
    }

    fn jitter(&self) -> u16 {
        500
    }
}
