//! The composition root: reads the configuration, chooses the store, wires everything, and takes it down in order.
//!
//! ```text
//! store ─▶ engine ─▶ api (gRPC)          start: upward      stop: no new calls, reactors finish, streams drain,
//!            ▲  └──▶ reactors                                      store closes
//!  host (connectors)   worker hub
//!
//! connectors ─▶ reactors ──gRPC──▶ a server elsewhere       (a process of reactors alone)
//! ```

mod census;
mod clock;
mod config;
mod connectors;
mod door;
mod follow;
mod footprint;
mod http;
mod lanes;
mod node;
pub mod project;
mod reactions;
mod reactors;
mod retention;
mod security;
mod serving;
mod source;
mod store;
pub mod telemetry;

pub use clock::{SystemClock, SystemLuck};
pub use config::{Doors, NodeConfig, ReactorConfig, TlsFiles};
pub use node::{Node, NodeError};
pub use reactors::{ReactorNodeConfig, run_reactors};
pub use security::Credentials;
pub use store::{migrate, schema};
