//! The ports of the reactors: the server they work for, and the workers they wake.
//!
//! A reactor speaks to traits with domain types. `tape-engine` implements [`Tape`] in the process, `tape-client`
//! over gRPC; so the same reactor runs inside `tape dev` and as a process beside many servers.

mod clock;
mod deployments;
mod error;
mod reports;
mod tape;
mod task;
mod workers;

pub use clock::{Clock, Luck};
pub use deployments::{ConnectorHost, Deployments};
pub use error::TapeError;
pub use reports::{ReactorReport, Reports};
pub use tape::{ClaimCompensation, DueItem, DueWork, Served, Tape};
pub use task::{CheckTask, CompensationTask, DispatchTask, RecoveryTask, TimerTask};
pub use workers::{Living, LivingConnectors, Told, WorkerError, Workers};
