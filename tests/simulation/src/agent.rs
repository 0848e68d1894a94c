//! An agent: decides and acts through the engine, one call at a time, and can be left behind at any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tape_core::command::begin_effect::{BeginEffect, Known};
use tape_core::command::begin_run::{LeaseRequest, ResumeRun};
use tape_core::command::budget::{AdmitBudget, ChargeBudget, SetBudget};
use tape_core::command::complete_effect::{CompleteEffect, Completion};
use tape_core::command::decision::RecordDecision;
use tape_core::command::end_run::EndRun;
use tape_core::command::timer::SetTimer;
use tape_core::effect::{Effect, EffectState, Handle, Mode, Semantics};
use tape_core::lease::Driver;
use tape_core::run::Ending;
use tape_core::{EffectKey, RunId, Time};
use tape_engine::Engine;
use tape_port::TapeError;

use crate::faults::Fate;

/// How long an agent's lease lasts in the simulation.
const LEASE_MS: i64 = 3_000;
/// Decisions of every run; each is followed by one effect.
pub(crate) const DECISIONS: i64 = 3;

/// What a run may spend, and what each of its turns costs: the last one does not fit.
pub(crate) const CAP_MICROS: i64 = 10;
const TURN_MICROS: i64 = 4;
/// When a run's timer fires, from its start on.
const REMIND_AFTER_MS: i64 = 6_000;

/// What agents did in the world, over all of them.
#[derive(Default)]
pub(crate) struct Deeds {
    /// Bodies of inline effects that ran, by key.
    pub(crate) bodies: BTreeMap<EffectKey, u32>,
    /// Decisions that were acknowledged: they must be there, as they are, for ever.
    pub(crate) decisions: BTreeMap<(RunId, i64), String>,
    /// Effects whose outcome was acknowledged as confirmed, with their result.
    pub(crate) confirmed: BTreeMap<EffectKey, String>,
    /// Runs whose timer was acknowledged.
    pub(crate) timers: BTreeSet<RunId>,
    /// Runs that somebody asked to be compensated, whether he was answered or not.
    pub(crate) undoing: BTreeSet<RunId>,
    /// Runs whose ending was acknowledged.
    pub(crate) ended: Vec<RunId>,
    /// What went against the rules.
    pub(crate) violations: Vec<String>,
}

/// One driver of one run.
pub(crate) struct Agent {
    pub(crate) run: RunId,
    pub(crate) name: String,
    fence: Option<u64>,
    at: Step,
    failed: bool,
}

/// What the agent does next.
#[derive(Clone, Debug)]
enum Step {
    Attach,
    Decide(i64),
    Record(i64, String),
    Cap,
    Admit(i64),
    Charge(i64),
    Remind,
    Begin(i64),
    Body(i64, EffectKey),
    Complete(i64, EffectKey, String),
    Wait(i64, EffectKey),
    End,
}

/// What became of an agent after a step.
pub(crate) enum After {
    /// It goes on.
    Working,
    /// It has nothing more to do here.
    Gone,
}

impl Agent {
    pub(crate) fn new(run: RunId, name: String) -> Self {
        Self {
            run,
            name,
            fence: None,
            at: Step::Attach,
            failed: false,
        }
    }

    /// Whether the next call is one that the network may deliver twice; a body is run by the agent itself.
    fn repeats(&self) -> bool {
        !matches!(self.at, Step::Body(..))
    }

    fn driver(&self) -> Driver {
        Driver {
            fence: self.fence,
            owner: Some(self.name.clone()),
        }
    }

    /// The next call. The same one again where the server does not answer.
    pub(crate) async fn step(&mut self, engine: &Arc<Engine>, fate: &Fate, deeds: &mut Deeds) -> After {
        let held = self.fence;
        if self.repeats() && fate.strikes(5) {
            // The network delivers the request twice; only the second answer arrives.
            let first = self.try_step(engine, fate, deeds).await;
            drop(first);
        }
        match self.try_step(engine, fate, deeds).await {
            Ok(Some(next)) => {
                if let Some(held) = held {
                    self.check_fence(engine, held, deeds).await;
                }
                self.at = next;
                After::Working
            }
            Ok(None) => After::Gone,
            Err(TapeError::Unavailable(_)) => After::Working,
            // Somebody newer drives, or the run has ended: a driver stops there.
            Err(_) => After::Gone,
        }
    }

    /// Invariant 3: what just went through was not a former driver's.
    async fn check_fence(&self, engine: &Arc<Engine>, held: u64, deeds: &mut Deeds) {
        let writes = !matches!(
            self.at,
            Step::Attach | Step::Decide(_) | Step::Body(..) | Step::Wait(..) | Step::Cap | Step::Remind
        );
        if !writes {
            return;
        }
        if let Ok(run) = engine.run(&self.run).await
            && run.fence > held
        {
            let violation = format!(
                "invariant 3: {} wrote {:?} under fence {held}, {} is in force",
                self.name, self.at, run.fence
            );
            deeds.violations.push(violation);
        }
    }

    async fn try_step(
        &mut self,
        engine: &Arc<Engine>,
        fate: &Fate,
        deeds: &mut Deeds,
    ) -> Result<Option<Step>, TapeError> {
        let next = match self.at.clone() {
            Step::Attach => {
                let lease = LeaseRequest {
                    owner: self.name.clone(),
                    ttl_ms: LEASE_MS,
                    fenced: true,
                };
                let run = engine
                    .execute(
                        &ResumeRun {
                            run: self.run.clone(),
                            lease,
                        },
                        None,
                    )
                    .await?;
                self.fence = Some(run.fence);
                Step::Cap
            }
            Step::Decide(DECISIONS) => Step::End,
            Step::Decide(index) => match engine.decision(&self.run, index).await? {
                Some(decision) => {
                    self.acknowledge(deeds, index, &decision.response_json);
                    Step::Admit(index)
                }
                // A model never says the same thing twice.
                None => Step::Record(index, format!("\"{}\"", fate.below(u64::MAX))),
            },
            Step::Record(index, answer) => {
                let command = RecordDecision {
                    run: self.run.clone(),
                    driver: self.driver(),
                    index,
                    model: "scripted".into(),
                    request_json: format!("{{\"turn\":{index}}}"),
                    response_json: answer.clone(),
                    rationale: String::new(),
                    policy_version: String::new(),
                };
                engine.execute(&command, None).await?;
                self.acknowledge(deeds, index, &answer);
                Step::Admit(index)
            }
            Step::Cap => {
                let command = SetBudget {
                    run: self.run.clone(),
                    usd_cap_micros: CAP_MICROS,
                    token_cap: 0,
                };
                engine.execute(&command, None).await?;
                Step::Remind
            }
            Step::Remind => {
                let started = engine.run(&self.run).await?.started;
                let command = SetTimer {
                    run: self.run.clone(),
                    id: "reminder".into(),
                    fire_at: started.after(REMIND_AFTER_MS),
                    kind: "remind".into(),
                    payload_json: String::new(),
                };
                engine.execute(&command, None).await?;
                deeds.timers.insert(self.run.clone());
                Step::Decide(0)
            }
            Step::Admit(index) => {
                let command = AdmitBudget {
                    run: self.run.clone(),
                    driver: self.driver(),
                    request_id: format!("turn {index}"),
                    usd_micros: TURN_MICROS,
                    tokens: 0,
                };
                if engine.execute(&command, None).await?.admitted {
                    Step::Charge(index)
                } else {
                    Step::Begin(index)
                }
            }
            Step::Charge(index) => {
                let command = ChargeBudget {
                    run: self.run.clone(),
                    driver: self.driver(),
                    request_id: format!("turn {index}"),
                    usd_micros: TURN_MICROS,
                    tokens: 0,
                };
                engine.execute(&command, None).await?;
                Step::Begin(index)
            }
            Step::Begin(index) => {
                let begun = engine.begin_effect(self.effect(index), None).await?;
                self.after_begin(index, &begun.effect, deeds)
            }
            Step::Body(index, key) => {
                let confirmed = engine
                    .effect(&self.run, &key)
                    .await?
                    .is_some_and(|e| e.state == EffectState::Confirmed);
                let run = engine.run(&self.run).await?;
                if confirmed && self.fence == Some(run.fence) {
                    deeds
                        .violations
                        .push(format!("invariant 1: the body of {key} runs although it is confirmed"));
                }
                let count = deeds.bodies.entry(key.clone()).or_default();
                *count += 1;
                Step::Complete(index, key, format!("\"body {count}\""))
            }
            Step::Complete(index, key, result) => {
                let command = CompleteEffect {
                    run: self.run.clone(),
                    driver: self.driver(),
                    key,
                    completion: Completion::Confirmed,
                    response_json: result,
                    error_json: String::new(),
                };
                let effect = engine.execute(&command, None).await?;
                self.settled(&effect, deeds);
                Step::Decide(index + 1)
            }
            Step::Wait(index, key) => match engine.effect(&self.run, &key).await? {
                Some(effect) if effect.state.settled() => {
                    self.settled(&effect, deeds);
                    Step::Decide(index + 1)
                }
                Some(effect) if matches!(effect.state, EffectState::Stuck { .. }) => {
                    self.failed = true;
                    Step::Decide(index + 1)
                }
                _ => {
                    // A heartbeat while it waits.
                    let lease = LeaseRequest {
                        owner: self.name.clone(),
                        ttl_ms: LEASE_MS,
                        fenced: true,
                    };
                    let run = engine.run(&self.run).await?;
                    if self.fence == Some(run.fence) {
                        engine
                            .execute(
                                &ResumeRun {
                                    run: self.run.clone(),
                                    lease,
                                },
                                None,
                            )
                            .await?;
                    } else {
                        return Ok(None);
                    }
                    Step::Wait(index, key)
                }
            },
            Step::End => {
                let ending = if self.failed { Ending::Failed } else { Ending::Terminal };
                let command = EndRun {
                    run: self.run.clone(),
                    driver: self.driver(),
                    ending,
                    detail_json: String::new(),
                };
                engine.execute(&command, None).await?;
                deeds.ended.push(self.run.clone());
                return Ok(None);
            }
        };
        Ok(Some(next))
    }

    fn after_begin(&mut self, index: i64, effect: &Effect, deeds: &mut Deeds) -> Step {
        let key = effect.intent.key.clone();
        if effect.state.settled() {
            self.settled(effect, deeds);
            return Step::Decide(index + 1);
        }
        match effect.intent.mode {
            Mode::Inline => Step::Body(index, key),
            Mode::Outbox => Step::Wait(index, key),
        }
    }

    fn acknowledge(&self, deeds: &mut Deeds, index: i64, answer: &str) {
        let key = (self.run.clone(), index);
        match deeds.decisions.get(&key) {
            Some(known) if known != answer => {
                deeds.violations.push(format!(
                    "invariant 4: decision {index} of {} changed from {known} to {answer}",
                    self.run
                ));
            }
            _ => drop(deeds.decisions.insert(key, answer.to_owned())),
        }
    }

    fn settled(&mut self, effect: &Effect, deeds: &mut Deeds) {
        if effect.state != EffectState::Confirmed {
            self.failed = true;
            return;
        }
        let key = effect.intent.key.clone();
        match deeds.confirmed.get(&key) {
            Some(known) if *known != effect.response_json => {
                deeds.violations.push(format!(
                    "invariant 1: {key} was {known} and is {}",
                    effect.response_json
                ));
            }
            _ => drop(deeds.confirmed.insert(key, effect.response_json.clone())),
        }
    }

    /// One inline effect, one that may leave once only, one that the bank deduplicates.
    fn effect(&self, index: i64) -> BeginEffect {
        let (tool, semantics, mode) = match index {
            0 => ("note", Semantics::Idempotent, Mode::Inline),
            1 => ("wire", Semantics::NonIdempotent, Mode::Outbox),
            _ => ("pay", Semantics::Idempotent, Mode::Outbox),
        };
        let outbox = mode == Mode::Outbox;
        BeginEffect {
            run: self.run.clone(),
            driver: self.driver(),
            decision_index: index,
            tool: tool.into(),
            call_index: 0,
            request_json: "{\"amount\":\"1.00\"}".into(),
            custom_key: String::new(),
            semantics,
            mode,
            business_key: if tool == "wire" {
                format!("invoice of {}", self.run)
            } else {
                String::new()
            },
            connector: if outbox { "bank".into() } else { String::new() },
            operation: if outbox { tool.into() } else { String::new() },
            scope: String::new(),
            deadline: Time::ZERO,
            handle: outbox.then(|| Handle {
                connector: "bank".into(),
                ..Handle::default()
            }),
            status_check: String::new(),
            allow_unsafe: false,
            known: Known::default(),
        }
    }
}
