//! What a store's writer measures: how much it writes at once, and how long that takes.

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::metrics::Histogram;
use opentelemetry::{KeyValue, global};

struct Batches {
    size: Histogram<u64>,
    duration: Histogram<f64>,
}

static BATCHES: LazyLock<Batches> = LazyLock::new(|| {
    let meter = global::meter("tape");
    Batches {
        size: meter
            .u64_histogram("tape.commit.batch.size")
            .with_unit("{commit}")
            .with_description("Commits that were written by one transaction")
            .with_boundaries([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0].to_vec())
            .build(),
        duration: meter
            .f64_histogram("tape.commit.batch.duration")
            .with_unit("s")
            .with_description("Time to write one batch of commits, its flush to disk included")
            .with_boundaries(
                [
                    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ]
                .to_vec(),
            )
            .build(),
    }
});

/// Counts one batch of `commits` that the store named `store` wrote, or failed to, in `took`.
pub fn batch(store: &'static str, commits: usize, took: Duration, written: bool) {
    let labels = [
        KeyValue::new("store", store),
        KeyValue::new("outcome", if written { "written" } else { "failed" }),
    ];
    BATCHES.size.record(commits as u64, &labels);
    BATCHES.duration.record(took.as_secs_f64(), &labels);
}
