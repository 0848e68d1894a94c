//! Load on a real server, and the floors on which its figures stand: the disk, SQLite, gRPC.
//!
//! ```text
//! Server::start ─▶ load::apply(url, work, clients, length) ─▶ Measured      beside floor::fdatasync, floor::sqlite_rows
//! ```

mod client;
pub mod floor;
mod load;
mod samples;
mod server;

pub use client::{Client, PAYLOAD};
pub use load::{Measured, Work, apply, stored_runs};
pub use samples::Samples;
pub use server::{Server, Setup, Usage};
