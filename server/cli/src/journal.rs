//! What a journal entry says, beyond its kind.

use serde_json::Value;
use tape_client::Entry;

/// The idempotency key of the effect that an entry is about, if it is about one.
pub fn effect_key(entry: &Entry) -> Option<&str> {
    let verb = entry.kind.strip_prefix("effect.")?;
    let path = entry.subject.strip_prefix("/tape/effect/")?;
    path.strip_prefix(verb)?.strip_prefix('/')
}

/// An entry's details; null without any.
pub fn payload(entry: &Entry) -> Value {
    serde_json::from_str(&entry.payload_json).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, subject: &str) -> Entry {
        Entry {
            seq: 1,
            ts_ms: 0,
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            decision_index: None,
            payload_json: String::new(),
            trace_id: String::new(),
        }
    }

    #[test]
    fn an_entry_about_an_effect_names_its_key() {
        let begun = entry("effect.begun", "/tape/effect/begun/r-1/d-2/wire_money/0");
        assert_eq!(effect_key(&begun), Some("r-1/d-2/wire_money/0"));
        assert_eq!(effect_key(&entry("run.begun", "/tape/run/begun/r-1")), None);
        assert_eq!(payload(&begun), Value::Null);
    }
}
