//! Timers: act when their time has come, at least once, never early.

use std::sync::Arc;

use async_trait::async_trait;
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::{DueKind, RowKey};
use tape_port::{DueItem, DueWork, Tape, TapeError, Workers};

use crate::measure;
use crate::reactor::{BATCH, Identity, Reactor};

/// Fires timers.
pub struct Timers {
    /// The server.
    pub tape: Arc<dyn Tape>,
    /// The apps, for the users' own kinds.
    pub workers: Arc<dyn Workers>,
    /// Who claims.
    pub identity: Identity,
}

#[async_trait]
impl Reactor for Timers {
    fn kind(&self) -> DueKind {
        DueKind::Timers
    }

    fn work(&self) -> DueWork {
        DueWork::all(DueKind::Timers, BATCH)
    }

    async fn woken(&self) {
        self.tape.woken(DueKind::Timers).await;
    }

    async fn handle(&self, item: &DueItem) -> Result<(), TapeError> {
        let RowKey::Timer(id) = &item.key else { return Ok(()) };
        let (run, id, owner) = (item.run.clone(), id.clone(), self.identity.owner.clone());
        let claim = ClaimTimer {
            run: run.clone(),
            id: id.clone(),
            owner: owner.clone(),
            ttl_ms: self.identity.claim_ms,
        };
        let Some(timer) = self.tape.claim_timer(claim).await? else {
            measure::conflict(DueKind::Timers);
            return Ok(());
        };
        if !timer.built_in()
            && let Err(error) = self.workers.timer(&item.tenant, &item.app, &timer).await
        {
            tracing::info!(%run, timer = id, %error, "nobody acted on the timer; again later");
            return self.tape.release_timer(ReleaseTimer { run, id, owner }).await;
        }
        // Marked as fired only now: dying before this repeats the action, never loses it.
        self.tape.fire_timer(FireTimer { run, id, owner }).await
    }
}
