//! The machine's clock and luck: the only place where they come from.

use std::time::{SystemTime, UNIX_EPOCH};

use tape_core::Time;
use tape_port::{Clock, Luck};

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the node's clock: everybody else gets time as a value"
    )]
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The machine's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLuck;

impl Luck for SystemLuck {
    fn fresh(&self) -> String {
        uuid::Uuid::now_v7().simple().to_string()
    }

    fn jitter(&self) -> u16 {
        // The last bytes of a version 7 UUID are random.
        let bytes = uuid::Uuid::now_v7().into_bytes();
        u16::from_be_bytes([bytes[14], bytes[15]]) % 1001
    }
}
