//! Journal entries.

use serde::Serialize;
use tape_proto::v1 as pb;

/// One change to a run.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// 1, 2, 3 ... within the run.
    pub seq: i64,
    /// When.
    pub ts_ms: i64,
    /// `noun.verb`.
    pub kind: String,
    /// `/tape/<noun>/<verb>/<run>[/<part>]`.
    pub subject: String,
    /// The decision to which it belongs.
    pub decision_index: Option<i64>,
    /// Details.
    pub payload_json: String,
    /// The trace under which it was written; empty = none.
    pub trace_id: String,
}

impl From<pb::JournalEntry> for Entry {
    fn from(entry: pb::JournalEntry) -> Self {
        Self {
            seq: entry.seq,
            ts_ms: entry.ts_ms,
            kind: entry.kind,
            subject: entry.subject,
            decision_index: (entry.decision_index >= 0).then_some(entry.decision_index),
            payload_json: entry.payload_json,
            trace_id: entry.trace_id,
        }
    }
}
