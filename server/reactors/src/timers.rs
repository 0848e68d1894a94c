//! Timers: act when their time has come, at least once, never early.

use std::sync::Arc;

use async_trait::async_trait;
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::timer::{KIND_GATE_TIMEOUT, KIND_RECONCILE, KIND_REDRIVE};
use tape_core::{DueKind, RowKey};
use tape_port::{DueItem, DueWork, Tape, TapeError, TimerCall, Workers};

use crate::reactor::{Identity, Reactor};

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
        DueWork {
            kind: DueKind::Timers,
            apps: None,
            ahead_ms: 0,
            limit: 200,
        }
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
            return Ok(());
        };
        let built_in = [KIND_GATE_TIMEOUT, KIND_REDRIVE, KIND_RECONCILE].contains(&timer.kind.as_str());
        if !built_in {
            let call = TimerCall {
                run: run.clone(),
                timer: id.clone(),
                kind: timer.kind,
                payload_json: timer.payload_json,
                fire_at_ms: timer.fire_at.0,
            };
            if let Err(error) = self.workers.timer(&item.tenant, &item.app, &call).await {
                tracing::info!(%run, timer = id, %error, "nobody acted on the timer; again later");
                return self.tape.release_timer(ReleaseTimer { run, id, owner }).await;
            }
        }
        // Marked as fired only now: dying before this repeats the action, never loses it.
        self.tape.fire_timer(FireTimer { run, id, owner }).await.map(drop)
    }
}
