//! Versions swapped under load: nothing fails, nothing is lost, nothing runs twice.

use crate::report::{Bound, Line, Report, tell};
use crate::section::{Plan, ms};
use crate::swap::Stage;

const CLIENTS: usize = 16;
/// Of what failed so many are told.
const TOLD: usize = 5;

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let folder = plan.scratch()?;
    let server = plan.sqlite(&folder).await?;
    let stage = Stage::set(&server.url).await?;
    let resting = stage.wire("resting", CLIENTS, plan.load, false).await?;
    let swapping = stage.wire("swapping", CLIENTS, plan.load, true).await?;
    let booked = stage.booked().await?;
    for (how, wired) in [("no swap", &resting), ("swaps", &swapping)] {
        report.figure(
            format!("wires of {CLIENTS} clients, {how}, p50 ms"),
            ms(wired.latency.p50()),
        );
        report.figure(
            format!("wires of {CLIENTS} clients, {how}, p99 ms"),
            ms(wired.latency.p99()),
        );
    }
    let times = |reference: &String| booked.get(reference).copied().unwrap_or_default();
    let lost = swapping.references.iter().filter(|one| times(one) == 0).count();
    let twice = swapping.references.iter().filter(|one| times(one) > 1).count();
    for failed in swapping.failed.iter().take(TOLD) {
        tell(&format!("  {failed}"));
    }
    let wrong = swapping.failed.len() + lost + twice;
    #[allow(clippy::cast_precision_loss, reason = "counts of a bench are far below 2^52")]
    report.line(Line::new(
        "hot swap under load: failed, lost or sent twice",
        format!("{wrong} of {}", swapping.references.len()),
        format!("{} swaps", swapping.swaps),
        wrong as f64,
        Bound::AtMost(0.0),
    ));
    server.stop().await
}
