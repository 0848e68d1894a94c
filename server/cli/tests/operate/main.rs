//! Operating `tape-server`: the real binary, as an operator meets it.
#![allow(clippy::unwrap_used, reason = "a step that cannot go on has failed, and says where")]

mod collector;
mod credentials;
mod every_rpc;
mod metrics;
mod otlp;
mod postgres;
mod server;
mod sqlite;
mod stop;
mod tenants;
