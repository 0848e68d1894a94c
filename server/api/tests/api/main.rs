//! The contract over a real connection: a server in this process on a loopback port, over a store in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod admin;
mod client;
mod connectors;
mod drive;
mod driver;
mod events;
mod feed;
mod gates;
mod living;
mod outbox;
mod outside;
mod reactions;
mod reactors;
mod reflection;
mod refusals;
mod requests;
mod retention;
mod sessions;
mod support;
mod values;
mod workers;
