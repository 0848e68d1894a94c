//! What comes in as text is checked here: JSON that must be JSON, names that must be names, sizes.

use serde::de::IgnoredAny;

use crate::refusal::{Refusal, Status};

/// Largest single payload, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest key or name, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// Checks a payload that must be JSON. Empty stands for "none".
///
/// # Errors
/// INVALID_ARGUMENT naming the field if it is too large, or not JSON.
pub fn check_payload(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Ok(());
    }
    if text.len() > PAYLOAD_BYTES_MAX {
        return Err(Refusal::invalid(
            field,
            text,
            format!("{field} has {} bytes; at most {PAYLOAD_BYTES_MAX} fit.", text.len()),
            "Keep the large part elsewhere and send a reference to it.",
        )
        .coded("TAPE-V003"));
    }
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => Ok(()),
        Err(error) => Err(Refusal::invalid(
            field,
            text,
            format!("{field} is not JSON: {error}."),
            "Send a JSON value as text, for example {\"amount\":\"10.00\"} or \"text in quotes\".",
        )
        .coded("TAPE-V002")),
    }
}

/// Checks a name or key that must be there.
///
/// # Errors
/// INVALID_ARGUMENT naming the field if it is empty, too long, or holds control characters.
pub fn check_name(field: &'static str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::invalid(
            field,
            name,
            format!("{field} is missing."),
            format!("Set {field}."),
        ));
    }
    check_optional_name(field, name)
}

/// Checks a name or key that may be empty.
///
/// # Errors
/// As [`check_name`].
pub fn check_optional_name(field: &'static str, name: &str) -> Result<(), Refusal> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Refusal::invalid(
            field,
            name,
            format!("{field} has {} bytes; at most {NAME_BYTES_MAX} fit.", name.len()),
            "Use a shorter one, for example a hash of it.",
        )
        .coded("TAPE-V003"));
    }
    if name.chars().any(char::is_control) {
        return Err(Refusal::invalid(
            field,
            &name.escape_debug().to_string(),
            format!("{field} contains a control character."),
            "Use printable characters only.",
        ));
    }
    Ok(())
}

/// A refusal for something that is not there.
#[must_use]
pub fn not_found(code: &'static str, what: &str, name: &str) -> Refusal {
    Refusal::new(
        Status::NotFound,
        code,
        format!("There is no {what} {name:?}."),
        "Check the id; `tape status --all` lists the runs, `tape doctor --dump-run` what is in one.",
    )
}
