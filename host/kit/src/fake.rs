//! The fake upstream: a real TCP server that answers as its routes say, keeps books, and breaks on demand.
//!
//! Every connection carries one request, so that what is cut or reset is that request and no other.

mod books;
mod fault;
mod route;
mod server;
pub(crate) mod wire;

pub use fault::Fault;
pub use route::{Reply, Route};
pub use server::Fake;
pub use wire::Received;
