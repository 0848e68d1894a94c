//! How long to wait before the next attempt.

use serde::{Deserialize, Serialize};

/// Exponential backoff: `first_ms` doubling to `max_ms`, with full jitter, at most `attempts_max` attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Wait after the first failure, in milliseconds.
    pub first_ms: i64,
    /// Longest wait, in milliseconds.
    pub max_ms: i64,
    /// Attempts after which nobody tries again by itself.
    pub attempts_max: u32,
}

impl Backoff {
    /// For definite, retryable failures of a dispatch or a compensation.
    pub const DISPATCH: Self = Self {
        first_ms: 1_000,
        max_ms: 60_000,
        attempts_max: 5,
    };
    /// For observations of an effect in doubt: eight within about an hour.
    pub const RECONCILE: Self = Self {
        first_ms: 15_000,
        max_ms: 1_200_000,
        attempts_max: 8,
    };
    /// For waking an app that nobody serves: forever, slowly.
    pub const WAKE: Self = Self {
        first_ms: 200,
        max_ms: 10_000,
        attempts_max: u32::MAX,
    };

    /// The wait after `attempt` failed attempts, in milliseconds: full jitter, that is the nominal wait times `jitter`,
    /// a fraction in thousandths (0..=1000) drawn by the caller.
    #[must_use]
    pub fn wait_ms(&self, attempt: u32, jitter: u16) -> i64 {
        let doubled = self.first_ms.saturating_mul(1_i64 << attempt.saturating_sub(1).min(30));
        let nominal = doubled.min(self.max_ms);
        nominal.saturating_mul(i64::from(jitter.min(1000))) / 1000
    }

    /// Whether another attempt may follow the `attempts` made.
    #[must_use]
    pub const fn more(&self, attempts: u32) -> bool {
        attempts < self.attempts_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit() {
        let waits: Vec<_> = (1..=8).map(|n| Backoff::DISPATCH.wait_ms(n, 1000)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(Backoff::DISPATCH.wait_ms(1, 500), 500);
    }
}
