//! A refusal as a gRPC status: the sentence for people, [`ErrorDetail`] in a trailer for machines, and the same in gRPC's
//! own details for clients that never heard of ours.

use std::collections::HashMap;

use prost::Message;
use tape_core::{Refusal, refusal};
use tape_port::{TapeError, WorkerError};
use tape_proto::ERROR_DETAIL_TRAILER;
use tape_proto::v1::ErrorDetail;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::convert::signed;

/// Whose codes they are, as `google.rpc.ErrorInfo` asks.
const DOMAIN: &str = "tape.dev";

/// Largest sentence of a status, in bytes. Trailers repeat it, percent-encoded and in base64, and 16 KiB are all that many
/// clients take.
const TEXT_BYTES_MAX: usize = 1_500;

/// Refusals after which the very same request can succeed without anybody changing anything: a lease that runs out, a
/// business key that changed hands.
const PASSING: [&str; 2] = ["TAPE-R005", "TAPE-E009"];

/// A failed operation, as its caller is told.
pub(crate) fn of(error: TapeError) -> Status {
    let text = error.to_string();
    match error {
        TapeError::Refused(refusal) => refused(&refusal, text),
        // The engine is here: it never answers for a server elsewhere.
        TapeError::RefusedThere { message, .. } => Status::new(Code::Internal, message),
        TapeError::Unavailable(_) => {
            let detail = ErrorDetail {
                code: error.code().to_owned(),
                retryable: true,
                cure: "Repeat the very same request; `tape doctor` tells what is wrong.".to_owned(),
                ..ErrorDetail::default()
            };
            with_detail(Code::Unavailable, text, &detail)
        }
        TapeError::Corrupt(_) => {
            let detail = ErrorDetail {
                code: error.code().to_owned(),
                cure: "Stop the server and keep the store as it is; `tape doctor` tells more.".to_owned(),
                ..ErrorDetail::default()
            };
            with_detail(Code::Internal, text, &detail)
        }
    }
}

/// An RPC that this server does not serve.
pub(crate) fn unserved(what: &str) -> Status {
    let cure = "Use a server that serves it; `tape explain TAPE-A003` tells which parts of the contract this one has.";
    let detail = ErrorDetail {
        code: "TAPE-A003".to_owned(),
        cure: cure.to_owned(),
        ..ErrorDetail::default()
    };
    let text = format!("TAPE-A003: this server does not serve {what}. {cure}");
    with_detail(Code::Unimplemented, text, &detail)
}

/// Why a worker did not answer.
pub(crate) fn worker(error: &WorkerError) -> Status {
    let (status, code, retryable, cure) = match error {
        WorkerError::NoWorker { .. } => (Code::Unavailable, "TAPE-W001", true, "Start the agent, and ask again."),
        WorkerError::Refused { .. } => (Code::FailedPrecondition, "TAPE-W003", false, "Ask something else."),
        WorkerError::Lost { .. } => (
            Code::DeadlineExceeded,
            "TAPE-W002",
            false,
            "It may have done what it was asked: find out before you ask again.",
        ),
    };
    let detail = ErrorDetail {
        code: code.to_owned(),
        retryable,
        cure: cure.to_owned(),
        ..ErrorDetail::default()
    };
    with_detail(status, format!("{code}: {error}. {cure}"), &detail)
}

/// The end of a worker's stream, or of a feed.
pub(crate) fn ended(code: Code, retryable: bool, message: &str, cure: &str) -> Status {
    let detail = ErrorDetail {
        code: "TAPE-A004".to_owned(),
        retryable,
        cure: cure.to_owned(),
        ..ErrorDetail::default()
    };
    with_detail(code, format!("TAPE-A004: {message} {cure}"), &detail)
}

/// A connection more than the server takes.
pub(crate) fn crowded(connections_max: usize) -> Status {
    let cure = "Close connections that are not needed (one carries many calls), try again, or raise --max-connections.";
    let detail = ErrorDetail {
        code: "TAPE-A008".to_owned(),
        retryable: true,
        cure: cure.to_owned(),
        ..ErrorDetail::default()
    };
    let text = format!("TAPE-A008: this server has the {connections_max} connections that it takes. {cure}");
    with_detail(Code::ResourceExhausted, text, &detail)
}

/// A caller that may not call. Nothing of its credentials is told.
pub(crate) fn denied(grpc: Code, code: &str, problem: &str, cure: &str) -> Status {
    let detail = ErrorDetail {
        code: code.to_owned(),
        cure: cure.to_owned(),
        ..ErrorDetail::default()
    };
    with_detail(grpc, format!("{code}: {problem} {cure}"), &detail)
}

fn refused(refusal: &Refusal, text: String) -> Status {
    let (code, passing) = match refusal.status {
        refusal::Status::InvalidArgument => (Code::InvalidArgument, false),
        refusal::Status::NotFound => (Code::NotFound, false),
        refusal::Status::AlreadyExists => (Code::AlreadyExists, false),
        refusal::Status::FailedPrecondition => (Code::FailedPrecondition, false),
        refusal::Status::DataLoss => (Code::DataLoss, false),
        refusal::Status::Aborted => (Code::Aborted, PASSING.contains(&refusal.code)),
        refusal::Status::PermissionDenied => (Code::PermissionDenied, false),
        refusal::Status::ResourceExhausted => (Code::ResourceExhausted, true),
        refusal::Status::Unavailable => (Code::Unavailable, true),
    };
    let detail = ErrorDetail {
        code: refusal.code.to_owned(),
        retryable: passing,
        field: refusal.field.unwrap_or_default().to_owned(),
        value: refusal.value.clone().unwrap_or_default(),
        cure: refusal.cure.clone(),
        owner: refusal.owner.clone().unwrap_or_default(),
        fence: refusal.fence.map_or(0, signed),
        version: refusal.version.map_or(0, signed),
    };
    with_detail(code, text, &detail)
}

fn with_detail(code: Code, mut text: String, detail: &ErrorDetail) -> Status {
    // It goes among the trailers, and clients hang up on those that are larger than they take.
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    let mut metadata = MetadataMap::new();
    let value = MetadataValue::from_bytes(&detail.encode_to_vec());
    metadata.insert_bin(ERROR_DETAIL_TRAILER, value);
    Status::with_error_details_and_metadata(code, text, standard(detail), metadata)
}

/// What is told, as `google.rpc.ErrorInfo`: the code, whether a repetition can help, and of the rest what there is.
fn standard(detail: &ErrorDetail) -> ErrorDetails {
    let number = |number: i64| if number == 0 { String::new() } else { number.to_string() };
    let told = [
        ("field", detail.field.clone()),
        ("value", detail.value.clone()),
        ("cure", detail.cure.clone()),
        ("owner", detail.owner.clone()),
        ("fence", number(detail.fence)),
        ("version", number(detail.version)),
    ];
    let mut metadata: HashMap<_, _> = told
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    metadata.insert("retryable".to_owned(), detail.retryable.to_string());
    ErrorDetails::with_error_info(&detail.code, DOMAIN, metadata)
}
