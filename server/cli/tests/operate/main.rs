//! Operating `tape-server`: the real binary, as an operator meets it.

#![allow(clippy::unwrap_used, reason = "a test fails by it, also in its helpers")]

mod code_cache;
mod collector;
mod commands;
mod credentials;
mod crowd;
mod every_rpc;
mod limits;
mod metrics;
mod migrate;
mod otlp;
mod peers;
mod postgres;
mod reload;
mod server;
mod sqlite;
mod stop;
mod tenants;
mod wire;
