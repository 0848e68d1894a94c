//! How soon an app hears of what concerns it.

use crate::report::{Bound, Line, Report};
use crate::section::{Plan, ms};
use crate::waking;

/// How often each is tried.
const TIMES: u32 = 200;
const DEATHS: u32 = 50;

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let folder = plan.scratch()?;
    let server = plan.sqlite(&folder).await?;
    let signal = waking::signal(&server.url, TIMES).await?;
    report.figure("signal to redrive, p99 ms", ms(signal.p99()));
    report.line(Line::absolute(
        "signal sent to agent resumed, p50",
        ms(signal.p50()),
        "ms",
        Bound::AtMost(2.0),
    ));
    let timer = waking::timer(&server.url, TIMES).await?;
    report.figure("timer's lateness, p99 ms", ms(timer.p99()));
    report.line(Line::absolute(
        "timer's lateness, p50",
        ms(timer.p50()),
        "ms",
        Bound::AtMost(2.0),
    ));
    let recovery = waking::recovery(&server.url, DEATHS).await?;
    report.figure("worker's death to redrive, p99 ms", ms(recovery.p99()));
    // "At once" is a limit that a person does not notice.
    report.line(Line::absolute(
        "worker's stream broken to redrive elsewhere, p50",
        ms(recovery.p50()),
        "ms",
        Bound::AtMost(50.0),
    ));
    server.stop().await
}
