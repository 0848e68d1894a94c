//! A server process: engine and reactors over the store, until it dies. And the apps' workers, as it sees them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tape_connector_port::{CompensateAnswer, Connectors, EffectCall, ObligationCall, StatusAnswer};
use tape_core::{RunId, Time};
use tape_engine::{Engine, EngineConfig};
use tape_port::{Clock as _, RecoveryTask, Tape, TimerTask, WorkerError, Workers};
use tape_reactors::{Compensation, Identity, Outbox, Reactor, Reconciler, Recovery, Timers, pass};
use tape_store_memory::MemoryStore;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bank::{Bank, BankConnector};
use crate::faults::{Fate, FaultyStore};

/// How long a claim lasts in the simulation.
const CLAIM_MS: i64 = 2_000;

/// What the apps were told: runs that somebody should drive, and timers: whose, for when, and when.
#[derive(Default)]
pub(crate) struct Calls(Mutex<VecDeque<RunId>>, Mutex<Vec<(RunId, i64, Time)>>);

impl Calls {
    pub(crate) fn take(&self) -> Option<RunId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(crate) fn timers(&self) -> MutexGuard<'_, Vec<(RunId, i64, Time)>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One incarnation of the server.
pub(crate) struct Server {
    pub(crate) engine: Arc<Engine>,
    pub(crate) alive: Arc<AtomicBool>,
    reactors: Vec<Arc<dyn Reactor>>,
    fate: Arc<Fate>,
    attachments: Arc<watch::Sender<u64>>,
}

impl Server {
    pub(crate) fn start(
        store: &Arc<MemoryStore>,
        fate: &Arc<Fate>,
        bank: &Arc<Bank>,
        calls: &Arc<Calls>,
        number: u32,
    ) -> Self {
        let alive = Arc::new(AtomicBool::new(true));
        let faulty = FaultyStore {
            inner: store.clone(),
            fate: fate.clone(),
            alive: alive.clone(),
        };
        let connectors: Arc<dyn Connectors> = Arc::new(BankConnector {
            bank: bank.clone(),
            alive: alive.clone(),
        });
        let config = EngineConfig {
            strict_connectors: true,
            ..EngineConfig::default()
        };
        let engine = Arc::new(Engine::new(
            Arc::new(faulty),
            fate.clone(),
            fate.clone(),
            connectors.clone(),
            config,
        ));
        let tape: Arc<dyn Tape> = engine.clone();
        let attachments = Arc::new(watch::Sender::new(0));
        let workers: Arc<dyn Workers> = Arc::new(Apps {
            calls: calls.clone(),
            fate: fate.clone(),
            alive: alive.clone(),
            attachments: attachments.clone(),
        });
        let identity = Identity {
            owner: format!("server-{number}"),
            claim_ms: CLAIM_MS,
            abandon: CancellationToken::new(),
        };
        let reactors: Vec<Arc<dyn Reactor>> = vec![
            Arc::new(Recovery::new(tape.clone(), workers.clone())),
            Arc::new(Outbox {
                tape: tape.clone(),
                connectors: connectors.clone(),
                identity: identity.clone(),
            }),
            Arc::new(Reconciler {
                tape: tape.clone(),
                connectors: connectors.clone(),
                workers: workers.clone(),
                identity: identity.clone(),
            }),
            // The simulated clock stands still while a row is handled: nothing is claimed ahead.
            Arc::new(Timers::new(tape.clone(), workers.clone(), identity.clone(), 0)),
            Arc::new(Compensation::new(tape, connectors, workers, identity)),
        ];
        Self {
            engine,
            alive,
            reactors,
            fate: fate.clone(),
            attachments,
        }
    }

    pub(crate) fn dead(&self) -> bool {
        !self.alive.load(Ordering::Relaxed)
    }

    pub(crate) fn reactors(&self) -> usize {
        self.reactors.len()
    }

    /// One pass of one reactor. Errors are what a dying process leaves behind.
    pub(crate) async fn pass(&self, index: usize) {
        if self.fate.strikes(10) {
            // A worker attaches: what rests for want of one is looked for.
            self.attachments.send_modify(|times| *times += 1);
        }
        let _errors = pass(self.engine.as_ref(), self.reactors[index].as_ref()).await;
    }
}

/// The apps' workers: take every run, or die before they do.
struct Apps {
    calls: Arc<Calls>,
    fate: Arc<Fate>,
    alive: Arc<AtomicBool>,
    attachments: Arc<watch::Sender<u64>>,
}

#[async_trait]
impl Workers for Apps {
    fn apps(&self) -> Vec<String> {
        vec!["app".into()]
    }

    fn attachments(&self) -> watch::Receiver<u64> {
        self.attachments.subscribe()
    }

    async fn redrive(&self, task: &RecoveryTask, _reason: &str) -> Result<(), WorkerError> {
        if self.fate.strikes(10) {
            return Err(WorkerError::NoWorker {
                app: task.identity.app.clone(),
            });
        }
        self.calls
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(task.run.clone());
        Ok(())
    }

    async fn status_check(&self, _: &str, effect: &EffectCall, _: &str) -> Result<StatusAnswer, WorkerError> {
        Err(WorkerError::NoWorker {
            app: effect.app.clone(),
        })
    }

    async fn compensate(&self, _: &str, obligation: &ObligationCall) -> Result<CompensateAnswer, WorkerError> {
        Err(WorkerError::NoWorker {
            app: obligation.effect.app.clone(),
        })
    }

    async fn timer(&self, _: &str, app: &str, task: &TimerTask) -> Result<(), WorkerError> {
        if self.fate.strikes(20) {
            return Err(WorkerError::NoWorker { app: app.to_owned() });
        }
        self.calls
            .timers()
            .push((task.run.clone(), task.fire_at.0, self.fate.now()));
        if self.fate.strikes(20) {
            // Acted on, and whoever claimed it dies before it can say so.
            self.alive.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}
