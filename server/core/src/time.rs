//! A point in time, as a value that is handed in.

use serde::{Deserialize, Serialize};

/// Unix time in milliseconds, from the server's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// After everything: what is due then is never due, and can be found all the same.
    pub const NEVER: Self = Self(i64::MAX);

    /// This time plus `ms` milliseconds; saturates at the end of time.
    #[must_use]
    pub const fn after(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; negative if it is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}
