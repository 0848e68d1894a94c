//! Retention: compacts runs that are old enough, and forgets what was answered to requests a day ago; a bounded number at a
//! time, so that it never stands in anybody's way.

use std::sync::Arc;
use std::time::Duration;

use tape_engine::{Engine, Retention};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Runs of each status that one pass compacts.
const PASS_RUNS: u32 = 100;
/// Answers to requests that one pass forgets.
const PASS_REQUESTS: u32 = 1_000;
/// Between passes while there is more.
const PAUSE: Duration = Duration::from_millis(100);
/// Between passes when there is none.
const REST: Duration = Duration::from_secs(60);

/// Runs it until `stop`. With no ages there is nothing to do.
pub(crate) fn serve(tasks: &TaskTracker, engine: &Arc<Engine>, retention: Retention, stop: &CancellationToken) {
    if retention.ages.is_empty() {
        return;
    }
    let (engine, stop) = (engine.clone(), stop.clone());
    tasks.spawn(async move {
        loop {
            let pause = match engine.compact_old_runs(&retention, PASS_RUNS).await {
                Ok(pass) => {
                    if pass.runs > 0 {
                        tracing::info!(
                            runs = pass.runs,
                            bytes = pass.bytes,
                            more = pass.more,
                            "runs are compacted"
                        );
                    }
                    if pass.more { PAUSE } else { REST }
                }
                Err(error) => {
                    tracing::warn!(%error, "runs are not compacted; again later");
                    REST
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
}

/// Forgets answers to requests until `stop`, whatever the project keeps.
pub(crate) fn forget(tasks: &TaskTracker, engine: &Arc<Engine>, stop: &CancellationToken) {
    let (engine, stop) = (engine.clone(), stop.clone());
    tasks.spawn(async move {
        loop {
            let pause = match engine.forget_old_requests(PASS_REQUESTS).await {
                Ok((requests, more)) => {
                    if requests > 0 {
                        tracing::debug!(requests, more, "answers to requests are forgotten");
                    }
                    if more { PAUSE } else { REST }
                }
                Err(error) => {
                    tracing::warn!(%error, "answers to requests are not forgotten; again later");
                    REST
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
}
