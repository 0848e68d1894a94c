//! What comes over the wire and out of the store, damaged: a decoder refuses it or reads it, and never panics.
//!
//! ```text
//! seeds (valid) ─ mutate ─▶ bytes ─▶ target ─▶ panics if the decoder does wrong
//! ```
//!
//! Each target is a function of bytes, as a coverage-guided fuzzer wants it; `cargo test` feeds it a bounded number of
//! mutations from a fixed seed.

#![allow(clippy::panic, reason = "a target panics to say what is wrong")]

pub mod message;
pub mod mutate;
pub mod rpc;
pub mod seeds;
pub mod targets;
mod valid;
