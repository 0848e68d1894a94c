//! What the tests end to end share: the binaries, a scaffolded project, its processes, the bank's books.
//!
//! They need a Python with the SDK and Google's ADK, named by TAPE_PYTHON (`make test` names it); without one they fail.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests' own helpers: a failure is a failed test, and its text says what was wrong"
)]

mod bank;
mod binaries;
mod project;
mod service;

pub use bank::Bank;
pub use binaries::{binary, tape};
pub use project::{Dev, Project};
pub use service::{Server, Service};

use std::net::TcpListener;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for anything: importing the agent framework takes seconds on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Tests that run processes at the same time; more only makes all of them late.
const AT_ONCE: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// A test's turn. Given back when it is dropped.
pub struct Turn(());

impl Turn {
    /// Waits for it.
    #[must_use]
    pub fn take() -> Self {
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = FREED.wait_while(running, |running| *running >= AT_ONCE);
        *waited.unwrap_or_else(PoisonError::into_inner) += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}

/// The end of a wait.
pub struct Deadline(Instant);

impl Deadline {
    /// From now on.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "real processes are waited for in real time")]
    pub fn start() -> Self {
        Self(Instant::now() + WAIT_MAX)
    }

    /// Whether it was waited for long enough.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "real processes are waited for in real time")]
    pub fn is_over(&self) -> bool {
        Instant::now() > self.0
    }
}

/// A port that nobody listens on right now.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// The Python that runs agents.
///
/// # Panics
/// When nobody says which.
#[must_use]
pub fn python() -> String {
    std::env::var("TAPE_PYTHON").expect(
        "these tests need a Python with the Tape SDK and google-adk: run them by `make test-rust`, \
         or set TAPE_PYTHON=/path/to/python after `pip install -e 'sdk/python[adk]'`",
    )
}
