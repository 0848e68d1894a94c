//! The decoders that can be asked without a server.

use tape_core::predicate::{Predicate, Seen};
use tape_core::subject::SubjectPattern;
use tape_store::codec;

/// A stored row: what can be read is written and read again as the same.
pub fn row(bytes: &[u8]) {
    if let Ok(row) = codec::decode_row(bytes) {
        let again = codec::encode_row(&row).expect("what was read can be written");
        assert_eq!(codec::decode_row(&again).expect("what was written can be read"), row);
    }
}

/// A stored journal entry: likewise.
pub fn entry(bytes: &[u8]) {
    if let Ok(entry) = codec::decode_entry(bytes) {
        let again = codec::encode_entry(&entry).expect("what was read can be written");
        assert_eq!(
            codec::decode_entry(&again).expect("what was written can be read"),
            entry
        );
    }
}

/// A row's key, its kind's number first: one key has one form.
pub fn key(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    if let Ok(key) = codec::decode_key(*kind, bytes) {
        assert_eq!(
            codec::encode_key(&key),
            (*kind, bytes.to_vec()),
            "{key:?} has two forms"
        );
    }
}

/// A subject pattern, and behind a line feed a subject: a pattern takes itself if it has no stars.
pub fn subject(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, subject) = text.split_once('\n').unwrap_or((&text, "/tape/run/begun/r-1"));
    match SubjectPattern::parse(pattern) {
        Ok(parsed) => {
            std::hint::black_box(parsed.matches(subject));
            assert!(
                pattern.contains('*') || parsed.matches(pattern),
                "{pattern:?} takes itself"
            );
        }
        Err(refusal) => assert_eq!((refusal.code, refusal.field), ("TAPE-J001", Some("subject_pattern"))),
    }
}

/// A predicate, and behind a line feed the payload of an event that it is asked about.
pub fn predicate(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (expression, payload) = text.split_once('\n').unwrap_or((&text, "{\"a\":[1,null]}"));
    let seen = Seen {
        kind: "effect.failed",
        subject: "/tape/effect/failed/r-1/d-0/wire_money/0",
        run_id: "r-1",
        seq: i64::MAX,
        ts_ms: i64::MIN,
        decision_index: None,
        app: "treasury",
        tenant: "",
        payload_json: payload,
    };
    match Predicate::parse(expression) {
        // An answer or none: both are fine.
        Ok(predicate) => drop(predicate.wants(&seen)),
        Err(refusal) => assert_eq!((refusal.code, refusal.field), ("TAPE-J002", Some("predicate_cel"))),
    }
}
