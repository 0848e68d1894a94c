//! A connector that breaks call after call, or whose upstream does not answer any more, is left alone for a while, so that it does not
//! use up the attempts of everything that waits for it.
//!
//! ```text
//! closed ── failures in a row ──▶ open ── rest is over ──▶ half-open ── one call is let through ──▶ closed | open
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tape_connector_port::{Circuit, CircuitState};
use tokio::time::Instant;

const FAILURES_IN_A_ROW: u64 = 10;
const REST: Duration = Duration::from_secs(5);
/// How long the others wait while one call is let through to see.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// Counts calls that failed, and closes the door after too many in a row.
#[derive(Default)]
pub struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    calls: u64,
    failures: u64,
    in_a_row: u64,
    /// While it is there, calls are refused: until its moment all, after it all but one.
    rests_until: Option<Instant>,
    /// The one call is under way.
    probing: bool,
    since_ms: i64,
    last_error: Option<String>,
}

/// The door is closed.
#[derive(Debug)]
pub struct Resting {
    pub failures: u64,
    pub retry_after: Duration,
    pub last_error: String,
}

/// A call that was let through. Dropped without a word on how it ended, it leaves everything as it was.
#[must_use]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    probes: bool,
}

/// What `tape connector list` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    pub failures: u64,
    pub last_error: Option<String>,
}

impl Breaker {
    /// A closed one.
    pub fn new(now_ms: i64) -> Self {
        Self(Mutex::new(State {
            since_ms: now_ms,
            ..State::default()
        }))
    }

    /// # Errors
    /// [`Resting`] while the door is closed. After the rest one call is let through; its end opens or closes the door.
    pub fn enter(&self, now: Instant) -> Result<Pass<'_>, Resting> {
        let mut state = self.lock();
        let retry_after = match state.rests_until {
            None => {
                return Ok(Pass {
                    breaker: self,
                    probes: false,
                });
            }
            Some(until) if now < until => until - now,
            Some(_) if state.probing => PROBE_WAIT,
            Some(_) => {
                state.probing = true;
                return Ok(Pass {
                    breaker: self,
                    probes: true,
                });
            }
        };
        Err(Resting {
            failures: state.in_a_row,
            retry_after,
            last_error: state.last_error.clone().unwrap_or_default(),
        })
    }

    pub fn tally(&self) -> Tally {
        let state = self.lock();
        Tally {
            calls: state.calls,
            failures: state.failures,
            last_error: state.last_error.clone(),
        }
    }

    /// The circuit as it stands.
    pub fn circuit(&self, now: Instant) -> Circuit {
        let state = self.lock();
        let rest = state.rests_until.map(|until| until.saturating_duration_since(now));
        Circuit {
            state: match rest {
                None => CircuitState::Closed,
                Some(rest) if rest.is_zero() => CircuitState::HalfOpen,
                Some(_) => CircuitState::Open,
            },
            since_ms: state.since_ms,
            failures_in_a_row: state.in_a_row,
            retry_after_ms: rest.map_or(0, |rest| u64::try_from(rest.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The guest answered, and its upstream did if it was asked.
    pub fn answered(self, now_ms: i64) {
        let mut state = self.breaker.lock();
        state.calls += 1;
        state.in_a_row = 0;
        if state.rests_until.take().is_some() {
            state.since_ms = now_ms;
        }
    }

    /// The call ended without an answer.
    pub fn failed(self, error: String, now: Instant, now_ms: i64) {
        let mut state = self.breaker.lock();
        state.calls += 1;
        state.failures += 1;
        state.in_a_row += 1;
        state.last_error = Some(error);
        if state.in_a_row >= FAILURES_IN_A_ROW {
            state.rests_until = Some(now + REST);
            state.since_ms = now_ms;
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probes {
            self.breaker.lock().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broke(breaker: &Breaker, now: Instant) {
        breaker.enter(now).unwrap().failed("trap".to_owned(), now, 7);
    }

    fn is(breaker: &Breaker, now: Instant) -> &'static str {
        breaker.circuit(now).state.as_str()
    }

    #[test]
    fn only_failures_in_a_row_close_the_door() {
        let (breaker, now) = (Breaker::new(1), Instant::now());
        for _ in 0..FAILURES_IN_A_ROW - 1 {
            broke(&breaker, now);
        }
        breaker.enter(now).unwrap().answered(2);
        broke(&breaker, now);
        assert_eq!((is(&breaker, now), breaker.circuit(now).since_ms), ("closed", 1));
        for _ in 1..FAILURES_IN_A_ROW {
            broke(&breaker, now);
        }
        assert_eq!(breaker.enter(now).err().unwrap().last_error, "trap");
        let circuit = breaker.circuit(now);
        assert_eq!(
            (
                circuit.state,
                circuit.since_ms,
                circuit.failures_in_a_row,
                circuit.retry_after_ms
            ),
            (CircuitState::Open, 7, 10, 5_000)
        );
    }

    #[test]
    fn after_the_rest_one_call_is_let_through_and_decides() {
        let (breaker, now) = (Breaker::new(1), Instant::now());
        for _ in 0..FAILURES_IN_A_ROW {
            broke(&breaker, now);
        }
        let later = now + REST;
        assert_eq!(is(&breaker, later), "half-open");
        let probe = breaker.enter(later).unwrap();
        assert!(breaker.enter(later).is_err(), "one, and no more");
        probe.failed("trap".to_owned(), later, 8);
        assert_eq!(is(&breaker, later), "open");

        let later = later + REST;
        // A probe that went away is no answer.
        drop(breaker.enter(later).unwrap());
        let probe = breaker.enter(later).unwrap();
        probe.answered(9);
        assert_eq!((is(&breaker, later), breaker.circuit(later).since_ms), ("closed", 9));
        assert!(breaker.enter(later).is_ok());
    }
}
