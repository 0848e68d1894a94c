//! The domain of Tape: what may happen to a run, and what then has to be written.
//!
//! ```text
//! command + snapshot + now ──decide──▶ reply + changes (rows, journal entries, due work)   or   refusal
//! ```
//!
//! Everything here is pure: no input or output, no clock, no randomness, nothing asynchronous. The engine loads what a
//! command [reads](command::Command::reads), calls [decide](command::Command::decide), and commits what the
//! [draft](draft::Draft) collected under the version that it loaded.

pub mod budget;
pub mod command;
pub mod connector;
pub mod decision;
pub mod draft;
pub mod effect;
pub mod entity;
pub mod gate;
pub mod id;
pub mod journal;
pub mod json;
pub mod lease;
pub mod obligation;
pub mod predicate;
pub mod reaction;
pub mod refusal;
pub mod retry;
pub mod row;
pub mod run;
pub mod session;
pub mod subject;
pub mod task;
pub mod time;
pub mod timer;
pub mod value;

pub use command::{Command, Reads};
pub use draft::{Changes, Context, Draft, Snapshot};
pub use entity::{EntityId, EntityKind};
pub use id::{EffectKey, RunId, RunIdentity};
pub use journal::Entry;
pub use refusal::{Refusal, Status};
pub use row::{Due, DueKind, Row, RowKey};
pub use time::Time;
