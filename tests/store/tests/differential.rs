//! The same commands over each of the three stores, at random from a seed: the answers, the journals, the rows, the listings
//! and the work that waits are the same, whatever keeps them.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_connector_port::NoConnectors;
use tape_core::command::begin_effect::{BeginEffect, Known};
use tape_core::command::begin_run::{BeginRun, LeaseRequest};
use tape_core::command::budget::{AdmitBudget, SetBudget};
use tape_core::command::compensate::{CompensateRun, StepCompensation};
use tape_core::command::decision::RecordDecision;
use tape_core::command::dispatch::{ClaimDispatch, Outcome, SettleDispatch};
use tape_core::command::end_run::CancelRun;
use tape_core::command::gate::{AwaitSignal, SendSignal};
use tape_core::command::recovery::LoseLease;
use tape_core::command::timer::{CancelTimer, ClaimTimer, SetTimer};
use tape_core::effect::{Handle, Mode, Semantics};
use tape_core::lease::Driver;
use tape_core::run::{Caller, CompensationPolicy};
use tape_core::{Command, DueKind, RunId, RunIdentity, Time};
use tape_engine::{Engine, EngineConfig, RunFilter};
use tape_port::{Clock, DueWork, Luck, TapeError};
use tape_store::Store;
use tape_store_memory::MemoryStore;
use tape_store_postgres::{PostgresConfig, PostgresStore};
use tape_store_sqlite::{SqliteConfig, SqliteStore};
use tape_store_tests::cluster::Cluster;

const SEEDS: u64 = 3;
const STEPS: u32 = 150;
const RUNS: u32 = 5;

/// A clock that stands still until it is turned; the same luck every time.
struct Fixed(AtomicI64);

impl Clock for Fixed {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

impl Luck for Fixed {
    fn fresh(&self) -> String {
        "fresh".into()
    }

    fn jitter(&self) -> u16 {
        500
    }
}

/// A server over one of the stores, alone with its own clock.
struct Side {
    engine: Engine,
    store: Arc<dyn Store>,
    clock: Arc<Fixed>,
    dice: ChaCha8Rng,
}

impl Side {
    fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        let clock = Arc::new(Fixed(AtomicI64::new(1_000_000)));
        let engine = Engine::new(
            store.clone(),
            clock.clone(),
            clock.clone(),
            Arc::new(NoConnectors),
            EngineConfig::default(),
        );
        Self {
            engine,
            store,
            clock,
            dice: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    async fn ask<C: Command>(&self, command: C) -> String
    where
        C::Reply: Debug,
    {
        told(self.engine.execute(&command, None).await)
    }

    /// One command, as the dice say; its answer.
    async fn step(&mut self) -> String {
        let n = self.dice.random_range(0..RUNS);
        let (which, small) = (self.dice.random_range(0..16_u32), self.dice.random_range(0..4_u8));
        let identity = identity(n);
        let run = RunId::derive(&identity);
        let owner = format!("owner-{}", small % 2);
        let fence = self.engine.run(&run).await.map_or(0, |run| run.fence);
        let driver = Driver {
            fence: Some(fence - u64::from(small == 3 && fence > 0)),
            owner: None,
        };
        let effect = effect(&run, driver.clone(), small);
        let key = effect.key();
        let attempts = self.engine.effect(&run, &key).await.ok().flatten();
        let attempt = attempts.and_then(|effect| effect.attempt().map(|a| (a.number, a.owner.clone())));
        let (gate, request) = (format!("gate-{}", small % 2), format!("request-{small}"));
        match which {
            0 | 1 => {
                let lease = LeaseRequest {
                    owner,
                    ttl_ms: 0,
                    fenced: true,
                };
                let (caller, input_json) = (Caller::default(), "{}".into());
                self.ask(BeginRun {
                    identity,
                    caller,
                    input_json,
                    lease,
                })
                .await
            }
            2 => {
                let reason = "gone".into();
                self.ask(LoseLease { run, owner, reason }).await
            }
            3 | 4 => self.ask(decision(run, driver, small)).await,
            5 | 6 => told(self.engine.begin_effect(effect, None).await.map(|begun| begun.effect)),
            7 | 8 => {
                self.ask(ClaimDispatch {
                    run,
                    key,
                    owner,
                    ttl_ms: 0,
                    two_phase: small == 0,
                    connectors: None,
                })
                .await
            }
            9 => {
                let (attempt, owner) = attempt.unwrap_or((0, owner));
                let outcome = match small {
                    0 | 1 => Outcome::Confirmed {
                        external_ref: request,
                        response_json: "{}".into(),
                    },
                    2 => Outcome::Failed {
                        error_json: "{}".into(),
                        retryable: true,
                        retry_after_ms: None,
                    },
                    _ => Outcome::Unknown {
                        reason: "no answer".into(),
                    },
                };
                self.ask(SettleDispatch {
                    run,
                    key,
                    owner,
                    attempt,
                    outcome,
                    evidence_json: String::new(),
                    version: String::new(),
                    digest: String::new(),
                })
                .await
            }
            10 => {
                self.ask(AwaitSignal {
                    run,
                    driver,
                    gate,
                    index: 0,
                    payload_json: String::new(),
                    timeout_ms: 500,
                })
                .await
            }
            11 => {
                self.ask(SendSignal {
                    run,
                    gate,
                    resolution_json: "1".into(),
                    request_id: request,
                })
                .await
            }
            12 => {
                self.ask(SetTimer {
                    run,
                    id: owner,
                    fire_at: Time(1_000_000 + i64::from(small) * 1_000),
                    kind: "mine".into(),
                    payload_json: String::new(),
                })
                .await
            }
            13 if small == 0 => self.ask(CancelTimer { run, id: owner }).await,
            13 => {
                let id = owner.clone();
                self.ask(ClaimTimer {
                    run,
                    id,
                    owner,
                    ttl_ms: 0,
                    ahead_ms: i64::from(small) * 100,
                    at_once: small == 3,
                })
                .await
            }
            14 if small == 0 => {
                self.ask(SetBudget {
                    run,
                    usd_cap_micros: 100,
                    token_cap: 0,
                })
                .await
            }
            14 => {
                self.ask(AdmitBudget {
                    run,
                    driver,
                    request_id: request,
                    usd_micros: 40,
                    tokens: 1,
                })
                .await
            }
            _ if small == 0 && n == 0 => {
                let reason = "enough".into();
                self.ask(CancelRun { run, reason }).await
            }
            _ if small == 1 => {
                let (reason, policy) = ("wrong".into(), CompensationPolicy::GoOn);
                self.ask(CompensateRun { run, reason, policy }).await
            }
            _ if small == 2 => {
                let at_once = n % 2 == 0;
                self.ask(StepCompensation { run, at_once }).await
            }
            _ => {
                self.clock.0.fetch_add(i64::from(n) * 20_000, Ordering::SeqCst);
                "time passed".into()
            }
        }
    }

    /// All that can be seen from outside.
    async fn seen(&self) -> Vec<String> {
        let mut seen = Vec::new();
        for n in 0..RUNS {
            let run = RunId::derive(&identity(n));
            seen.push(told(self.engine.dump_rows(&run).await));
            seen.push(told(self.engine.dump_journal(&run, 1).await));
        }
        for app in [None, Some("app-0"), Some("app-1")] {
            let filter = RunFilter {
                app: app.map(str::to_owned),
                limit: 2,
                ..RunFilter::default()
            };
            seen.push(told(self.engine.list_runs(&filter).await));
        }
        seen.push(told(self.engine.count_runs().await));
        for kind in DueKind::ALL {
            let work = DueWork {
                kind,
                tenants: None,
                apps: None,
                served: None,
                ahead_ms: 1_000_000,
                limit: 100,
            };
            let mut items = self.engine.due_work(&work).await.expect("work");
            // Of the same time in any order.
            items.sort_by(|a, b| (a.at, &a.run, &a.key).cmp(&(b.at, &b.run, &b.key)));
            seen.push(format!("{kind:?} {items:?}"));
            seen.push(told(self.engine.count_due(kind).await));
        }
        seen
    }
}

fn told<T: Debug>(answer: Result<T, TapeError>) -> String {
    format!("{answer:?}")
}

fn identity(n: u32) -> RunIdentity {
    RunIdentity {
        app: format!("app-{}", n % 2),
        invocation: format!("i-{n}"),
        ..RunIdentity::default()
    }
}

fn decision(run: RunId, driver: Driver, n: u8) -> RecordDecision {
    RecordDecision {
        run,
        driver,
        index: i64::from(n),
        model: "m".into(),
        request_json: "{}".into(),
        response_json: "\"Grüße\\u0000\"".into(),
        rationale: String::new(),
        policy_version: String::new(),
    }
}

fn effect(run: &RunId, driver: Driver, n: u8) -> BeginEffect {
    let handle = Handle {
        function: "app:undo".into(),
        ..Handle::default()
    };
    BeginEffect {
        run: run.clone(),
        driver,
        decision_index: 0,
        tool: "wire".into(),
        call_index: i32::from(n % 2),
        request_json: "{}".into(),
        custom_key: String::new(),
        semantics: if n.is_multiple_of(2) {
            Semantics::NonIdempotent
        } else {
            Semantics::Idempotent
        },
        mode: Mode::Outbox,
        business_key: if n.is_multiple_of(2) {
            "invoice".into()
        } else {
            String::new()
        },
        connector: "bank".into(),
        operation: "wire".into(),
        scope: String::new(),
        deadline: Time::ZERO,
        handle: Some(handle),
        status_check: String::new(),
        allow_unsafe: false,
        known: Known::default(),
    }
}

#[tokio::test]
async fn every_store_gives_the_same_answers_and_keeps_the_same() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a folder");
    for seed in 0..SEEDS {
        let sqlite = SqliteConfig::new(folder.path().join(format!("{seed}.db")));
        let postgres = PostgresConfig::parse(&cluster.database(&format!("seed{seed}")).await).expect("a URL");
        let mut memory = Side::new(Arc::new(MemoryStore::new()), seed);
        let mut others = [
            Side::new(Arc::new(SqliteStore::open(&sqlite).await.expect("a store")), seed),
            Side::new(Arc::new(PostgresStore::open(&postgres).await.expect("a store")), seed),
        ];
        for step in 0..STEPS {
            let expected = memory.step().await;
            for (side, other) in others.iter_mut().enumerate() {
                assert_eq!(other.step().await, expected, "seed {seed}, step {step}, store {side}");
            }
        }
        let expected = memory.seen().await;
        for (side, other) in others.iter().enumerate() {
            assert_eq!(other.seen().await, expected, "seed {seed}, store {side}");
            other.store.close().await;
        }
    }
}
