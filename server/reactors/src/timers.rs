//! Timers: act when their time has come, at least once, never early.
//!
//! A claim takes as long as the disk does. So a timer is claimed a little ahead, held back until its time has come, and asked
//! for once more, which costs no write: whoever cancelled it meanwhile, or set it anew, is heard.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::{DueKind, RowKey};
use tape_port::{DueItem, DueWork, Tape, TapeError, Workers};
use tokio::time::sleep;

use crate::measure;
use crate::newcomers::Newcomers;
use crate::reactor::{BATCH, Identity, Reactor};

/// Fires timers.
pub struct Timers {
    tape: Arc<dyn Tape>,
    /// The apps, for the users' own kinds.
    workers: Arc<dyn Workers>,
    /// Timers that rest because nobody acted on them are due when a worker attaches.
    newcomers: Newcomers,
    identity: Identity,
    lead_ms: i64,
}

impl Timers {
    /// The reactor. It claims `lead_ms` milliseconds ahead: more than a commit takes; 0 = not ahead.
    #[must_use]
    pub fn new(tape: Arc<dyn Tape>, workers: Arc<dyn Workers>, identity: Identity, lead_ms: i64) -> Self {
        Self {
            tape,
            newcomers: Newcomers::of(&workers),
            workers,
            identity,
            lead_ms,
        }
    }
}

/// A lead that covers a commit on a slow disk. Longer ones hold back more rows at once for nothing.
pub const TIMER_LEAD_MS: i64 = 20;

#[async_trait]
impl Reactor for Timers {
    fn kind(&self) -> DueKind {
        DueKind::Timers
    }

    fn work(&self) -> DueWork {
        DueWork {
            ahead_ms: self.lead_ms,
            ..DueWork::all(DueKind::Timers, BATCH)
        }
    }

    fn lead_ms(&self) -> i64 {
        self.lead_ms
    }

    fn newcomers(&self) -> Option<&Newcomers> {
        Some(&self.newcomers)
    }

    async fn woken(&self, _: &DueWork) {
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
            ahead_ms: self.lead_ms,
            // Named before its time, and further ahead than this reactor looks: a worker has just attached.
            at_once: item.at > self.tape.now().after(self.lead_ms),
        };
        let mut held = false;
        let timer = loop {
            let asked_at = self.tape.now();
            let Some(timer) = self.tape.claim_timer(claim.clone()).await? else {
                measure::conflict(DueKind::Timers);
                // Cancelled or set anew while it was held: nothing is left of the claim. Or the clock was turned back, and its
                // time is far again: it is not held until then.
                return match held {
                    true => self.tape.release_timer(ReleaseTimer { run, id, owner }).await,
                    false => Ok(()),
                };
            };
            held = true;
            if timer.fire_at <= asked_at {
                break timer;
            }
            let early_ms = timer.fire_at.since(self.tape.now());
            sleep(Duration::from_millis(u64::try_from(early_ms).unwrap_or_default())).await;
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
