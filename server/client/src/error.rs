//! What can go wrong, by what the caller does next.

use std::error::Error;

use prost::Message;
use tape_proto::ERROR_DETAIL_TRAILER;
use tape_proto::v1::ErrorDetail;
use tonic::{Code, Status};

/// A failed operation.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none. Correct it.
    #[error(
        "TAPE-A005: {url:?} is not a URL of a Tape server: {problem}. Write tape://host:port, or tapes://host:port for TLS."
    )]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing listens there. Start a server, or correct the URL.
    #[error(
        "TAPE-A006: nothing listens at {url} ({reason}). Start a server there: `tape dev` beside your agent, or `tape-server`."
    )]
    Unreachable {
        /// Where.
        url: String,
        /// What the connection said.
        reason: String,
    },
    /// The server answered no. [`kind`](ClientError::kind) says what that asks of the caller.
    #[error("{message}")]
    Refused {
        /// Class.
        kind: RefusalKind,
        /// Stable code, `TAPE-xNNN`; empty if the answer did not come from Tape.
        code: String,
        /// For people: code, sentence and cure.
        message: String,
        /// What to do about it.
        cure: String,
        /// Whether the very same request can succeed later without anybody changing anything.
        retryable: bool,
        /// The field of the request that was refused; empty = none in particular.
        field: String,
    },
    /// The server's answer makes no sense: it is another version, or something else listens there.
    #[error(
        "TAPE-A007: the answer to {operation} makes no sense: {problem}. Compare the versions of both sides: `tape doctor`."
    )]
    Strange {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with the answer.
        problem: String,
    },
}

/// The class of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// The request is wrong: mend it.
    InvalidArgument,
    /// There is no such thing.
    NotFound,
    /// The key is taken by other content.
    AlreadyExists,
    /// The state forbids it.
    FailedPrecondition,
    /// Somebody newer owns it.
    Aborted,
    /// Not granted.
    PermissionDenied,
    /// A limit of the server.
    ResourceExhausted,
    /// This server does not serve it.
    Unimplemented,
    /// The store, or the server, does not answer: repeat the very same request.
    Unavailable,
    /// Something else; a person has to look.
    Other,
}

impl ClientError {
    /// The stable code; empty if the server is none of ours.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Url { .. } => "TAPE-A005",
            Self::Unreachable { .. } => "TAPE-A006",
            Self::Strange { .. } => "TAPE-A007",
            Self::Refused { code, .. } => code,
        }
    }

    /// What to do about it, in one sentence.
    #[must_use]
    pub fn cure(&self) -> &str {
        match self {
            Self::Url { .. } => "Write tape://host:port, or tapes://host:port for TLS.",
            Self::Unreachable { .. } => "Start a server there: `tape dev` beside your agent, or `tape-server`.",
            Self::Strange { .. } => "Compare the versions of both sides: `tape doctor`.",
            Self::Refused { cure, .. } => cure,
        }
    }

    /// Whether the very same request can succeed later without anybody changing anything.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { retryable, .. } => *retryable,
            Self::Url { .. } | Self::Strange { .. } => false,
        }
    }

    /// The class of a refusal; none if the server did not answer.
    #[must_use]
    pub fn kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused { kind, .. } => Some(*kind),
            _ => None,
        }
    }

    /// Whether there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == Some(RefusalKind::NotFound)
    }
}

/// The connection broke: nothing was said.
fn broken(status: &Status, why: &(dyn Error + 'static)) -> ClientError {
    let mut cause = why;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let cure = "Repeat the very same request; `tape doctor` tells what is wrong.";
    ClientError::Refused {
        kind: RefusalKind::Unavailable,
        code: "TAPE-A001".to_owned(),
        message: format!(
            "TAPE-A001: the connection to the server broke ({}: {cause}), and whether the request took hold is not known. {cure}",
            status.message()
        ),
        cure: cure.to_owned(),
        retryable: true,
        field: String::new(),
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let told = detail(&status);
        // What comes from a server has no source here.
        if told.is_none()
            && let Some(why) = status.source()
        {
            return broken(&status, why);
        }
        let kind = match status.code() {
            Code::InvalidArgument => RefusalKind::InvalidArgument,
            Code::NotFound => RefusalKind::NotFound,
            Code::AlreadyExists => RefusalKind::AlreadyExists,
            Code::FailedPrecondition => RefusalKind::FailedPrecondition,
            Code::Aborted => RefusalKind::Aborted,
            Code::PermissionDenied | Code::Unauthenticated => RefusalKind::PermissionDenied,
            Code::ResourceExhausted => RefusalKind::ResourceExhausted,
            Code::Unimplemented => RefusalKind::Unimplemented,
            Code::Unavailable => RefusalKind::Unavailable,
            _ => RefusalKind::Other,
        };
        let detail = told.unwrap_or_else(|| ErrorDetail {
            // Somebody between here and the server.
            retryable: kind == RefusalKind::Unavailable,
            ..ErrorDetail::default()
        });
        Self::Refused {
            kind,
            code: detail.code,
            message: status.message().to_owned(),
            cure: detail.cure,
            retryable: detail.retryable,
            field: detail.field,
        }
    }
}

fn detail(status: &Status) -> Option<ErrorDetail> {
    let bytes = status.metadata().get_bin(ERROR_DETAIL_TRAILER)?.to_bytes().ok()?;
    ErrorDetail::decode(bytes).ok()
}
