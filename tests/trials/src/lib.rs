//! Trials: real `tape-server` processes over real databases, many clients at once, and SIGKILL at moments that a seed chooses.
//!
//! ```text
//! clients ──gRPC──▶ tape-server ──▶ SQLite | Postgres
//!    │                  ▲                ▲
//!    │ what was said    └── SIGKILL ─────┘
//!    ▼
//! stories ──▶ check ◀── what the server says afterwards (Admin.DumpRun, WatchValue, SubscribeEvents)
//! ```
//!
//! Every client keeps a story of what it asked for: what was acknowledged must be there, what was not may be there wholly or
//! not at all, and nothing else may be. `TAPE_TRIAL_ROUNDS=n` and `TAPE_TRIAL_SEED=n` make a trial longer, or begin it alike;
//! how processes interleave is the machine's to choose.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests' own helpers: a failure is a failed test, and its text says what was wrong"
)]

mod call;
mod check;
mod client;
mod dump;
mod follower;
pub mod history;
pub mod linear;
mod server;
mod story;

pub use call::{Answer, Caller, detail};
pub use check::{journals_are_whole, keys_are_unique, stories_hold, values_hold};
pub use client::{Clients, Plan};
pub use dump::Dump;
pub use follower::{Follower, Seen};
pub use server::{Server, store_of_postgres, store_of_sqlite};
pub use story::{Fact, Story, Values};

use std::hash::{BuildHasher as _, RandomState};

/// How many rounds a trial has: `TAPE_TRIAL_ROUNDS`, or else `few`.
#[must_use]
pub fn rounds(few: u64) -> u64 {
    number("TAPE_TRIAL_ROUNDS").unwrap_or(few)
}

/// How many swaps a trial of connectors has: `TAPE_TRIAL_SWAPS`, or else `few`.
#[must_use]
pub fn swaps(few: u64) -> u64 {
    number("TAPE_TRIAL_SWAPS").unwrap_or(few)
}

/// The seed of a trial: `TAPE_TRIAL_SEED`, or one that nobody chose. Print it.
#[must_use]
pub fn seed() -> u64 {
    number("TAPE_TRIAL_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) % 1_000_000)
}

/// Says what a trial found, for `--nocapture` and for the log of a failure.
pub fn tell(what: impl std::fmt::Display) {
    println!("{what}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}
