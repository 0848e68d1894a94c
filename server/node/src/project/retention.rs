//! `tape.retention`: after how long runs that have ended lose their payloads, by how they ended.

use std::collections::BTreeMap;
use std::time::Duration;

use super::section::{ProjectError, Section};

/// How runs end, as the file names it, and the number of that status.
const STATUSES: [(&str, u8); 4] = [("terminal", 4), ("failed", 5), ("stuck", 7), ("cancelled", 8)];

/// Ages by the number of the status; one that is not named is kept whole.
pub(super) fn read(tape: &Section<'_>) -> Result<BTreeMap<u8, Duration>, ProjectError> {
    let retention = tape.section("retention", &STATUSES.map(|(name, _)| name))?;
    let mut ages = BTreeMap::new();
    for (name, status) in STATUSES {
        let Some(text) = retention.text(name)? else { continue };
        let age = age(&text).ok_or_else(|| {
            ProjectError::new(
                &retention.path(name),
                &text,
                "is not an age",
                format!("Write a whole number and d, h, m or s, for example {name}: 30d."),
            )
        })?;
        ages.insert(status, age);
    }
    Ok(ages)
}

/// `30d`, `12h`, `45m`, `10s`.
fn age(text: &str) -> Option<Duration> {
    let at = text.len().checked_sub(1).filter(|at| text.is_char_boundary(*at))?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    let number: u64 = number.trim().parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_and_its_unit() {
        assert_eq!(age("30d"), Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(age("12h"), Some(Duration::from_secs(43_200)));
        assert_eq!(age("0s"), Some(Duration::ZERO));
        for bad in ["", "30", "d", "-1d", "1.5h", "3w", "3ä", "99999999999999999999d"] {
            assert_eq!(age(bad), None, "{bad}");
        }
    }
}
