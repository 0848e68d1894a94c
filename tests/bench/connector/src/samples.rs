//! Latencies, read as quantiles.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies in nanoseconds, three significant digits; beyond a minute they count as a minute.
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
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos.max(1));
    }

    /// In microseconds, the latency that this share of the samples does not exceed.
    #[must_use]
    pub fn us(&self, share: f64) -> f64 {
        Duration::from_nanos(self.0.value_at_quantile(share)).as_secs_f64() * 1e6
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}
