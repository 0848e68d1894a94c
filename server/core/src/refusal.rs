//! Why a command was refused: which status it has on the wire, its stable code, and what the caller does next.

use std::fmt;

/// The class of a refusal. It maps one to one onto a gRPC status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The request is wrong: mend it.
    InvalidArgument,
    /// There is no such thing.
    NotFound,
    /// The key is taken by other content.
    AlreadyExists,
    /// The state forbids it.
    FailedPrecondition,
    /// Somebody newer owns the row: stop, or load again.
    Aborted,
    /// What was asked for is gone: go on from what is there.
    DataLoss,
    /// Not granted to this run or caller.
    PermissionDenied,
    /// The server's own limits.
    ResourceExhausted,
    /// The store does not answer: repeat the very same request.
    Unavailable,
}

/// A refusal: nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Class.
    pub status: Status,
    /// Stable code, `TAPE-xNNN`: `x` is the room (R run, D decision, E effect, O obligation, G gate, T timer, B budget,
    /// J journal, S session, K value by key, Q reaction and its queue of tasks, V validation, A availability).
    pub code: &'static str,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to do about it, in one sentence.
    pub cure: String,
    /// The field that is wrong, if it is one.
    pub field: Option<&'static str>,
    /// The value of that field, shortened for display.
    pub value: Option<String>,
    /// Who holds the row, where somebody does.
    pub owner: Option<String>,
    /// The fence in force, where a fence was lost.
    pub fence: Option<u64>,
    /// The version in force, or from which to go on.
    pub version: Option<u64>,
}

impl Refusal {
    /// A refusal with its sentence and its cure.
    #[must_use]
    pub fn new(status: Status, code: &'static str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            cure: cure.into(),
            field: None,
            value: None,
            owner: None,
            fence: None,
            version: None,
        }
    }

    /// A field of the request is wrong.
    #[must_use]
    pub fn invalid(field: &'static str, value: &str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            field: Some(field),
            value: Some(shorten(value)),
            ..Self::new(Status::InvalidArgument, "TAPE-V001", message, cure)
        }
    }

    /// The same with another code.
    #[must_use]
    pub fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    /// The same with the field and value that are wrong.
    #[must_use]
    pub fn at(self, field: &'static str, value: &str) -> Self {
        Self {
            field: Some(field),
            value: Some(shorten(value)),
            ..self
        }
    }

    /// The same with the current holder.
    #[must_use]
    pub fn held_by(self, owner: &str, fence: u64) -> Self {
        Self {
            owner: Some(owner.to_owned()),
            fence: Some(fence),
            ..self
        }
    }

    /// The same with the version in force, or from which to go on.
    #[must_use]
    pub fn version(self, version: u64) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }
}

/// At most 80 characters of a value, so that an error never carries a payload.
pub(crate) fn shorten(value: &str) -> String {
    const SHOWN_MAX: usize = 80;
    match value.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}… ({} bytes)", &value[..at], value.len()),
        None => value.to_owned(),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if let (Some(field), Some(value)) = (self.field, &self.value) {
            write!(f, " ({field} = {value:?})")?;
        }
        if self.cure.is_empty() {
            Ok(())
        } else {
            write!(f, " {}", self.cure)
        }
    }
}

impl std::error::Error for Refusal {}
