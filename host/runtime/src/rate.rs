//! Calls per second toward one upstream: a bucket that holds one second's worth.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);

/// So many calls per second on average, and no more than that at once. 0 = no limit.
#[derive(Default)]
pub struct Rate(Mutex<State>);

#[derive(Default)]
struct State {
    calls_per_s: u32,
    /// The moment at which the bucket will be full again if no more calls come.
    full_at: Option<Instant>,
    /// Calls without a limit, in the second that began at the moment.
    counted: Option<(Instant, u64)>,
}

impl Rate {
    /// Takes one call out of the bucket. Returns how long it has to wait for it, at most `wait_max`.
    ///
    /// # Errors
    /// It would have to wait longer: how long. Nothing was taken.
    pub fn take(&self, now: Instant, wait_max: Duration) -> Result<Duration, Duration> {
        let mut state = self.lock();
        let Some(each) = state.each() else {
            state.count(now);
            return Ok(Duration::ZERO);
        };
        let full_at = state.full_at.map_or(now, |at| at.max(now)) + each;
        let wait = full_at.saturating_duration_since(now + WINDOW);
        if wait > wait_max {
            return Err(wait);
        }
        state.full_at = Some(full_at);
        Ok(wait)
    }

    /// Puts back what was taken for a call that did not take place.
    pub fn give_back(&self) {
        let mut state = self.lock();
        if let (Some(each), Some(full_at)) = (state.each(), state.full_at) {
            state.full_at = full_at.checked_sub(each);
        }
    }

    /// From now on so many.
    pub fn set(&self, calls_per_s: u32) {
        self.lock().calls_per_s = calls_per_s;
    }

    /// How many of the last second's calls are used up, and how many there are.
    pub fn used(&self, now: Instant) -> (u64, u64) {
        let state = self.lock();
        let Some(each) = state.each() else {
            let counted = state.counted.filter(|(began, _)| now < *began + WINDOW);
            return (counted.map_or(0, |(_, calls)| calls), 0);
        };
        let until_full = state
            .full_at
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        let max = u64::from(state.calls_per_s);
        let used = until_full.as_nanos().div_ceil(each.as_nanos().max(1));
        (u64::try_from(used).unwrap_or(u64::MAX).min(max), max)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What one call takes of the window.
    fn each(&self) -> Option<Duration> {
        (self.calls_per_s > 0).then(|| WINDOW / self.calls_per_s)
    }

    fn count(&mut self, now: Instant) {
        match &mut self.counted {
            Some((began, calls)) if now < *began + WINDOW => *calls += 1,
            counted => *counted = Some((now, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_second_s_worth_goes_at_once_and_the_rest_waits_its_turn() {
        let (rate, now) = (Rate::default(), Instant::now());
        rate.set(10);
        for _ in 0..10 {
            assert_eq!(rate.take(now, ms(250)), Ok(Duration::ZERO));
        }
        assert_eq!(rate.used(now), (10, 10));
        assert_eq!(rate.take(now, ms(250)), Ok(ms(100)));
        assert_eq!(rate.take(now, ms(250)), Ok(ms(200)));
        assert_eq!(rate.take(now, ms(250)), Err(ms(300)));
        assert_eq!(rate.take(now, ms(250)), Err(ms(300)), "a refusal takes nothing");
        rate.give_back();
        assert_eq!(rate.take(now, ms(250)), Ok(ms(200)));
        let later = now + ms(2_000);
        assert_eq!(rate.used(later), (0, 10));
        assert_eq!(rate.take(later, ms(0)), Ok(Duration::ZERO));
    }

    #[test]
    fn without_a_limit_calls_are_counted_only() {
        let (rate, now) = (Rate::default(), Instant::now());
        for _ in 0..1000 {
            assert_eq!(rate.take(now, ms(0)), Ok(Duration::ZERO));
        }
        assert_eq!(rate.used(now), (1000, 0));
        assert_eq!(rate.used(now + WINDOW), (0, 0));
    }
}
