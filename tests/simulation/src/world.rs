//! The world of one seed: what happens, step by step, until everything has come to rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tape_core::command::begin_run::StartRun;
use tape_core::run::{Caller, RunState};
use tape_core::{RunId, RunIdentity};
use tape_store_memory::MemoryStore;

use crate::agent::{After, Agent, Deeds};
use crate::bank::Bank;
use crate::faults::Fate;
use crate::invariants;
use crate::server::{Calls, Server};

/// Runs of a world.
const RUNS: u64 = 2;
/// Steps under faults.
const CRUEL_STEPS: u32 = 250;
/// Steps that a world has to come to rest once the faults have ended.
const REST_STEPS: u32 = 4_000;

/// What a seed came to.
#[derive(Debug)]
pub struct Outcome {
    /// Steps taken.
    pub steps: u32,
    /// Servers that died.
    pub crashes: u32,
    /// What was wrong, after the step at which it was first seen. Empty = nothing.
    pub wrong: Vec<String>,
}

struct World {
    fate: Arc<Fate>,
    store: Arc<MemoryStore>,
    bank: Arc<Bank>,
    calls: Arc<Calls>,
    server: Server,
    crashes: u32,
    runs: Vec<RunId>,
    agents: Vec<Agent>,
    names: u32,
    deeds: Deeds,
}

/// Lives through one seed.
pub async fn simulate(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    let mut steps = 0;
    for _ in 0..CRUEL_STEPS {
        steps += 1;
        world.step().await;
        let wrong = world.wrong().await;
        if !wrong.is_empty() {
            return Outcome {
                steps,
                crashes: world.crashes,
                wrong,
            };
        }
    }
    world.fate.cruel.store(false, Ordering::Relaxed);
    for _ in 0..REST_STEPS {
        steps += 1;
        world.step().await;
        let wrong = world.wrong().await;
        if !wrong.is_empty() || world.at_rest().await {
            return Outcome {
                steps,
                crashes: world.crashes,
                wrong,
            };
        }
    }
    let mut wrong = vec!["invariant 10: the world does not come to rest".to_owned()];
    for run in &world.runs {
        if let Some(stored) = invariants::read(&world.store, run).await {
            let effects: Vec<_> = stored
                .effects
                .iter()
                .map(|e| (e.intent.tool.clone(), e.state.clone()))
                .collect();
            wrong.push(format!("{run}: {:?}, {effects:?}", stored.run.state));
        }
    }
    Outcome {
        steps,
        crashes: world.crashes,
        wrong,
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let fate = Arc::new(Fate::new(seed));
        let store = Arc::new(MemoryStore::new());
        let bank = Arc::new(Bank::new(fate.clone()));
        let calls = Arc::new(Calls::default());
        let server = Server::start(&store, &fate, &bank, &calls, 0);
        Self {
            fate,
            store,
            bank,
            calls,
            server,
            crashes: 0,
            runs: Vec::new(),
            agents: Vec::new(),
            names: 0,
            deeds: Deeds::default(),
        }
    }

    async fn step(&mut self) {
        if self.server.dead() {
            self.crashes += 1;
            self.server = Server::start(&self.store, &self.fate, &self.bank, &self.calls, self.crashes);
        }
        if self.runs.len() < usize::try_from(RUNS).unwrap_or_default() {
            self.start_run().await;
            return;
        }
        match self.fate.below(10) {
            0..=4 => self.agent_step().await,
            5..=7 => {
                let index = usize::try_from(self.fate.below(self.server.reactors() as u64)).unwrap_or_default();
                self.server.pass(index).await;
            }
            8 => {
                let ms = [1, 50, 1_000, 4_000][usize::try_from(self.fate.below(4)).unwrap_or_default()];
                // The reconciler waits up to 20 minutes between questions: time has to get there.
                self.fate.pass_time(if self.fate.cruel.load(Ordering::Relaxed) {
                    ms
                } else {
                    ms * 20
                });
            }
            _ => self.somebody_dies(),
        }
    }

    async fn start_run(&mut self) {
        let identity = RunIdentity {
            app: "app".into(),
            user: "user".into(),
            session: "session".into(),
            invocation: format!("invocation-{}", self.runs.len()),
            ..RunIdentity::default()
        };
        let run = RunId::derive(&identity);
        let start = StartRun {
            identity,
            caller: Caller::default(),
            input_json: String::new(),
        };
        if let Ok(begun) = self.server.engine.execute(&start, None).await {
            assert_eq!(begun.run.id, run, "the id follows from the identity");
            self.runs.push(run);
        }
    }

    async fn agent_step(&mut self) {
        if let Some(run) = self.calls.take() {
            self.names += 1;
            self.agents.push(Agent::new(run, format!("agent-{}", self.names)));
        }
        if self.agents.is_empty() {
            return;
        }
        let index = usize::try_from(self.fate.below(self.agents.len() as u64)).unwrap_or_default();
        // Agents that lost their run go on as ghosts until they find out: that is the test of the fence.
        if let After::Gone = self.agents[index]
            .step(&self.server.engine, &self.fate, &mut self.deeds)
            .await
        {
            self.agents.swap_remove(index);
        }
    }

    fn somebody_dies(&mut self) {
        if self.fate.strikes(40) && !self.agents.is_empty() {
            let index = usize::try_from(self.fate.below(self.agents.len() as u64)).unwrap_or_default();
            self.agents.swap_remove(index);
        } else if self.fate.strikes(20) {
            self.server.alive.store(false, Ordering::Relaxed);
        }
    }

    async fn wrong(&self) -> Vec<String> {
        invariants::check(&self.store, &self.runs, &self.deeds, &self.bank).await
    }

    /// Every run has ended.
    async fn at_rest(&self) -> bool {
        for run in &self.runs {
            let ended = invariants::read(&self.store, run).await.is_some_and(|stored| {
                matches!(
                    stored.run.state,
                    RunState::Terminal | RunState::Failed | RunState::Stuck
                )
            });
            if !ended {
                return false;
            }
        }
        self.runs.len() == usize::try_from(RUNS).unwrap_or_default()
    }
}
