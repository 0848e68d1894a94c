//! Latencies: recorded per client, merged, and read as quantiles.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies in nanoseconds, three significant digits, up to a minute; a longer one counts as a minute.
#[derive(Clone)]
pub struct Samples(Histogram<u64>);

const MAX: Duration = Duration::from_secs(60);

impl Default for Samples {
    fn default() -> Self {
        let max = u64::try_from(MAX.as_nanos()).unwrap_or(u64::MAX);
        Self(Histogram::new_with_bounds(1, max, 3).expect("the bounds are in order and three digits are few"))
    }
}

impl Samples {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1));
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// The latency that this share of the samples does not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share))
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> Duration {
        self.quantile(0.5)
    }

    /// What one in a hundred exceeds.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}
