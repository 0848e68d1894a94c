//! From start to serving.

use std::time::Duration;

use crate::report::{Bound, Line, Report};
use crate::section::{Plan, ms};
use tape_load::Samples;
use tape_load::Work;

const TIMES: u32 = 7;
/// How long the load has been going on when the server is killed under it.
const BEFORE_KILL: Duration = Duration::from_millis(1_500);

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let folder = plan.scratch()?;
    plan.sqlite(&folder).await?.stop().await?;
    let mut starts = Samples::default();
    for _ in 0..TIMES {
        let server = plan.sqlite(&folder).await?;
        starts.add(server.started_in);
        server.stop().await?;
    }
    report.line(Line::absolute(
        "start to serving, p50",
        ms(starts.p50()),
        "ms",
        Bound::AtMost(200.0),
    ));
    let killed = after_kills(plan, &folder).await?;
    report.line(Line::absolute(
        "start after a kill under load, p50",
        ms(killed.p50()),
        "ms",
        Bound::AtMost(300.0),
    ));
    Ok(())
}

/// Starts after kills under 64 clients.
pub(super) async fn after_kills(plan: &Plan, folder: &tempfile::TempDir) -> anyhow::Result<Samples> {
    let mut starts = Samples::default();
    let mut server = plan.sqlite(folder).await?;
    for round in 0..TIMES {
        let name = format!("killed-{round}");
        {
            let under_load = tape_load::apply(&server.url, &name, Work::ShortRun, 64, Duration::from_secs(60));
            // The load never ends: the kill comes while it goes on.
            let ended = tokio::time::timeout(BEFORE_KILL, under_load).await;
            anyhow::ensure!(
                ended.is_err(),
                "the load ended before the kill: {:?}",
                ended.map(|load| load.err())
            );
        }
        server.kill();
        server = plan.sqlite(folder).await?;
        starts.add(server.started_in);
    }
    server.stop().await?;
    Ok(starts)
}
