//! What a reactor may ask of a server.

use async_trait::async_trait;
use tape_core::command::dispatch::{ClaimDispatch, MarkSent, RenewDispatch, SettleDispatch};
use tape_core::command::obligation::SettleObligation;
use tape_core::command::observe::{ClaimCheck, RecordObservation};
use tape_core::command::recovery::{ClaimRecovery, NoTaker};
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::{DueKind, RowKey, RunId, Time};

use crate::error::TapeError;
use crate::task::{CheckTask, CompensationTask, DispatchTask, RecoveryTask, TimerTask};

/// Which work a reactor looks for.
#[derive(Clone, Debug)]
pub struct DueWork {
    /// For this reactor.
    pub kind: DueKind,
    /// Of these tenants; none = of all.
    pub tenants: Option<Vec<String>>,
    /// Of these apps; none = of all.
    pub apps: Option<Vec<String>>,
    /// Through one of these connectors, or through none; none = through any.
    pub served: Option<Vec<Served>>,
    /// Also what falls due later than now, up to this many milliseconds.
    pub ahead_ms: i64,
    /// At most so many.
    pub limit: u32,
}

/// A connector that a reactor can call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Served {
    /// Whose it is.
    pub tenant: String,
    /// Its name there.
    pub name: String,
    /// Only for effects of this app, in whose workers it lives; none = for all apps.
    pub app: Option<String>,
}

impl DueWork {
    /// What is due now, of all tenants and apps, through any connector.
    #[must_use]
    pub const fn all(kind: DueKind, limit: u32) -> Self {
        Self {
            kind,
            tenants: None,
            apps: None,
            served: None,
            ahead_ms: 0,
            limit,
        }
    }
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

/// Takes an obligation in order to work on it.
#[derive(Clone, Debug)]
pub struct ClaimCompensation {
    /// Run.
    pub run: RunId,
    /// Which obligation; none = of a run that is being compensated, the one whose turn it is.
    pub seq: Option<i64>,
    /// Who takes it.
    pub owner: String,
    /// For how long, in milliseconds.
    pub ttl_ms: i64,
    /// Also if it rests because nobody could be asked: a worker has just attached.
    pub at_once: bool,
}

/// The server, as reactors see it. Every method may be repeated after [`TapeError::Unavailable`].
///
/// A claim is the only look that a reactor takes: it gives what there is to do, or nothing when there is nothing, or when
/// it is somebody else's. Where the answer to a claim is lost, the claim runs out, and the work is found again.
#[async_trait]
pub trait Tape: Send + Sync {
    /// The clock.
    fn now(&self) -> Time;

    /// Waits until a commit made work due for `kind`. A lost wake-up costs latency, never correctness.
    async fn woken(&self, kind: DueKind);

    /// Names work that waits, oldest first.
    async fn due(&self, work: &DueWork) -> Result<Vec<DueItem>, TapeError>;

    /// When the next work of a kind falls due that is not due yet, if there is any.
    async fn next_due(&self, kind: DueKind) -> Result<Option<Time>, TapeError>;

    /// See [`ClaimRecovery`].
    async fn claim_recovery(&self, command: ClaimRecovery) -> Result<Option<RecoveryTask>, TapeError>;
    /// See [`NoTaker`].
    async fn no_taker(&self, command: NoTaker) -> Result<(), TapeError>;

    /// See [`ClaimDispatch`].
    async fn claim_dispatch(&self, command: ClaimDispatch) -> Result<Option<DispatchTask>, TapeError>;
    /// See [`MarkSent`].
    async fn mark_sent(&self, command: MarkSent) -> Result<(), TapeError>;
    /// See [`RenewDispatch`].
    async fn renew_dispatch(&self, command: RenewDispatch) -> Result<(), TapeError>;
    /// See [`SettleDispatch`].
    async fn settle_dispatch(&self, command: SettleDispatch) -> Result<(), TapeError>;

    /// See [`ClaimCheck`].
    async fn claim_check(&self, command: ClaimCheck) -> Result<Option<CheckTask>, TapeError>;
    /// See [`RecordObservation`].
    async fn record_observation(&self, command: RecordObservation) -> Result<(), TapeError>;

    /// See [`ClaimCompensation`].
    async fn claim_compensation(&self, claim: ClaimCompensation) -> Result<Option<CompensationTask>, TapeError>;
    /// See [`SettleObligation`].
    async fn settle_obligation(&self, command: SettleObligation) -> Result<(), TapeError>;

    /// See [`ClaimTimer`].
    async fn claim_timer(&self, command: ClaimTimer) -> Result<Option<TimerTask>, TapeError>;
    /// See [`FireTimer`].
    async fn fire_timer(&self, command: FireTimer) -> Result<(), TapeError>;
    /// See [`ReleaseTimer`].
    async fn release_timer(&self, command: ReleaseTimer) -> Result<(), TapeError>;
}
