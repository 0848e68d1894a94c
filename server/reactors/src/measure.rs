//! What the reactors measure: passes, rows that could not be handled, claims that somebody else had, dispatches.

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};
use tape_core::DueKind;
use tape_core::command::dispatch::Outcome;

struct Instruments {
    passes: Counter<u64>,
    errors: Counter<u64>,
    conflicts: Counter<u64>,
    dispatches: Histogram<f64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter("tape");
    Instruments {
        passes: meter
            .u64_counter("tape.reactor.passes")
            .with_description("Times that a reactor looked for work")
            .build(),
        errors: meter
            .u64_counter("tape.reactor.errors")
            .with_description("Passes and rows that failed; a row is tried again after a rest")
            .build(),
        conflicts: meter
            .u64_counter("tape.claim.conflicts")
            .with_description("Claims that somebody else had already")
            .build(),
        dispatches: meter
            .f64_histogram("tape.dispatch.duration")
            .with_unit("s")
            .with_description("Time from the claim of an effect to its connector's outcome")
            .with_boundaries(
                [
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
                ]
                .to_vec(),
            )
            .build(),
    }
});

fn of(kind: DueKind) -> [KeyValue; 1] {
    [KeyValue::new("reactor", kind.reactor())]
}

/// A pass that looked for work.
pub(crate) fn passed(kind: DueKind) {
    INSTRUMENTS.passes.add(1, &of(kind));
}

/// A pass or a row that failed.
pub(crate) fn failed(kind: DueKind) {
    INSTRUMENTS.errors.add(1, &of(kind));
}

/// A claim that somebody else had.
pub(crate) fn conflict(kind: DueKind) {
    INSTRUMENTS.conflicts.add(1, &of(kind));
}

/// A dispatch that ended. `outcome` is none if the claim was lost before anything left.
pub(crate) fn dispatched(connector: &str, outcome: Option<&Outcome>, took: Duration) {
    let outcome = match outcome {
        Some(Outcome::Confirmed { .. }) => "confirmed",
        Some(Outcome::Failed { .. }) => "failed",
        Some(Outcome::NothingSent { .. }) => "nothing_sent",
        Some(Outcome::Nobody { .. }) => "nobody",
        Some(Outcome::Unknown { .. }) => "unknown",
        None => "claim_lost",
    };
    let labels = [
        KeyValue::new("connector", connector.to_owned()),
        KeyValue::new("outcome", outcome),
    ];
    INSTRUMENTS.dispatches.record(took.as_secs_f64(), &labels);
}
