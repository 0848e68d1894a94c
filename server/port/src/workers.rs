//! What a reactor may ask of an app's workers: the processes in which agents and their functions live.

use async_trait::async_trait;
use tape_connector_port::{CompensateAnswer, EffectCall, ObligationCall, StatusAnswer};
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
