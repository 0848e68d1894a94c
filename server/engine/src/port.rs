//! The engine as reactors see it.

use async_trait::async_trait;
use tape_core::command::compensate::{Step, StepCompensation};
use tape_core::command::dispatch::{ClaimDispatch, ClaimedDispatch, MarkSent, RenewDispatch, SettleDispatch};
use tape_core::command::obligation::{ClaimObligation, ClaimedObligation, SettleObligation};
use tape_core::command::observe::{ClaimCheck, RecordObservation};
use tape_core::command::recovery::{ClaimRecovery, NoTaker};
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::effect::Effect;
use tape_core::json::not_found;
use tape_core::obligation::Obligation;
use tape_core::run::Run;
use tape_core::timer::Timer;
use tape_core::{DueKind, EffectKey, RunId, Time};
use tape_port::{DueItem, DueWork, Tape, TapeError};

use crate::engine::{Engine, store_error};

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
        self.store.next_due(kind).await.map_err(store_error)
    }

    async fn run(&self, run: &RunId) -> Result<Run, TapeError> {
        Self::run(self, run).await
    }

    async fn effect(&self, run: &RunId, key: &EffectKey) -> Result<Effect, TapeError> {
        let effect = Self::effect(self, run, key).await?;
        effect.ok_or_else(|| not_found("TAPE-E001", "effect", key.as_str()).into())
    }

    async fn claim_recovery(&self, command: ClaimRecovery) -> Result<Option<Run>, TapeError> {
        self.execute(&command, None).await
    }

    async fn no_taker(&self, command: NoTaker) -> Result<(), TapeError> {
        self.execute(&command, None).await
    }

    async fn claim_dispatch(&self, command: ClaimDispatch) -> Result<ClaimedDispatch, TapeError> {
        self.execute(&command, None).await
    }

    async fn mark_sent(&self, command: MarkSent) -> Result<(), TapeError> {
        self.execute(&command, None).await
    }

    async fn renew_dispatch(&self, command: RenewDispatch) -> Result<(), TapeError> {
        self.execute(&command, None).await
    }

    async fn settle_dispatch(&self, command: SettleDispatch) -> Result<Effect, TapeError> {
        self.execute(&command, None).await
    }

    async fn claim_check(&self, command: ClaimCheck) -> Result<Option<Effect>, TapeError> {
        self.execute(&command, None).await
    }

    async fn record_observation(&self, command: RecordObservation) -> Result<Effect, TapeError> {
        self.execute(&command, None).await
    }

    async fn step_compensation(&self, command: StepCompensation) -> Result<Step, TapeError> {
        self.execute(&command, None).await
    }

    async fn claim_obligation(&self, command: ClaimObligation) -> Result<ClaimedObligation, TapeError> {
        self.execute(&command, None).await
    }

    async fn settle_obligation(&self, command: SettleObligation) -> Result<Obligation, TapeError> {
        self.execute(&command, None).await
    }

    async fn claim_timer(&self, command: ClaimTimer) -> Result<Option<Timer>, TapeError> {
        self.execute(&command, None).await
    }

    async fn fire_timer(&self, command: FireTimer) -> Result<Timer, TapeError> {
        self.execute(&command, None).await
    }

    async fn release_timer(&self, command: ReleaseTimer) -> Result<(), TapeError> {
        self.execute(&command, None).await
    }
}
