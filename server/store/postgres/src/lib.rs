//! The store on Postgres, and on AlloyDB, which speaks the same.
//!
//! Commits that wait while one is being written are written with the next transaction: one set-based statement, one round
//! trip and one flush, whatever the batch's size; two batches are under way at most. Several servers may use one database: the row locks of a batch
//! are taken in one order, so that batches wait for each other and never in a circle.

mod batch;
mod bell;
mod config;
mod driver;
mod error;
mod lanes;
mod queries;
mod store;
mod writer;

pub use config::PostgresConfig;
pub use store::PostgresStore;
