//! The loops that serve reactions: one makes tasks of events, one starts the runs of those whose handler is an agent.
//! They are no reactors: every server has them, because without them what is registered would do nothing.

use std::sync::Arc;
use std::time::Duration;

use tape_engine::{AgentStarter, Engine, Matcher};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Rest after an error, so that a store that is away is not asked in a loop.
const REST: Duration = Duration::from_secs(1);

/// Serves reactions until `stop`; what is being written then is finished.
pub(crate) fn serve(tasks: &TaskTracker, engine: &Arc<Engine>, owner: &str, stop: &CancellationToken) {
    tasks.spawn(make_tasks(Matcher::new(engine.clone()), stop.clone()));
    let starter = AgentStarter::new(engine.clone(), format!("{owner}-reactions"));
    tasks.spawn(start_runs(starter, stop.clone()));
}

async fn make_tasks(mut matcher: Matcher, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match matcher.pass().await {
            Ok(true) => {}
            Ok(false) => {
                stop.run_until_cancelled(matcher.wait()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "matching events with reactions");
                stop.run_until_cancelled(tokio::time::sleep(REST)).await;
            }
        }
    }
}

async fn start_runs(starter: AgentStarter, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match starter.pass().await {
            Ok(_) => {
                stop.run_until_cancelled(starter.wait()).await;
            }
            Err(error) => {
                tracing::warn!(%error, "starting the runs of reactions");
                stop.run_until_cancelled(tokio::time::sleep(REST)).await;
            }
        }
    }
}
