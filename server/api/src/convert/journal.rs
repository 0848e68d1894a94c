//! Journal entries.

use tape_core::{Entry, RunId};
use tape_engine::Event;
use tape_proto::v1 as pb;

/// Version of the entries' payloads.
const SCHEMA_VERSION: i32 = 1;

pub(crate) fn entry(run: &RunId, entry: &Entry, position: i64) -> pb::JournalEntry {
    let trace = entry.trace.clone();
    let (trace_id, span_id, parent_span_id) = trace.map_or_else(Default::default, |trace| {
        (trace.trace_id, trace.span_id, trace.parent_span_id)
    });
    pb::JournalEntry {
        seq: entry.seq,
        kind: entry.kind.as_str().to_owned(),
        payload_json: entry.payload_json.clone(),
        ts_ms: entry.at.0,
        global_seq: position,
        subject: entry.subject(run),
        schema_version: SCHEMA_VERSION,
        trace_id,
        span_id,
        parent_span_id,
        decision_index: entry.decision_index.unwrap_or(-1),
    }
}

pub(crate) fn event(event: &Event) -> pb::EventEntry {
    let found = entry(&event.run, &event.entry, event.position);
    pb::EventEntry {
        run_id: event.run.as_str().to_owned(),
        seq: found.seq,
        kind: found.kind,
        payload_json: found.payload_json,
        ts_ms: found.ts_ms,
        global_seq: found.global_seq,
        subject: found.subject,
        schema_version: found.schema_version,
        trace_id: found.trace_id,
        span_id: found.span_id,
        parent_span_id: found.parent_span_id,
    }
}
