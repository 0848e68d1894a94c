//! Operating `tape-server`: the real binary, as an operator meets it.

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
