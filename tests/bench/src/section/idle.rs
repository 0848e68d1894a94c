//! What a server costs that has nothing to do.

use std::time::Duration;

use crate::report::{Bound, Line, Report};
use crate::section::Plan;
use crate::section::durable::mib;
use tape_load::Server;

/// How long it is watched, once it has settled.
const WATCHED: Duration = Duration::from_secs(10);
const SETTLING: Duration = Duration::from_secs(2);

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let folder = plan.scratch()?;
    let mut setup = plan.setup(format!("sqlite:{}", folder.path().join("tape.db").display()));
    setup.project.clone_from(&plan.project);
    let server = Server::start(&setup, &folder.path().join("server.log")).await?;
    tokio::time::sleep(SETTLING).await;
    let before = server.usage()?;
    tokio::time::sleep(WATCHED).await;
    let after = server.usage()?;
    let what = if plan.project.is_some() {
        "one connector"
    } else {
        "no connector"
    };
    report.line(Line::absolute(
        &format!("idle server, all reactors, {what}: memory"),
        mib(after.resident),
        "MiB",
        Bound::AtMost(40.0),
    ));
    let share = (after.cpu - before.cpu).as_secs_f64() / WATCHED.as_secs_f64() * 100.0;
    report.line(Line::absolute(
        &format!("idle server, all reactors, {what}: processor"),
        share,
        "%",
        Bound::AtMost(1.0),
    ));
    server.stop().await
}
