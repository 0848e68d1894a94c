//! A connector that breaks call after call is left alone for a while, so that it does not use up the attempts of everything that waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const FAILURES_IN_A_ROW: u64 = 10;
const REST: Duration = Duration::from_secs(5);

/// Counts calls that broke, and closes the door after too many in a row.
#[derive(Default)]
pub struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    calls: u64,
    failures: u64,
    in_a_row: u64,
    rests_until: Option<Instant>,
    last_error: Option<String>,
}

/// The door is closed.
#[derive(Debug)]
pub struct Resting {
    pub failures: u64,
    pub retry_after: Duration,
    pub last_error: String,
}

/// What `tape connector list` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    pub failures: u64,
    pub last_error: Option<String>,
}

impl Breaker {
    /// # Errors
    /// [`Resting`] while the door is closed. After the rest one failure closes it again.
    pub fn enter(&self, now: Instant) -> Result<(), Resting> {
        let state = self.lock();
        match state.rests_until {
            Some(until) if now < until => Err(Resting {
                failures: state.in_a_row,
                retry_after: until - now,
                last_error: state.last_error.clone().unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// The guest answered, whatever its answer.
    pub fn answered(&self) {
        let mut state = self.lock();
        state.calls += 1;
        state.in_a_row = 0;
        state.rests_until = None;
    }

    /// The call ended without an answer.
    pub fn broke(&self, error: String, now: Instant) {
        let mut state = self.lock();
        state.calls += 1;
        state.failures += 1;
        state.in_a_row += 1;
        state.last_error = Some(error);
        if state.in_a_row >= FAILURES_IN_A_ROW {
            state.rests_until = Some(now + REST);
        }
    }

    pub fn tally(&self) -> Tally {
        let state = self.lock();
        Tally {
            calls: state.calls,
            failures: state.failures,
            last_error: state.last_error.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_in_a_row_close_the_door() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_IN_A_ROW - 1 {
            breaker.broke("trap".to_owned(), now);
        }
        breaker.answered();
        breaker.broke("trap".to_owned(), now);
        assert!(breaker.enter(now).is_ok());
        for _ in 0..FAILURES_IN_A_ROW {
            breaker.broke("the last trap".to_owned(), now);
        }
        assert_eq!(breaker.enter(now).unwrap_err().last_error, "the last trap");
        assert!(breaker.enter(now + REST).is_ok());
    }

    #[test]
    fn after_the_rest_one_failure_closes_it_again_and_one_answer_opens_it() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_IN_A_ROW {
            breaker.broke("trap".to_owned(), now);
        }
        let later = now + REST;
        breaker.broke("trap".to_owned(), later);
        assert!(breaker.enter(later).is_err());
        breaker.answered();
        assert!(breaker.enter(later).is_ok());
    }
}
