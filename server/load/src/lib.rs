//! Load on a real server, and the floors on which its figures stand: the disk, SQLite, gRPC.
//!
//! ```text
//! Server::start ─▶ load::apply(url, work, clients, length) ─▶ Measured      beside floor::fdatasync, floor::sqlite_rows
//! ```

mod client;
pub mod floor;
mod load;
mod payload;
mod samples;
mod server;
mod stream;

pub use client::{Client, Way};
pub use load::{Measured, Work, apply, apply_by, stored_runs};
pub use payload::{PAYLOAD_BYTES, payload};
pub use samples::Samples;
pub use server::{Server, Setup, Usage};
