//! Recovery: finds a driver for runs that have none.

use std::sync::Arc;

use async_trait::async_trait;
use tape_core::command::recovery::{ClaimRecovery, NoTaker};
use tape_core::{DueKind, RowKey};
use tape_port::{DueItem, DueWork, Tape, TapeError, WorkerError, Workers};
use tracing::Instrument as _;

use crate::measure;
use crate::newcomers::Newcomers;
use crate::reactor::{BATCH, Reactor};

/// Wakes the apps of runs that have no driver.
pub struct Recovery {
    tape: Arc<dyn Tape>,
    workers: Arc<dyn Workers>,
    /// Runs that rest because nobody took them are due when a worker attaches.
    newcomers: Newcomers,
}

impl Recovery {
    /// The reactor.
    #[must_use]
    pub fn new(tape: Arc<dyn Tape>, workers: Arc<dyn Workers>) -> Self {
        Self {
            tape,
            newcomers: Newcomers::of(&workers),
            workers,
        }
    }
}

#[async_trait]
impl Reactor for Recovery {
    fn kind(&self) -> DueKind {
        DueKind::Recovery
    }

    fn work(&self) -> DueWork {
        DueWork::all(DueKind::Recovery, BATCH)
    }

    fn newcomers(&self) -> Option<&Newcomers> {
        Some(&self.newcomers)
    }

    async fn woken(&self, _: &DueWork) {
        self.tape.woken(DueKind::Recovery).await;
    }

    async fn handle(&self, item: &DueItem) -> Result<(), TapeError> {
        if item.key != RowKey::Head {
            return Ok(());
        }
        // Handed out before its time only for the sake of a worker that has just attached.
        let at_once = item.at > self.tape.now();
        let claim = ClaimRecovery {
            run: item.run.clone(),
            at_once,
        };
        let Some(task) = self.tape.claim_recovery(claim).await? else {
            measure::conflict(DueKind::Recovery);
            return Ok(());
        };
        let reason = if task.new { "start" } else { "recover" };
        tracing::info!(run = %task.run, app = task.identity.app, tries = task.tries, "run is RUNNABLE; re-driving");
        let span = tracing::info_span!("redrive", otel.name = "tape.redrive", run = %task.run, app = task.identity.app, reason);
        let error = match self.workers.redrive(&task, reason).instrument(span).await {
            Ok(()) => String::new(),
            Err(error @ WorkerError::NoWorker { .. }) => error.to_string(),
            Err(error) => {
                tracing::warn!(run = %task.run, %error, "nobody took the run");
                error.to_string()
            }
        };
        self.tape
            .no_taker(NoTaker {
                run: item.run.clone(),
                error,
            })
            .await
    }
}
