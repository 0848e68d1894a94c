//! Core, engine, reactors and a store in one thread, with seeded faults: the invariants after every step.
//!
//! ```text
//! seed ─▶ scheduler ─▶ one step: an agent's next call | a reactor's pass | time passes | somebody dies
//!                          │
//!                          ▼ after each step: invariants 1 to 5, 7 and 8 of the architecture, over the store and the bank's ledger
//! ```
//!
//! One to three servers share the store, and each call of an agent goes to any of them. A server may die at every commit,
//! before it or after it; the store may lose its answer, the network may deliver a request twice, the clock may jump; agents
//! die, or live on as ghosts after somebody else took over; the upstream refuses, loses requests and loses answers. A run of a seed is
//! repeatable to the last step, so a failing seed is a failing test.

mod agent;
mod bank;
mod faults;
mod invariants;
mod server;
mod undoing;
mod world;

pub use world::{Outcome, simulate};
