//! What a call is given: the deployment's configuration and the effect's payload, as the author's own types.

use serde::de::DeserializeOwned;

use crate::bindings::tape::connector::config as host_config;
use crate::{Failure, FailureKind};

/// The deployment's configuration.
///
/// # Errors
/// A failure of kind `invalid` that names the key which is missing or malformed.
pub fn config<T: DeserializeOwned>() -> Result<T, Failure> {
    serde_json::from_str(&host_config::get())
        .map_err(|error| invalid("bad-config", format!("the configuration: {error}")))
}

/// An effect's or obligation's payload.
///
/// # Errors
/// A failure of kind `invalid` that names the key which is missing or malformed.
pub fn payload<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| invalid("bad-payload", format!("the payload: {error}")))
}

/// A definite failure that no repetition cures.
pub fn invalid(code: &str, message: impl Into<String>) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        code: code.to_owned(),
        message: message.into(),
        retryable: false,
        retry_after_ms: None,
    }
}
