//! Domain <-> wire, once, here. Nothing is decided.

pub(crate) mod budget;
pub(crate) mod calls;
pub(crate) mod connector;
pub(crate) mod decision;
pub(crate) mod effect;
pub(crate) mod journal;
pub(crate) mod obligation;
pub(crate) mod reaction;
pub(crate) mod run;
pub(crate) mod session;
pub(crate) mod timer;
pub(crate) mod value;
pub(crate) mod work;

use tape_core::json::check_name;
use tape_core::{EffectKey, Refusal, RunId, Time};

/// A run's id, which must be there.
pub(crate) fn run_id(text: &str) -> Result<RunId, Refusal> {
    check_name("run_id", text)?;
    Ok(RunId(text.to_owned()))
}

/// An effect's key, which must be there.
pub(crate) fn effect_key(field: &'static str, text: &str) -> Result<EffectKey, Refusal> {
    check_name(field, text)?;
    Ok(EffectKey(text.to_owned()))
}

/// A number that the wire cannot hold is its greatest.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The same for small ones.
pub(crate) fn small(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// A moment that may not have come; 0 on the wire.
pub(crate) fn moment(time: Option<Time>) -> i64 {
    time.map_or(0, |time| time.0)
}

/// A limit; 0 or less = the default, never more than `most`.
pub(crate) fn limit(asked: i64, default: u32, most: u32) -> u32 {
    match u32::try_from(asked) {
        Ok(0) | Err(_) if asked <= 0 => default,
        Ok(asked) => asked.min(most),
        Err(_) => most,
    }
}

/// A number that is not one of an enum's, named.
pub(crate) fn unknown_number(field: &'static str, number: i32, known: &str) -> Refusal {
    Refusal::invalid(
        field,
        &number.to_string(),
        format!("{field} {number} is not one of {known}."),
        format!("Use one of {known}."),
    )
}
