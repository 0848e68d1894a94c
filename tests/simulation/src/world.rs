//! The world of one seed: what happens, step by step, until everything has come to rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tape_core::command::begin_run::StartRun;
use tape_core::command::compensate::CompensateRun;
use tape_core::run::{Caller, CompensationPolicy, RunState};
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
    servers: Vec<Server>,
    started: u32,
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
        let count = u32::try_from(1 + fate.below(3)).unwrap_or(1);
        let start = |number| Server::start(&store, &fate, &bank, &calls, number);
        let servers = (0..count).map(start).collect();
        Self {
            fate,
            store,
            bank,
            calls,
            servers,
            started: count,
            crashes: 0,
            runs: Vec::new(),
            agents: Vec::new(),
            names: 0,
            deeds: Deeds::default(),
        }
    }

    async fn step(&mut self) {
        for server in self.servers.iter_mut().filter(|server| server.dead()) {
            self.crashes += 1;
            self.started += 1;
            *server = Server::start(&self.store, &self.fate, &self.bank, &self.calls, self.started);
        }
        if self.runs.len() < usize::try_from(RUNS).unwrap_or_default() {
            self.start_run().await;
            return;
        }
        match self.fate.below(10) {
            0..=4 => self.agent_step().await,
            5..=7 => {
                let server = self.any_server();
                let index = usize::try_from(self.fate.below(server.reactors() as u64)).unwrap_or_default();
                server.pass(index).await;
            }
            8 => {
                let ms = [1, 50, 1_000, 4_000][usize::try_from(self.fate.below(4)).unwrap_or_default()];
                if self.fate.strikes(3) {
                    self.fate.jump();
                }
                // The reconciler waits up to 20 minutes between questions: time has to get there.
                self.fate.pass_time(if self.fate.cruel.load(Ordering::Relaxed) {
                    ms
                } else {
                    ms * 20
                });
            }
            _ if self.fate.strikes(4) => self.ask_to_undo().await,
            _ => self.somebody_dies(),
        }
    }

    /// Somebody asks for a run to be compensated, wherever it stands.
    async fn ask_to_undo(&mut self) {
        let index = usize::try_from(self.fate.below(self.runs.len() as u64)).unwrap_or_default();
        let run = self.runs[index].clone();
        let command = CompensateRun {
            run: run.clone(),
            reason: "wrong".into(),
            policy: match self.fate.below(2) {
                0 => CompensationPolicy::GoOn,
                _ => CompensationPolicy::StopAtStuck,
            },
        };
        self.deeds.undoing.insert(run);
        // Without an answer it may be done or not: it was asked for.
        drop(self.any_server().engine.execute(&command, None).await);
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
        if let Ok(begun) = self.any_server().engine.execute(&start, None).await {
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
        // Each call goes to whichever server the network leads it to.
        let engine = self.any_server().engine.clone();
        if let After::Gone = self.agents[index].step(&engine, &self.fate, &mut self.deeds).await {
            self.agents.swap_remove(index);
        }
    }

    fn somebody_dies(&mut self) {
        if self.fate.strikes(40) && !self.agents.is_empty() {
            let index = usize::try_from(self.fate.below(self.agents.len() as u64)).unwrap_or_default();
            self.agents.swap_remove(index);
        } else if self.fate.strikes(20) {
            self.any_server().alive.store(false, Ordering::Relaxed);
        }
    }

    async fn wrong(&self) -> Vec<String> {
        let mut wrong = invariants::check(&self.store, &self.runs, &self.deeds, &self.bank).await;
        for (run, fire_at, now) in self.calls.timers().iter().filter(|(_, fire_at, now)| now.0 < *fire_at) {
            wrong.push(format!(
                "invariant 7: a timer of {run} for {fire_at} fired at {}",
                now.0
            ));
        }
        wrong
    }

    fn any_server(&self) -> &Server {
        let index = usize::try_from(self.fate.below(self.servers.len() as u64)).unwrap_or_default();
        &self.servers[index]
    }

    /// Every run has ended, and every timer that was acknowledged has fired, with somebody having been told.
    async fn at_rest(&self) -> bool {
        for run in &self.runs {
            let ended = invariants::read(&self.store, run).await.is_some_and(|stored| {
                matches!(
                    stored.run.state,
                    RunState::Terminal | RunState::Failed | RunState::Stuck
                )
            });
            let told = self.calls.timers().iter().any(|(of, ..)| of == run);
            let fired = !self.deeds.timers.contains(run) || (told && invariants::fired(&self.store, run).await);
            if !ended || !fired {
                return false;
            }
        }
        self.runs.len() == usize::try_from(RUNS).unwrap_or_default()
    }
}
