//! What is counted in the store rather than when it happens: runs by status, work that waits, effects in doubt.
//!
//! Counting costs a walk through an index, however many scrapers there are: it is done now and then, and the more seldom
//! the longer it takes.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use opentelemetry::metrics::Gauge;
use opentelemetry::{KeyValue, global};
use tape_api::{RUN_STATUSES, WorkerHub};
use tape_core::{DueKind, Time};
use tape_engine::Engine;
use tape_port::TapeError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Counting takes no more than one part in so many of one connection's time.
const SHARE: u32 = 50;
/// However long it takes, it is done this often.
const PAUSE_MAX: Duration = Duration::from_secs(600);

struct Gauges {
    runs: Gauge<u64>,
    effects: Gauge<u64>,
    obligations: Gauge<u64>,
    due: Gauge<u64>,
    lag: Gauge<f64>,
    workers: Gauge<u64>,
    concern: Gauge<u64>,
}

static GAUGES: LazyLock<Gauges> = LazyLock::new(|| {
    let meter = global::meter("tape");
    let gauge = |name: &'static str, text: &'static str| meter.u64_gauge(name).with_description(text).build();
    Gauges {
        runs: gauge("tape.runs", "Stored runs by status"),
        effects: gauge(
            "tape.effects",
            "Effects without a final outcome: pending (to be dispatched), unknown (in doubt), stuck (a person must settle them)",
        ),
        obligations: gauge(
            "tape.obligations.unresolved",
            "Obligations, and runs being compensated, that are not undone yet: pending, or stuck",
        ),
        due: gauge("tape.reactor.due", "Rows that are due for a reactor now"),
        lag: meter
            .f64_gauge("tape.reactor.lag")
            .with_unit("s")
            .with_description("For how long the oldest row that is due for a reactor has been due")
            .build(),
        workers: gauge("tape.workers", "Workers attached to this server"),
        concern: gauge(
            "tape.store.concern",
            "1 while the store answers and a person has to see to it all the same; /readyz says to what",
        ),
    }
});

/// Counts every `interval` until `stop`.
pub(crate) async fn run(engine: Arc<Engine>, hub: Arc<WorkerHub>, interval: Duration, stop: CancellationToken) {
    loop {
        let began = Instant::now();
        GAUGES.workers.record(hub.workers().len() as u64, &[]);
        GAUGES.concern.record(engine.concern().is_some().into(), &[]);
        let counted = tokio::select! {
            counted = count(&engine) => counted,
            () = stop.cancelled() => return,
        };
        if let Err(error) = counted {
            tracing::debug!(%error, "the store was not counted");
        }
        let pause = (began.elapsed() * SHARE).clamp(interval, PAUSE_MAX.max(interval));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn count(engine: &Engine) -> Result<(), TapeError> {
    let found = engine.count_runs().await?;
    for (number, name) in (1_u8..).zip(RUN_STATUSES) {
        let count = found.iter().find(|(status, _)| *status == number);
        let status = KeyValue::new("status", name);
        GAUGES.runs.record(count.map_or(0, |(_, count)| *count), &[status]);
    }
    for kind in DueKind::ALL {
        let reactor = [KeyValue::new("reactor", kind.reactor())];
        let (due, oldest) = engine.count_due(kind).await?;
        let late_ms = oldest.map_or(0, |at| engine.now().since(at).max(0));
        GAUGES.due.record(due, &reactor);
        GAUGES
            .lag
            .record(Duration::from_millis(late_ms.unsigned_abs()).as_secs_f64(), &reactor);
    }
    let (pending, _) = waiting(engine, DueKind::Outbox).await?;
    let (unknown, stuck) = waiting(engine, DueKind::Reconcile).await?;
    for (status, count) in [("pending", pending), ("unknown", unknown), ("stuck", stuck)] {
        GAUGES.effects.record(count, &[KeyValue::new("status", status)]);
    }
    let (pending, stuck) = waiting(engine, DueKind::Compensation).await?;
    for (status, count) in [("pending", pending), ("stuck", stuck)] {
        GAUGES.obligations.record(count, &[KeyValue::new("status", status)]);
    }
    Ok(())
}

/// How many rows wait for a kind, whenever they are due; and how many for a person, which are due never.
async fn waiting(engine: &Engine, kind: DueKind) -> Result<(u64, u64), TapeError> {
    let all = engine.count_due_until(kind, Time::NEVER).await?.0;
    let working = engine.count_due_until(kind, Time(Time::NEVER.0 - 1)).await?.0;
    Ok((working, all.saturating_sub(working)))
}
