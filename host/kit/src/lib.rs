//! For authors of connectors: does it keep its promises when the upstream does not?
//!
//! ```text
//! connector folder: connector.toml, component, cases/upstream.yaml, cases/*.yaml
//!   └─ Subject ─ Kit (one host) ─┬─ facts: what every connector must hold, over the upstream that upstream.yaml models
//!                                └─ cases: what this one must hold, request by request
//!                                     └─ Fake: a real TCP server that delays, cuts, resets and forgets on demand
//! ```
//!
//! The component runs in the same host as in production, with the same grants and limits; what is judged is the host's verdict, not the
//! guest's claim. Nothing is simulated but the upstream.

mod case;
mod facts;
mod fake;
mod kit;
mod manifest;
mod problem;
mod record;
mod report;
mod secrets;
mod setup;
mod shape;
mod subject;
mod told;
mod world;

pub use case::{Call, Case, Step};
pub use fake::{Fake, Fault, Received, Reply, Route};
pub use kit::{Kit, Real, describe};
pub use manifest::{Build, Manifest, ManifestAsks, ManifestHost, ManifestSecret};
pub use problem::Problem;
pub use record::{Recorder, Recording};
pub use report::{Finding, Line, Report};
pub use setup::{EffectSpec, ObligationSpec, Setup};
pub use subject::Subject;
pub use told::Told;
pub use world::{Grant, World};
