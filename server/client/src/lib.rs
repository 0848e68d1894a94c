//! Tape over gRPC: the operations of people and tools, from another process.
//!
//! ```text
//! TapeClient ──gRPC──▶ tape-api      operations in; plain, serialisable records out; errors that say what to do
//! ```
//!
//! And [`RemoteTape`]: what reactors in a process of their own ask of a server.
//!
//! No generated type leaves this crate: whoever uses it does not know the wire.

mod client;
mod connector;
mod dump;
mod error;
mod model;
mod reaction;
mod reactor;
mod sample;

pub use client::{ConnectOptions, TapeClient};
pub use error::{ClientError, RefusalKind};
pub use model::connector::{
    By, ConnectorCall, ConnectorCalled, ConnectorChange, ConnectorHealth, ConnectorLine, ConnectorVersion, Granted,
    PutConnector, PutDone, Question, VersionName,
};
pub use model::effect::{Attempt, Compensation, Effect, EffectStatus};
pub use model::entry::Entry;
pub use model::obligation::{Obligation, ObligationStatus};
pub use model::reaction::{Event, EventFilter, Reaction, Task, TaskStatus};
pub use model::request::{Page, RunFilter, SettleEffect, SettleObligation, Signal, StartRun};
pub use model::run::{Run, RunStatus, Started};
pub use model::stats::{ConnectorStats, ReactorStats, RemoteReactorStats, Stats, UnservedEffect, WorkerStats};
pub use reactor::{RemoteConfig, RemoteTape};
pub use sample::{Sample, SampleBegun};
