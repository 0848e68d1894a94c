//! Contract 2 on the server's side: the gRPC services over the engine.
//!
//! ```text
//! request ─▶ origin (driver, request id, trace) ─▶ convert ─▶ engine ─▶ convert ─▶ answer
//!                                                              │
//!                                             refusal ─▶ status + ErrorDetail
//! ```
//!
//! Nothing is decided here. What a request says is checked by the command that it becomes, so that every way in refuses
//! the same things in the same words; only what exists on the wire alone (enum numbers, headers, doubles) is checked here.

mod auth;
mod convert;
mod crowd;
mod feed;
mod foreign;
mod hub;
mod observe;
mod origin;
mod remote;
mod services;
mod status;
mod tenancy;

pub use auth::{AuthLayer, Grant, Role, TakenBack, TokenBook, Tokens, Verified, Verify, bearer};
pub use crowd::{Admission, CrowdLayer};
pub use foreign::ForeignLayer;
pub use hub::{HubConfig, WorkerHub, WorkerInfo};
pub use observe::ObserveLayer;
pub use services::{RUN_STATUSES, ServerInfo, Services};
pub use tenancy::{Tenancy, TenancyMode};
