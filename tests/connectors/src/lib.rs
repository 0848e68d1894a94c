//! What the tests of the connector host share: guests built from `connectors/`, an upstream that misbehaves on demand, and calls to make.

#![allow(clippy::panic, reason = "a helper that cannot set up its test fails it")]

mod bank;
mod calls;
mod deployed;
mod guests;
mod kit;
mod marks;
mod upstream;

pub use bank::Bank;
pub use calls::{BANK, PROBE, Setup, TENANT, effect, obligation, probe_description};
pub use deployed::{Components, probe_version};
pub use guests::{component, marked};
pub use kit::{connectors_folder, holds, subject};
pub use marks::{CountingMark, RefusingMark};
pub use upstream::{Crowded, Upstream, nobody_listens};
