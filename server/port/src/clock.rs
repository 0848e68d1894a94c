//! Time and luck come in as values; here is where they come from. Implemented by the node, and by tests.

use tape_core::Time;

/// The server's clock.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;
}

/// Fresh names and jitter.
pub trait Luck: Send + Sync {
    /// A name that nobody else has: a UUID, newer ones sort after older ones.
    fn fresh(&self) -> String;

    /// A random fraction in thousandths, 0..=1000.
    fn jitter(&self) -> u16;
}
