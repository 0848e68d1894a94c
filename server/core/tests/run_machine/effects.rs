//! Steps of effects: begun, claimed, marked, settled, observed.

use tape_core::command::complete_effect::CompleteEffect;
use tape_core::command::dispatch::{ClaimDispatch, MarkSent, Outcome, RenewDispatch, SettleDispatch};
use tape_core::command::observe::{ClaimCheck, IfAbsent, Observation, RecordObservation};
use tape_core::command::operator::{ResolveEffect, RetryEffect};
use tape_core::effect::{EffectState, Mode};

use crate::kept::{Again, Kept, id};
use crate::names::{effect, either, key, owner, same, tell};
use crate::steps::Step;

impl Kept {
    pub(crate) fn touch(&mut self, step: &Step) {
        let run = id();
        match step.clone() {
            Step::BeginEffect(e, fence) => {
                let command = effect(e, self.driver(fence));
                let again = Again::Same(|begun: &tape_core::command::begin_effect::BegunEffect| tell(&begun.effect));
                self.drive(fence, &command, &again);
            }
            Step::Complete(e, completion, fence) => {
                let command = CompleteEffect {
                    run,
                    driver: self.driver(fence),
                    key: key(e),
                    completion,
                    response_json: "1".into(),
                    error_json: String::new(),
                };
                // A cancel lets the open effect land once, under any fence.
                let cancelled = self.head().is_some_and(|run| run.cancelled.is_some());
                if cancelled || self.effect(&key(e)).is_none() {
                    either(self.ask(&command, &Again::Counts));
                } else {
                    self.drive(fence, &command, &same());
                }
            }
            Step::Claim(e, o, two_phase) => {
                let command = ClaimDispatch {
                    run,
                    key: key(e),
                    owner: owner(o),
                    ttl_ms: 0,
                    two_phase,
                    connectors: None,
                };
                let held = self.effect(&key(e)).and_then(|effect| effect.claim().cloned());
                let claimed = self.ask(&command, &Again::Quiet);
                if claimed.is_ok_and(|claimed| claimed.acquired) {
                    assert!(!self.marked.contains(&key(e)), "it may have taken hold, and goes again");
                    assert!(held.is_none_or(|held| !held.lives(self.now)), "two dispatchers hold it");
                }
                self.note_mark(e);
            }
            Step::Mark(e, o, last) => {
                let command = MarkSent {
                    run,
                    key: key(e),
                    owner: owner(o),
                    attempt: self.attempt(&key(e), last),
                    version: "1".into(),
                    digest: "sha256:1".into(),
                };
                let open = self.effect(&key(e)).and_then(|effect| effect.attempt().cloned());
                if self.ask(&command, &same()).is_ok() {
                    let ours = open.is_some_and(|a| a.owner == command.owner && a.number == command.attempt);
                    assert!(ours, "marked without its claim");
                }
                self.note_mark(e);
            }
            Step::RenewClaim(e, o) => {
                let command = RenewDispatch {
                    run,
                    key: key(e),
                    owner: owner(o),
                    attempt: self.attempt(&key(e), true),
                    ttl_ms: 0,
                };
                either(self.ask(&command, &same()));
            }
            Step::Settle(e, o, last, outcome) => self.settle(e, o, last, outcome),
            Step::Check(e, o) => {
                let command = ClaimCheck {
                    run,
                    key: key(e),
                    owner: owner(o),
                    ttl_ms: 0,
                };
                let unsent = self
                    .effect(&key(e))
                    .is_some_and(|effect| effect.intent.mode == Mode::Outbox && effect.state.name() == "PENDING");
                let asked = self.ask(&command, &Again::Quiet).ok().flatten();
                assert!(asked.is_none() || !unsent, "asked about what has not left");
            }
            Step::Observe(e, o, observation, if_absent) => self.observe(e, o, observation, if_absent),
            Step::Resolve(e, confirmed) => {
                let command = ResolveEffect {
                    run,
                    key: key(e),
                    confirmed,
                    external_ref: "by-hand".into(),
                    response_json: "2".into(),
                    reason: "looked".into(),
                    who: "ann".into(),
                };
                if self.ask(&command, &same()).is_ok() {
                    self.marked.remove(&key(e));
                }
            }
            Step::Retry(e) => {
                let command = RetryEffect {
                    reserved: None,
                    run,
                    key: key(e),
                    reason: "again".into(),
                    who: "ann".into(),
                };
                let failed = self
                    .effect(&key(e))
                    .is_some_and(|effect| effect.state == EffectState::Failed);
                // A person opens a new attempt, and only on what is known to have failed.
                if self.ask(&command, &same()).is_ok() && failed {
                    self.marked.remove(&key(e));
                }
            }
            other => unreachable!("{other:?} is no step of an effect"),
        }
    }

    pub(crate) fn note_mark(&mut self, e: u8) {
        if self.may_double(&key(e)) {
            self.marked.insert(key(e));
        }
    }

    pub(crate) fn settle(&mut self, e: u8, o: u8, last: bool, outcome: Outcome) {
        let command = SettleDispatch {
            run: id(),
            key: key(e),
            owner: owner(o),
            attempt: self.attempt(&key(e), last),
            outcome,
            evidence_json: String::new(),
            version: "1".into(),
            digest: "sha256:1".into(),
        };
        let held = self.effect(&key(e)).is_some_and(|effect| {
            matches!(effect.state, EffectState::Claimed(_) | EffectState::Sent(_))
                && effect
                    .attempt()
                    .is_some_and(|a| a.owner == command.owner && a.number == command.attempt)
        });
        if self.ask(&command, &same()).is_err() || !held {
            return;
        }
        match command.outcome {
            // The host saw that nothing left, or the upstream's no.
            Outcome::NothingSent { .. } | Outcome::Nobody { .. } | Outcome::Failed { .. } => {
                self.marked.remove(&key(e));
            }
            Outcome::Unknown { .. } if self.effect(&key(e)).is_some_and(|effect| !effect.repeatable()) => {
                self.marked.insert(key(e));
            }
            _ => {}
        }
    }

    pub(crate) fn observe(&mut self, e: u8, o: Option<u8>, observation: Observation, if_absent: IfAbsent) {
        let absent = matches!(observation, Observation::Absent | Observation::Failed { .. });
        let counts = matches!(observation, Observation::Inconclusive { .. }) || absent;
        let command = RecordObservation {
            run: id(),
            key: key(e),
            owner: o.map(owner),
            observation,
            if_absent,
            surplus: None,
            evidence_json: String::new(),
        };
        let again = if o.is_none() && counts { Again::Counts } else { same() };
        let before = self.effect(&key(e)).cloned();
        let Ok(effect) = self.ask(&command, &again) else { return };
        if absent && before.is_some_and(|before| before.state != effect.state) {
            self.marked.remove(&key(e));
        }
    }
}
