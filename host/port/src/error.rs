//! Why a connector could not be asked at all. In every case here nothing left the sandbox, and nothing was tried: it costs no attempt.

use thiserror::Error;

/// A call that did not take place. What a connector answers, even by crashing, is never an error: see [`crate::Outcome`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// Wait and look again: it may be deployed later. Tell a person if it stays so.
    #[error("no connector `{name}` is deployed{}: deploy it, or correct the name", nearest_text(.nearest.as_deref()))]
    Unknown { name: String, nearest: Option<String> },

    /// Do not repeat. Settle the doubt in another way, or ask a person.
    #[error("connector `{name}` does not support {what}: settle it another way, or deploy a version that does")]
    Unsupported { name: String, what: String },

    /// Repeat after the pause.
    #[error("connector `{name}` is busy ({limit}): try again in {retry_after_ms} ms")]
    Overloaded {
        name: String,
        limit: String,
        retry_after_ms: u64,
    },

    /// Repeat after the pause; the connector failed too often in a row to be asked now.
    #[error(
        "connector `{name}` is resting after {failures} failures in a row: try again in {retry_after_ms} ms; last: {last_error}"
    )]
    CircuitOpen {
        name: String,
        failures: u64,
        retry_after_ms: u64,
        last_error: String,
    },

    /// Stop: somebody newer owns this work. Nothing left.
    #[error("the mark before the first request was refused, so nothing left: {reason}")]
    MarkRefused { reason: String },

    /// Repeat with backoff and tell a person: the host could not run the connector.
    #[error(
        "connector `{name}` could not be started: {message}; look at the host's log, or deploy the version before it"
    )]
    Broke { name: String, message: String },
}

impl ConnectorError {
    /// The stable code, explained by `tape explain`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "TAPE-C001",
            Self::Unsupported { .. } => "TAPE-C002",
            Self::Overloaded { .. } => "TAPE-C003",
            Self::CircuitOpen { .. } => "TAPE-C004",
            Self::MarkRefused { .. } => "TAPE-C005",
            Self::Broke { .. } => "TAPE-C006",
        }
    }

    /// Whether the same call may go through later without anybody's help.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. } | Self::Overloaded { .. } | Self::CircuitOpen { .. } | Self::Broke { .. }
        )
    }

    /// How long to wait before asking again, where the host knows.
    #[must_use]
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Overloaded { retry_after_ms, .. } | Self::CircuitOpen { retry_after_ms, .. } => Some(*retry_after_ms),
            _ => None,
        }
    }
}

fn nearest_text(nearest: Option<&str>) -> String {
    nearest
        .map(|name| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}
