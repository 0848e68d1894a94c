//! Timers, and what else waits for a worker, on a clock that stands still until somebody waits for it.

#![allow(clippy::unwrap_used, reason = "a test fails by it, also in its helpers")]

mod ahead;
mod newcomers;
mod stage;
