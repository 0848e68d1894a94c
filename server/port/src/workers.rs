//! What a reactor may ask of an app's workers: the processes in which agents and their functions live.

use async_trait::async_trait;
use tape_connector_port::{
    CompensateAnswer, DispatchAnswer, EffectCall, ObligationCall, ObserveAnswer, StatusAnswer, Supports,
};
use tape_core::Time;
use tokio::sync::watch;

use crate::task::{RecoveryTask, TimerTask};

/// Why a worker did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// No worker of the app is attached. Try again when one is.
    #[error("no worker of app {app:?} is attached; start the agent (`tape dev`, or `python -m tape.worker`)")]
    NoWorker {
        /// The app.
        app: String,
    },
    /// The worker said no.
    #[error("worker {worker:?} refused: {code}: {message}")]
    Refused {
        /// Which.
        worker: String,
        /// Its code.
        code: String,
        /// Its words.
        message: String,
        /// Whether it may say yes later.
        retryable: bool,
    },
    /// The worker went away, or did not answer in time. It may have done it.
    #[error("worker {worker:?} did not answer: {reason}")]
    Lost {
        /// Which.
        worker: String,
        /// What is known.
        reason: String,
    },
}

/// The workers that are attached.
#[async_trait]
pub trait Workers: Send + Sync {
    /// Apps with at least one worker, each once.
    fn apps(&self) -> Vec<String>;

    /// How many times a worker has attached. Everybody who waits for one has a receiver of his own.
    fn attachments(&self) -> watch::Receiver<u64>;

    /// Hands a run to a worker of its app. `Ok` means that the worker will take the lease.
    async fn redrive(&self, run: &RecoveryTask, reason: &str) -> Result<(), WorkerError>;

    /// Calls the SDK function `function` (`module:attr`) of the effect's app: did this very request commit?
    async fn status_check(
        &self,
        function: &str,
        effect: &EffectCall,
        reference: &str,
    ) -> Result<StatusAnswer, WorkerError>;

    /// Calls the SDK function `function` (`module:attr`) of the effect's app: undo it.
    async fn compensate(&self, function: &str, obligation: &ObligationCall) -> Result<CompensateAnswer, WorkerError>;

    /// Tells the app that one of its timers fired. `Ok` means that it was acted on.
    async fn timer(&self, tenant: &str, app: &str, timer: &TimerTask) -> Result<(), WorkerError>;
}

/// A connector that lives in the processes of an app's workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// The workers' tenant.
    pub tenant: String,
    /// Their app: the connector serves the effects of this app alone.
    pub app: String,
    /// What runs call it.
    pub name: String,
    /// What at least one of the workers can be asked beside `dispatch`.
    pub supports: Supports,
}

/// What a connector in a worker's process said, and in which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<A> {
    /// The worker.
    pub worker: String,
    /// Its answer: a claim that nobody has seen anything of.
    pub answer: A,
}

/// The connectors that live in attached workers.
///
/// Whoever is asked about an effect is a worker of the effect's tenant and app. One that says no before it did anything is passed
/// over for the next that has the connector. [`WorkerError::Lost`] alone means that somebody was asked and may have done it.
#[async_trait]
pub trait LivingConnectors: Send + Sync {
    /// Those that are there, each once, by tenant, app and name.
    fn living(&self) -> Vec<Living>;

    /// Waits until another worker is attached, or one has left. A hint that may get lost.
    async fn living_changed(&self);

    /// The server's clock, or a little before it.
    fn clock(&self) -> Time;

    /// Carry it out. After `begin_by` nobody begins with it any more.
    async fn dispatch(
        &self,
        connector: &str,
        effect: &EffectCall,
        begin_by: Time,
    ) -> Result<Told<DispatchAnswer>, WorkerError>;

    /// What do your upstream's books say?
    async fn observe(&self, connector: &str, effect: &EffectCall) -> Result<Told<ObserveAnswer>, WorkerError>;

    /// Did this very request commit?
    async fn status_check(
        &self,
        connector: &str,
        effect: &EffectCall,
        reference: &str,
    ) -> Result<Told<StatusAnswer>, WorkerError>;

    /// Undo it. After `begin_by` nobody begins with it any more.
    async fn compensate(
        &self,
        connector: &str,
        obligation: &ObligationCall,
        begin_by: Time,
    ) -> Result<Told<CompensateAnswer>, WorkerError>;
}
