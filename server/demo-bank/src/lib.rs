//! A small bank with the two faults that real upstreams have: it books every wire that it is sent, because it knows no
//! idempotency keys, and it can lose its answer. Its ledger is the truth that demos and tests count.
//!
//! ```text
//! POST /wires {to, amount, currency, reference, memo?}   books it: {id: "w-1", reference, status: "booked"}
//! GET  /wires            the ledger                      GET /wires?reference=R   the wires of that reference
//! POST /wires/{id}/reverse                               409 if it is reversed already
//! POST /control {next_answer: "lose" | "hold", hold_ms}  what happens to the next wire's answer
//! GET  /healthz
//! ```

mod ledger;
mod routes;
mod serve;

pub use ledger::{Wire, WireStatus};
pub use serve::serve;
