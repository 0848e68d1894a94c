//! What a reactor may ask of a server.

use async_trait::async_trait;
use tape_core::command::compensate::{Step, StepCompensation};
use tape_core::command::dispatch::{ClaimDispatch, ClaimedDispatch, MarkSent, RenewDispatch, SettleDispatch};
use tape_core::command::obligation::{ClaimObligation, ClaimedObligation, SettleObligation};
use tape_core::command::observe::{ClaimCheck, RecordObservation};
use tape_core::command::recovery::{ClaimRecovery, NoTaker};
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::effect::Effect;
use tape_core::obligation::Obligation;
use tape_core::run::Run;
use tape_core::timer::Timer;
use tape_core::{DueKind, EffectKey, RowKey, RunId, Time};

use crate::error::TapeError;

/// Which work a reactor looks for.
#[derive(Clone, Debug)]
pub struct DueWork {
    /// For this reactor.
    pub kind: DueKind,
    /// Of these apps; none = of all.
    pub apps: Option<Vec<String>>,
    /// Also what falls due later than now, up to this many milliseconds.
    pub ahead_ms: i64,
    /// At most so many.
    pub limit: u32,
}

/// Work that waits: a hint. Claiming decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueItem {
    /// Run.
    pub run: RunId,
    /// Row within it.
    pub key: RowKey,
    /// Since when.
    pub at: Time,
    /// App of the run.
    pub app: String,
    /// Tenant of the run.
    pub tenant: String,
}

/// The server, as reactors see it. Every method may be repeated after [`TapeError::Unavailable`].
#[async_trait]
pub trait Tape: Send + Sync {
    /// The server's clock.
    fn now(&self) -> Time;

    /// Waits until a commit made work due for `kind`. A lost wake-up costs latency, never correctness.
    async fn woken(&self, kind: DueKind);

    /// Names work that waits, oldest first.
    async fn due(&self, work: &DueWork) -> Result<Vec<DueItem>, TapeError>;

    /// When the next work of a kind falls due, if there is any.
    async fn next_due(&self, kind: DueKind) -> Result<Option<Time>, TapeError>;

    /// A run as it stands.
    async fn run(&self, run: &RunId) -> Result<Run, TapeError>;

    /// An effect as it stands.
    async fn effect(&self, run: &RunId, key: &EffectKey) -> Result<Effect, TapeError>;

    /// See [`ClaimRecovery`].
    async fn claim_recovery(&self, command: ClaimRecovery) -> Result<Option<Run>, TapeError>;
    /// See [`NoTaker`].
    async fn no_taker(&self, command: NoTaker) -> Result<(), TapeError>;

    /// See [`ClaimDispatch`].
    async fn claim_dispatch(&self, command: ClaimDispatch) -> Result<ClaimedDispatch, TapeError>;
    /// See [`MarkSent`].
    async fn mark_sent(&self, command: MarkSent) -> Result<(), TapeError>;
    /// See [`RenewDispatch`].
    async fn renew_dispatch(&self, command: RenewDispatch) -> Result<(), TapeError>;
    /// See [`SettleDispatch`].
    async fn settle_dispatch(&self, command: SettleDispatch) -> Result<Effect, TapeError>;

    /// See [`ClaimCheck`].
    async fn claim_check(&self, command: ClaimCheck) -> Result<Option<Effect>, TapeError>;
    /// See [`RecordObservation`].
    async fn record_observation(&self, command: RecordObservation) -> Result<Effect, TapeError>;

    /// See [`StepCompensation`].
    async fn step_compensation(&self, command: StepCompensation) -> Result<Step, TapeError>;
    /// See [`ClaimObligation`].
    async fn claim_obligation(&self, command: ClaimObligation) -> Result<ClaimedObligation, TapeError>;
    /// See [`SettleObligation`].
    async fn settle_obligation(&self, command: SettleObligation) -> Result<Obligation, TapeError>;

    /// See [`ClaimTimer`].
    async fn claim_timer(&self, command: ClaimTimer) -> Result<Option<Timer>, TapeError>;
    /// See [`FireTimer`].
    async fn fire_timer(&self, command: FireTimer) -> Result<Timer, TapeError>;
    /// See [`ReleaseTimer`].
    async fn release_timer(&self, command: ReleaseTimer) -> Result<(), TapeError>;
}
