//! For authors of connectors in Rust.
//!
//! A connector is a type that implements [`Connector`] and is exported once:
//!
//! ```text
//! struct Bank;
//! impl tape_guest::Connector for Bank { /* describe, dispatch, observe ... */ }
//! tape_guest::export!(Bank);
//! ```
//!
//! Keep what is decided apart from what is sent: functions from an [`Effect`] to a [`Request`] and from a response to an answer
//! are tested natively, the few lines between them run only in the sandbox.

mod input;
mod reading;
mod request;
pub mod testing;

/// The bindings of the contract. Re-exported below under plain names; public only because the export macro needs it.
pub mod bindings {
    #![allow(
        missing_docs,
        clippy::all,
        clippy::panic,
        clippy::allow_attributes_without_reason,
        reason = "generated code; the WIT documents it"
    )]
    wit_bindgen::generate!({
        path: "../../wit/tape-connector@1.0.0",
        world: "guest",
        pub_export_macro: true,
        export_macro_name: "export_guest",
        default_bindings_module: "tape_guest::bindings",
    });
}

pub use bindings::export_guest as export;
pub use bindings::exports::tape::connector::connector::{
    CompensateAnswer, DispatchAnswer, Doubt, Effect, Failure, FailureKind, Guest as Connector, Obligation,
    ObserveAnswer, Receipt, StatusAnswer,
};
pub use bindings::tape::connector::http::{Error as HttpError, Response};
pub use bindings::tape::connector::{clock, log, random};
pub use input::{config, invalid, payload};
pub use reading::{NoReceipt, Reading, doubt, failure, json, read_lookup, read_query, read_request};
pub use request::{Request, segment};
