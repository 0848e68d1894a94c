//! Why an artifact did not travel.

use thiserror::Error;

/// A push or pull that did not come to its end. A pull leaves nothing behind; a push that failed may be repeated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// Correct the reference.
    #[error("{text:?} is no reference to an artifact: {problem}; write oci://HOST[:PORT]/NAME[:TAG][@sha256:DIGEST]")]
    Reference { text: String, problem: String },
    /// Repeat: the registry could not be reached, or went away.
    #[error("{reference}: {problem}; nothing was taken over, try again")]
    Unavailable { reference: String, problem: String },
    /// Repeat, with more time if it is a large one: the registry went silent.
    #[error("{reference}: the registry did not finish within {timeout_ms} ms; nothing was taken over, try again")]
    Timeout { reference: String, timeout_ms: u64 },
    /// Correct the name or the tag.
    #[error("{reference} is not there; check name and tag")]
    NotFound { reference: String },
    /// Log in, or ask whoever runs the registry.
    #[error(
        "{reference}: the registry refuses ({problem}); set TAPE_OCI_USER and TAPE_OCI_PASSWORD, or ask whoever runs it"
    )]
    Unauthorized { reference: String, problem: String },
    /// Stop: what came is not what was asked for.
    #[error("{reference}: {problem}; it was not taken over")]
    Lied { reference: String, problem: String },
    /// Stop: it is larger than a connector may be.
    #[error("{reference}: {what} is larger than {most} bytes; it was not taken over")]
    TooLarge {
        reference: String,
        what: &'static str,
        most: usize,
    },
    /// It is something else than a connector.
    #[error("{reference} is no WebAssembly component: {problem}; push one with `tape connector push`")]
    Layout { reference: String, problem: String },
    /// The client could not be set up.
    #[error("the client for registries cannot start: {0}")]
    Client(String),
}

impl ArtifactError {
    /// The stable code, explained by `tape explain`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Reference { .. } => "TAPE-C061",
            Self::Unavailable { .. } | Self::Timeout { .. } | Self::Client(_) => "TAPE-C062",
            Self::NotFound { .. } | Self::Unauthorized { .. } => "TAPE-C063",
            Self::Lied { .. } | Self::TooLarge { .. } | Self::Layout { .. } => "TAPE-C064",
        }
    }

    /// Whether the same call may go through later without anybody's help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Timeout { .. })
    }
}
