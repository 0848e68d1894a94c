//! Timers are claimed a little ahead of their time. Whatever happens while one is held: it fires once, and never before its time.

#![allow(clippy::unwrap_used, reason = "a test fails by it, also in its helpers")]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tape_connector_port::{CompensateAnswer, EffectCall, NoConnectors, ObligationCall, StatusAnswer};
use tape_core::command::begin_run::StartRun;
use tape_core::command::timer::{CancelTimer, ClaimTimer, FireTimer, SetTimer};
use tape_core::run::Caller;
use tape_core::timer::TimerState;
use tape_core::{DueKind, RunId, RunIdentity, Time};
use tape_engine::{Engine, EngineConfig};
use tape_port::{Clock, DueItem, DueWork, Luck, RecoveryTask, Tape, TimerTask, WorkerError, Workers};
use tape_reactors::{Identity, Reactor as _, Timers};
use tape_store_memory::MemoryStore;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const LEAD_MS: i64 = 20;
const CLAIM_MS: i64 = 5_000;
/// When the timer of a test is to fire, from its start.
const AT: i64 = 1_000;

/// A clock that runs with the paused time of the test, and can be turned.
struct Hand {
    origin: Instant,
    turned: AtomicI64,
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
        0
    }
}

/// The app: notes when it was told of a timer.
struct App {
    clock: Arc<Hand>,
    told: Mutex<Vec<(i64, Time)>>,
}

#[async_trait]
impl Workers for App {
    fn apps(&self) -> Vec<String> {
        vec!["app".into()]
    }

    async fn attached(&self) {
        std::future::pending::<()>().await;
    }

    async fn redrive(&self, _: &RecoveryTask, _: &str) -> Result<(), WorkerError> {
        Ok(())
    }

    async fn status_check(&self, _: &str, _: &EffectCall, _: &str) -> Result<StatusAnswer, WorkerError> {
        Err(nobody())
    }

    async fn compensate(&self, _: &str, _: &ObligationCall) -> Result<CompensateAnswer, WorkerError> {
        Err(nobody())
    }

    async fn timer(&self, _: &str, _: &str, timer: &TimerTask) -> Result<(), WorkerError> {
        let told = (timer.fire_at.0, self.clock.now());
        self.told.lock().expect("not poisoned").push(told);
        Ok(())
    }
}

fn nobody() -> WorkerError {
    WorkerError::NoWorker { app: "app".into() }
}

struct Stage {
    engine: Arc<Engine>,
    clock: Arc<Hand>,
    app: Arc<App>,
    run: RunId,
    begun: Time,
}

impl Stage {
    async fn set() -> Self {
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

    async fn arm(&self, at: i64) {
        let set = SetTimer {
            run: self.run.clone(),
            id: "t".into(),
            fire_at: self.begun.after(at),
            kind: "remind".into(),
            payload_json: String::new(),
        };
        self.engine.execute(&set, None).await.unwrap();
    }

    fn reactor(&self, owner: &str) -> Timers {
        Timers {
            tape: self.engine.clone(),
            workers: self.app.clone(),
            identity: Identity {
                owner: owner.to_owned(),
                claim_ms: CLAIM_MS,
                abandon: CancellationToken::new(),
            },
            lead_ms: LEAD_MS,
        }
    }

    fn claim(&self, owner: &str, ahead_ms: i64) -> ClaimTimer {
        ClaimTimer {
            run: self.run.clone(),
            id: "t".into(),
            owner: owner.to_owned(),
            ttl_ms: CLAIM_MS,
            ahead_ms,
        }
    }

    /// What the reactor sees now.
    async fn due(&self) -> Vec<DueItem> {
        let work = DueWork {
            ahead_ms: LEAD_MS,
            ..DueWork::all(DueKind::Timers, 10)
        };
        self.engine.due(&work).await.unwrap()
    }

    /// Looks every millisecond, as `owner`, until `ms` after the start; each row is handled beside the looking.
    async fn live(&self, owner: &str, ms: i64) {
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
    fn told(&self) -> Vec<(i64, i64)> {
        let told = self.app.told.lock().expect("not poisoned");
        let since = |at: i64| at - self.begun.0;
        told.iter()
            .map(|(fire_at, now)| (since(*fire_at), since(now.0)))
            .collect()
    }

    async fn state(&self) -> TimerState {
        self.engine.timer(&self.run, "t").await.unwrap().unwrap().state
    }

    async fn until(&self, ms: i64) {
        let wait = self.begun.after(ms).since(self.clock.now());
        sleep(Duration::from_millis(u64::try_from(wait).unwrap_or_default())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_is_held_from_before_its_time_and_fires_at_it() {
    let stage = Stage::set().await;
    stage.until(AT - LEAD_MS - 1).await;
    assert!(stage.due().await.is_empty());
    let ahead = stage.engine.execute(&stage.claim("a", LEAD_MS), None).await.unwrap();
    assert_eq!(ahead, None, "no more ahead than that");
    stage.live("a", AT - 2).await;
    assert_eq!(stage.told(), [(AT, AT)]);
    assert_eq!(stage.state().await, TimerState::Fired);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_cancelled_while_it_is_held_does_not_fire() {
    let stage = Stage::set().await;
    let cancelling = async {
        stage.until(AT - 1).await;
        assert!(matches!(stage.state().await, TimerState::Claimed(_)), "it is held");
        let cancel = CancelTimer {
            run: stage.run.clone(),
            id: "t".into(),
        };
        assert!(stage.engine.execute(&cancel, None).await.unwrap());
    };
    tokio::join!(stage.live("a", 3 * AT), cancelling);
    assert_eq!(stage.told(), []);
    assert_eq!(stage.state().await, TimerState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_set_anew_while_it_is_held_fires_once_at_its_new_time() {
    for later in [AT + 5, AT + 500, 2 * AT + CLAIM_MS] {
        let stage = Stage::set().await;
        let arming = async {
            stage.until(AT - 1).await;
            assert!(matches!(stage.state().await, TimerState::Claimed(_)), "it is held");
            stage.arm(later).await;
        };
        tokio::join!(stage.live("a", 3 * AT + CLAIM_MS), arming);
        assert_eq!(stage.told(), [(later, later)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_turned_back_makes_no_timer_early_nor_holds_up_who_holds_it() {
    const BACK: i64 = 3_600_000;
    let stage = Stage::set().await;
    stage.until(AT - LEAD_MS).await;
    let item = stage.due().await.remove(0);
    let reactor = stage.reactor("a");
    let turning = async {
        sleep(Duration::from_millis(5)).await;
        stage.clock.turned.store(-BACK, Ordering::SeqCst);
    };
    let (handled, ()) = tokio::join!(
        tokio::time::timeout(Duration::from_secs(1), reactor.handle(&item)),
        turning
    );
    handled.expect("it does not wait for an hour").unwrap();
    assert_eq!(stage.told(), []);
    let fire = FireTimer {
        run: stage.run.clone(),
        id: "t".into(),
        owner: "a".into(),
    };
    stage.engine.execute(&fire, None).await.unwrap();
    assert_ne!(
        stage.state().await,
        TimerState::Fired,
        "not even its holder makes it early"
    );
    // The clock arrives there once more.
    stage.until(AT - LEAD_MS - 1).await;
    stage.live("a", AT + CLAIM_MS).await;
    let told = stage.told();
    assert!(told.len() == 1 && told[0].1 >= AT && told[0].1 <= AT + 1, "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_timer_whose_holder_died_is_taken_over_when_its_claim_runs_out_and_not_before() {
    let stage = Stage::set().await;
    stage.until(AT - LEAD_MS).await;
    // Claimed by a process that dies before the time has come.
    let held = stage.engine.execute(&stage.claim("dead", LEAD_MS), None).await.unwrap();
    assert!(held.is_some());
    let runs_out = AT - LEAD_MS + CLAIM_MS;
    stage.until(runs_out - 1).await;
    let early = stage.engine.execute(&stage.claim("b", LEAD_MS), None).await.unwrap();
    assert_eq!(early, None, "looking ahead takes nothing from who holds it still");
    stage.live("b", runs_out + AT).await;
    let told = stage.told();
    assert!(told.len() == 1 && told[0].0 == AT, "{told:?}");
    assert!(told[0].1 >= runs_out && told[0].1 <= runs_out + 2, "{told:?}");
    // The dead one was only asleep: nothing that it does counts.
    let fire = FireTimer {
        run: stage.run.clone(),
        id: "t".into(),
        owner: "dead".into(),
    };
    stage.engine.execute(&fire, None).await.unwrap();
    let again = stage.engine.execute(&stage.claim("dead", LEAD_MS), None).await.unwrap();
    assert_eq!(again, None);
}
