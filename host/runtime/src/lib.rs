//! Runs connectors: WebAssembly components that reach one upstream each, and nothing else.
//!
//! ```text
//! Host (registry: tenant, name -> versions)
//!   └─ call: permits, deadline, fresh instance ── guest ── imports ── egress: policy, mark, secrets, client ── upstream
//!              └─ evidence + guest's answer ── verdict (tape-connector-port)
//! ```
//!
//! The invariants, each with a test in `tests/connectors`:
//!
//! - What is not granted does not happen; the refusal names the grant.
//! - Nothing that could change an upstream leaves before the caller's mark is durable.
//! - No secret's value enters the guest, a log, an error or the evidence.
//! - A guest that loops, floods, crashes or lies ends with an error that names it; the next call does not notice.
//!
//! This crate knows nothing of runs, stores or gRPC. Only it knows wasmtime.

mod breaker;
mod cache;
mod call;
mod contract;
mod deploy;
mod egress;
mod engine;
mod evidence;
mod gate;
mod host;
mod imports;
mod inspect;
mod kept;
mod lanes;
mod limits;
mod lines;
mod load;
mod output;
mod rate;
mod registry;
mod sandbox;
mod schema;
mod secrets;
mod turns;
mod wasi;

pub use contract::Preview;
pub use deploy::{Source, Wanted};
pub use egress::{BadGrant, Grants, HostGrant, METHODS_DEFAULT, Names, SecretGrant, SystemNames};
pub use host::{Clock, Host, HostConfig, HostError, SystemClock};
pub use inspect::{Inspection, inspect};
pub use limits::Limits;
pub use load::{Deployment, LoadError};
pub use sandbox::Sandbox;
pub use secrets::{FixedSecrets, NoSecrets, Secret, Secrets};
pub use tape_connector_artifact::{PublicKey, Signature, Trust, Untrusted};
