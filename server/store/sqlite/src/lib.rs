//! The store on SQLite.
//!
//! One connection writes; commits that wait while it does are written with the next transaction, so that one fsync
//! serves them all. Readers have connections of their own and see the last committed state (WAL).

mod batch;
mod condition;
mod config;
mod driver;
mod error;
mod places;
mod queries;
mod statements;
mod store;
mod writer;
mod written_back;

pub use config::SqliteConfig;
pub use store::SqliteStore;
