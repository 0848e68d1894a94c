//! Domain <-> wire, once, here. Nothing is decided.

pub(crate) mod budget;
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

use tape_core::command::begin_run::LEASE_MS_MAX;
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

/// A limit; 0 = the default, never more than `most`.
pub(crate) fn limit(field: &'static str, asked: i64, default: u32, most: u32) -> Result<u32, Refusal> {
    Ok(match not_negative(field, asked, "the default")? {
        0 => default,
        asked => u32::try_from(asked).map_or(most, |asked| asked.min(most)),
    })
}

/// For how long a row is claimed, in milliseconds; 0 = the default.
pub(crate) fn claim_ms(field: &'static str, asked: i64) -> Result<i64, Refusal> {
    if (0..=LEASE_MS_MAX).contains(&asked) {
        return Ok(asked);
    }
    Err(Refusal::invalid(
        field,
        &asked.to_string(),
        format!("{field} {asked} is not between 0 and {LEASE_MS_MAX}."),
        "Use 0 for the default of a minute.",
    ))
}

/// A number of which 0 stands for `zero`, and below which there is nothing.
pub(crate) fn not_negative(field: &'static str, number: i64, zero: &str) -> Result<i64, Refusal> {
    if number >= 0 {
        return Ok(number);
    }
    Err(Refusal::invalid(
        field,
        &number.to_string(),
        format!("{field} is negative."),
        format!("Use 0 for {zero}."),
    ))
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
