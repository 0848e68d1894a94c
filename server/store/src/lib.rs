//! What the engine asks of a store: one trait, and the encoding of what is stored.
//!
//! A store keeps rows of bytes, grouped into entities that have a version, and the journal of each run. It knows nothing
//! of what the bytes mean; so a new kind of record is no change to any store.

mod chain;
pub mod codec;
mod decided;
mod error;
pub mod measure;
mod packed;
mod schema;
mod store;

pub use chain::{Chain, Ending, Fate};
pub use decided::{by_status, waits_for};
pub use error::StoreError;
pub use schema::{Schema, Step};
pub use store::{
    Commit, Committing, DueQuery, DueRow, Heard, ListQuery, Listed, Listing, Loaded, Position, QueueQuery, Recorded,
    Store, StoredRow, TailEntry,
};
