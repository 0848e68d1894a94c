//! What the engine counts: journal entries by kind, and commits that were decided anew.

use std::sync::LazyLock;

use opentelemetry::metrics::Counter;
use opentelemetry::{KeyValue, global};
use tape_core::Changes;

struct Counts {
    entries: Counter<u64>,
    conflicts: Counter<u64>,
}

static COUNTS: LazyLock<Counts> = LazyLock::new(|| {
    let meter = global::meter("tape");
    Counts {
        entries: meter
            .u64_counter("tape.journal.entries")
            .with_description(
                "Journal entries that this server wrote, by kind: effects confirmed, runs ended, and so on",
            )
            .build(),
        conflicts: meter
            .u64_counter("tape.commit.conflicts")
            .with_description("Commits that were decided anew because another server had moved their entity on")
            .build(),
    }
});

/// The entries of a change that is durable.
pub(crate) fn committed(changes: &Changes) {
    for entry in &changes.entries {
        COUNTS.entries.add(1, &[KeyValue::new("kind", entry.kind.as_str())]);
    }
}

/// A commit that came too late.
pub(crate) fn conflict() {
    COUNTS.conflicts.add(1, &[]);
}
