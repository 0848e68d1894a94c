//! What can go wrong with an operation, by what the caller does next.

use tape_core::{Refusal, refusal::Status};

/// A failed operation: nothing was changed, or it is not known whether it was.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TapeError {
    /// The operation was refused. The refusal says what to do.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A server in another process refused. Its words say what to do.
    #[error("{message}")]
    RefusedThere {
        /// Class.
        status: Status,
        /// The stable code.
        code: String,
        /// For people: code, sentence and cure.
        message: String,
    },
    /// The server or its store does not answer. Repeating the very same request is safe.
    #[error("TAPE-A001: {0} Repeat the very same request; `tape doctor` tells what is wrong.")]
    Unavailable(String),
    /// The store holds something that cannot be read. A person has to look.
    #[error("TAPE-A002: {0} Stop the server and keep the store as it is; `tape doctor` tells more.")]
    Corrupt(String),
}

impl TapeError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::RefusedThere { code, .. } => code,
            Self::Unavailable(_) => "TAPE-A001",
            Self::Corrupt(_) => "TAPE-A002",
        }
    }

    /// Whether somebody else was faster: there is nothing left to do.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let status = match self {
            Self::Refused(refusal) => refusal.status,
            Self::RefusedThere { status, .. } => *status,
            Self::Unavailable(_) | Self::Corrupt(_) => return false,
        };
        matches!(status, Status::Aborted | Status::FailedPrecondition | Status::NotFound)
    }
}

impl From<Refusal> for TapeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}
