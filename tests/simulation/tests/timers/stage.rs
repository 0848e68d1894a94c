//! A server whose clock is the paused time of the test, and an app that notes what it is asked for.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tape_connector_port::{
    CompensateAnswer, EffectCall, Failure, FailureKind, NoConnectors, ObligationCall, Receipt, StatusAnswer,
};
use tape_core::command::begin_run::StartRun;
use tape_core::command::timer::{ClaimTimer, SetTimer};
use tape_core::run::Caller;
use tape_core::timer::TimerState;
use tape_core::{DueKind, RunId, RunIdentity, Time};
use tape_engine::{Engine, EngineConfig};
use tape_port::{Clock, DueItem, DueWork, Luck, RecoveryTask, Tape, TimerTask, WorkerError, Workers};
use tape_reactors::{Identity, Reactor as _, Timers};
use tape_store_memory::MemoryStore;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub(crate) const LEAD_MS: i64 = 20;
pub(crate) const CLAIM_MS: i64 = 5_000;
/// When the timer of a test is to fire, from its start.
pub(crate) const AT: i64 = 1_000;

/// A clock that runs with the paused time of the test, and can be turned.
pub(crate) struct Hand {
    origin: Instant,
    pub(crate) turned: AtomicI64,
}

impl Clock for Hand {
    fn now(&self) -> Time {
        let ms = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        Time(1_000_000 + ms + self.turned.load(Ordering::SeqCst))
    }
}

#[derive(Default)]
struct Count(AtomicU64);

impl Luck for Count {
    fn fresh(&self) -> String {
        format!("n-{}", self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn jitter(&self) -> u16 {
        1_000
    }
}

/// The app: notes when it was asked for what, as long as it has a worker.
pub(crate) struct App {
    clock: Arc<Hand>,
    told: Mutex<Vec<(i64, Time)>>,
    /// What else it was asked for.
    pub(crate) asked: Mutex<Vec<(&'static str, Time)>>,
    attachments: watch::Sender<u64>,
    here: AtomicBool,
    undoes: AtomicBool,
}

impl App {
    pub(crate) fn leave(&self) {
        self.here.store(false, Ordering::SeqCst);
    }

    pub(crate) fn attach(&self) {
        self.here.store(true, Ordering::SeqCst);
        self.attachments.send_modify(|times| *times += 1);
    }

    /// From now on it says "not now" when it is asked to undo something.
    pub(crate) fn undoes_nothing(&self) {
        self.undoes.store(false, Ordering::SeqCst);
    }

    fn ask(&self, what: &'static str) -> Result<(), WorkerError> {
        if !self.here.load(Ordering::SeqCst) {
            return Err(WorkerError::NoWorker { app: "app".into() });
        }
        let asked = (what, self.clock.now());
        self.asked.lock().expect("not poisoned").push(asked);
        Ok(())
    }
}

#[async_trait]
impl Workers for App {
    fn apps(&self) -> Vec<String> {
        let here = self.here.load(Ordering::SeqCst);
        here.then(|| "app".into()).into_iter().collect()
    }

    fn attachments(&self) -> watch::Receiver<u64> {
        self.attachments.subscribe()
    }

    async fn redrive(&self, _: &RecoveryTask, _: &str) -> Result<(), WorkerError> {
        self.ask("redrive")
    }

    async fn status_check(&self, _: &str, _: &EffectCall, _: &str) -> Result<StatusAnswer, WorkerError> {
        Err(WorkerError::NoWorker { app: "app".into() })
    }

    async fn compensate(&self, _: &str, _: &ObligationCall) -> Result<CompensateAnswer, WorkerError> {
        self.ask("compensate")?;
        if self.undoes.load(Ordering::SeqCst) {
            return Ok(CompensateAnswer::Resolved(Receipt::default()));
        }
        Ok(CompensateAnswer::Failed(Failure {
            kind: FailureKind::Unavailable,
            code: "busy".into(),
            message: "not now".into(),
            retryable: true,
            retry_after_ms: Some(20_000),
        }))
    }

    async fn timer(&self, _: &str, _: &str, timer: &TimerTask) -> Result<(), WorkerError> {
        self.ask("timer")?;
        let told = (timer.fire_at.0, self.clock.now());
        self.told.lock().expect("not poisoned").push(told);
        Ok(())
    }
}

pub(crate) struct Stage {
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Arc<Hand>,
    pub(crate) app: Arc<App>,
    pub(crate) run: RunId,
    pub(crate) begun: Time,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let clock = Arc::new(Hand {
            origin: Instant::now(),
            turned: AtomicI64::new(0),
        });
        let engine = Arc::new(Engine::new(
            Arc::new(MemoryStore::new()),
            clock.clone(),
            Arc::new(Count::default()),
            Arc::new(NoConnectors),
            EngineConfig::default(),
        ));
        let identity = RunIdentity {
            tenant: String::new(),
            app: "app".into(),
            user: "u".into(),
            session: "s".into(),
            invocation: "i".into(),
        };
        let start = StartRun {
            identity,
            caller: Caller::default(),
            input_json: String::new(),
        };
        let run = engine.execute(&start, None).await.unwrap().run.id;
        let app = Arc::new(App {
            clock: clock.clone(),
            told: Mutex::default(),
            asked: Mutex::default(),
            attachments: watch::Sender::new(0),
            here: AtomicBool::new(true),
            undoes: AtomicBool::new(true),
        });
        let begun = clock.now();
        let stage = Self {
            engine,
            clock,
            app,
            run,
            begun,
        };
        stage.arm(AT).await;
        stage
    }

    pub(crate) async fn arm(&self, at: i64) {
        self.set_timer("t", self.begun.after(at)).await;
    }

    pub(crate) async fn set_timer(&self, id: &str, fire_at: Time) {
        let set = SetTimer {
            run: self.run.clone(),
            id: id.to_owned(),
            fire_at,
            kind: "remind".into(),
            payload_json: String::new(),
        };
        self.engine.execute(&set, None).await.unwrap();
    }

    pub(crate) fn reactor(&self, owner: &str) -> Timers {
        let identity = Identity {
            owner: owner.to_owned(),
            claim_ms: CLAIM_MS,
            abandon: CancellationToken::new(),
        };
        Timers::new(self.engine.clone(), self.app.clone(), identity, LEAD_MS)
    }

    pub(crate) fn claim(&self, owner: &str, ahead_ms: i64) -> ClaimTimer {
        ClaimTimer {
            run: self.run.clone(),
            id: "t".into(),
            owner: owner.to_owned(),
            ttl_ms: CLAIM_MS,
            ahead_ms,
            at_once: false,
        }
    }

    /// What the reactor sees now.
    pub(crate) async fn due(&self) -> Vec<DueItem> {
        let work = DueWork {
            ahead_ms: LEAD_MS,
            ..DueWork::all(DueKind::Timers, 10)
        };
        self.engine.due(&work).await.unwrap()
    }

    /// Looks every millisecond, as `owner`, until `ms` after the start; each row is handled beside the looking.
    pub(crate) async fn live(&self, owner: &str, ms: i64) {
        let reactor = Arc::new(self.reactor(owner));
        let mut handling = tokio::task::JoinSet::new();
        while self.begun.after(ms) > self.clock.now() {
            if handling.is_empty() {
                for item in self.due().await {
                    let reactor = reactor.clone();
                    handling.spawn(async move { reactor.handle(&item).await });
                }
            }
            sleep(Duration::from_millis(1)).await;
            while let Some(handled) = handling.try_join_next() {
                handled.unwrap().unwrap();
            }
        }
        while let Some(handled) = handling.join_next().await {
            handled.unwrap().unwrap();
        }
    }

    /// When the app was told, from the start, and of a timer for when.
    pub(crate) fn told(&self) -> Vec<(i64, i64)> {
        let told = self.app.told.lock().expect("not poisoned");
        let since = |at: i64| at - self.begun.0;
        told.iter()
            .map(|(fire_at, now)| (since(*fire_at), since(now.0)))
            .collect()
    }

    pub(crate) async fn state(&self) -> TimerState {
        self.engine.timer(&self.run, "t").await.unwrap().unwrap().state
    }

    pub(crate) async fn until(&self, ms: i64) {
        let wait = self.begun.after(ms).since(self.clock.now());
        sleep(Duration::from_millis(u64::try_from(wait).unwrap_or_default())).await;
    }
}
