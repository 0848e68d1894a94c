//! The gRPC contract between Tape's server and everybody else, as Rust types. Generated from `proto/tape/v1/*.proto`;
//! this crate adds nothing to it.
//!
//! | file | service | for |
//! |---|---|---|
//! | `tape.proto` | `Tape` | drivers: runs, decisions, effects, gates, budgets, values, sessions, feeds |
//! | `driver.proto` | `Driver` | the same calls of an app process on one stream |
//! | `workers.proto` | `Workers` | app processes that take calls from the server |
//! | `admin.proto` | `Admin` | operators and the command line |
//! | `reactors.proto` | `Reactors` | reactors in processes of their own |
//! | `connectors.proto` | `Connectors` | deploying and calling connectors |
//! | `calls.proto`, `errors.proto` | | what connectors are asked and answer; what a refusal says |
//!
//! The `.proto` files are the contract: their comments say what every field means, and `tests/numbers.rs` keeps the
//! numbers below 100 as existing clients speak them.

/// Package `tape.v1`: every message and enum, and for each service a client and a server module (`tape_client`,
/// `tape_server`, `workers_client` and so on).
pub mod v1 {
    #![allow(
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::semicolon_if_nothing_returned,
        clippy::needless_pass_by_ref_mut,
        clippy::redundant_clone,
        rustdoc::all,
        reason = "generated code follows its generator's habits"
    )]
    tonic::include_proto!("tape.v1");
}

/// The whole contract as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tape.v1.bin"));

/// The metadata key of the binary trailer that holds an encoded [`v1::ErrorDetail`] on every error status.
pub const ERROR_DETAIL_TRAILER: &str = "tape-error-bin";
