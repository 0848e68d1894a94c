//! The engine as reactors see it.

use async_trait::async_trait;
use tape_core::command::compensate::{Step, StepCompensation};
use tape_core::command::dispatch::{ClaimDispatch, MarkSent, RenewDispatch, SettleDispatch};
use tape_core::command::obligation::{ClaimObligation, SettleObligation};
use tape_core::command::observe::{ClaimCheck, RecordObservation};
use tape_core::command::recovery::{ClaimRecovery, NoTaker};
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::effect::Effect;
use tape_core::json::not_found;
use tape_core::{DueKind, EffectKey, RunId, Time};
use tape_port::{
    CheckTask, ClaimCompensation, CompensationTask, DispatchTask, DueItem, DueWork, RecoveryTask, Tape, TapeError,
    TimerTask,
};

use crate::engine::{Engine, store_error};
use crate::task;

#[async_trait]
impl Tape for Engine {
    fn now(&self) -> Time {
        self.clock.now()
    }

    async fn woken(&self, kind: DueKind) {
        self.wakes.woken(kind).await;
    }

    async fn due(&self, work: &DueWork) -> Result<Vec<DueItem>, TapeError> {
        self.due_work(work).await
    }

    async fn next_due(&self, kind: DueKind) -> Result<Option<Time>, TapeError> {
        let now = self.clock.now();
        self.wakes.looking(kind);
        let next = self.store.next_due(kind, now).await.map_err(store_error)?;
        self.wakes.found(kind, next, now);
        Ok(next)
    }

    async fn claim_recovery(&self, command: ClaimRecovery) -> Result<Option<RecoveryTask>, TapeError> {
        Ok(self.execute(&command, None).await?.map(task::recovery))
    }

    async fn no_taker(&self, command: NoTaker) -> Result<(), TapeError> {
        self.execute(&command, None).await
    }

    async fn claim_dispatch(&self, command: ClaimDispatch) -> Result<Option<DispatchTask>, TapeError> {
        let claimed = self.execute(&command, None).await?;
        if !claimed.acquired {
            return Ok(None);
        }
        Ok(Some(task::dispatch(&self.run(&command.run).await?, &claimed.effect)))
    }

    async fn mark_sent(&self, command: MarkSent) -> Result<(), TapeError> {
        self.execute(&command, None).await
    }

    async fn renew_dispatch(&self, command: RenewDispatch) -> Result<(), TapeError> {
        self.execute(&command, None).await
    }

    async fn settle_dispatch(&self, command: SettleDispatch) -> Result<(), TapeError> {
        self.execute(&command, None).await.map(drop)
    }

    async fn claim_check(&self, command: ClaimCheck) -> Result<Option<CheckTask>, TapeError> {
        let Some(effect) = self.execute(&command, None).await? else {
            return Ok(None);
        };
        Ok(Some(task::check(&self.run(&command.run).await?, &effect)))
    }

    async fn record_observation(&self, command: RecordObservation) -> Result<(), TapeError> {
        self.execute(&command, None).await.map(drop)
    }

    async fn claim_compensation(&self, claim: ClaimCompensation) -> Result<Option<CompensationTask>, TapeError> {
        let seq = match claim.seq {
            Some(seq) => seq,
            None => {
                let step = StepCompensation {
                    run: claim.run.clone(),
                    at_once: claim.at_once,
                };
                match self.execute(&step, None).await? {
                    Step::Work(obligation) => obligation.seq,
                    Step::Wait(_) | Step::Done => return Ok(None),
                }
            }
        };
        let command = ClaimObligation {
            run: claim.run.clone(),
            seq,
            owner: claim.owner,
            ttl_ms: claim.ttl_ms,
            at_once: claim.at_once,
            from_outside: false,
        };
        let claimed = self.execute(&command, None).await?;
        if !claimed.acquired {
            return Ok(None);
        }
        let run = self.run(&claim.run).await?;
        let effect = self.known_effect(&claim.run, &claimed.obligation.effect).await?;
        Ok(Some(task::compensation(&run, &effect, claimed.obligation)))
    }

    async fn settle_obligation(&self, command: SettleObligation) -> Result<(), TapeError> {
        self.execute(&command, None).await.map(drop)
    }

    async fn claim_timer(&self, command: ClaimTimer) -> Result<Option<TimerTask>, TapeError> {
        let claimed = self.execute(&command, None).await?;
        Ok(claimed.map(|timer| task::timer(&command.run, timer)))
    }

    async fn fire_timer(&self, command: FireTimer) -> Result<(), TapeError> {
        self.execute(&command, None).await.map(drop)
    }

    async fn release_timer(&self, command: ReleaseTimer) -> Result<(), TapeError> {
        self.execute(&command, None).await
    }
}

impl Engine {
    async fn known_effect(&self, run: &RunId, key: &EffectKey) -> Result<Effect, TapeError> {
        let effect = self.effect(run, key).await?;
        effect.ok_or_else(|| not_found("TAPE-E001", "effect", key.as_str()).into())
    }
}
