//! A step is asked: who drives, what is asked again, and to which part of the run it goes.

use tape_core::command::begin_run::{BeginRun, RenewLease, ResumeRun};
use tape_core::command::compensate::{CompensateRun, StepCompensation};
use tape_core::command::decision::RecordDecision;
use tape_core::command::end_run::{CancelRun, EndRun};
use tape_core::command::operator::Redrive;
use tape_core::command::recovery::{ClaimRecovery, LoseLease};
use tape_core::effect::EffectState;
use tape_core::lease::Driver;
use tape_core::obligation::ObligationState;
use tape_core::run::{Caller, CompensationPolicy, Ending, RunState};
use tape_core::{Command, EffectKey};

use crate::kept::{Again, Kept, id, identity};
use crate::names::{EFFECTS, either, key, lease, owner, same, tell};
use crate::steps::{Fence, Step};

impl Kept {
    pub(crate) fn driver(&self, fence: Fence) -> Driver {
        let in_force = self.head().map_or(0, |run| run.fence);
        let fence = match fence {
            Fence::InForce => Some(in_force),
            Fence::Older => Some(in_force.saturating_sub(1)),
            Fence::None => None,
        };
        Driver { fence, owner: None }
    }

    /// A driver's write: an older fence is refused, whatever the state.
    pub(crate) fn drive<C: Command>(&mut self, fence: Fence, command: &C, again: &Again<C>) -> Option<C::Reply> {
        let known = self.head().is_some();
        let reply = self.ask(command, again);
        if fence == Fence::Older && known {
            let code = reply.as_ref().err().map(|refusal| refusal.code);
            assert_eq!(code, Some("TAPE-R002"), "an older fence");
        }
        reply.ok()
    }

    /// The number of the effect's last attempt, or of the one before it.
    pub(crate) fn attempt(&self, key: &EffectKey, last: bool) -> u32 {
        let number = self
            .effect(key)
            .and_then(|effect| effect.attempt())
            .map_or(0, |a| a.number);
        if last { number } else { number.saturating_sub(1) }
    }

    pub fn step(&mut self, step: &Step) {
        let run = id();
        match step.clone() {
            Step::Pass(ms) => self.now = self.now.after(ms),
            Step::Begin(o) => {
                let command = BeginRun {
                    identity: identity(),
                    caller: Caller::default(),
                    input_json: String::new(),
                    lease: lease(o),
                };
                let again = Again::Same(|begun: &tape_core::command::begin_run::Begun| tell(&begun.run));
                either(self.ask(&command, &again));
            }
            Step::Resume(o) => {
                either(self.ask(&ResumeRun { run, lease: lease(o) }, &same()));
            }
            Step::Renew(o, fence) => {
                let command = RenewLease {
                    run,
                    fence: self.driver(fence).fence.unwrap_or_default(),
                    lease: lease(o),
                };
                either(self.ask(&command, &same()));
            }
            Step::Lose(o) => {
                let command = LoseLease {
                    run,
                    owner: owner(o),
                    reason: "gone".into(),
                };
                either(self.ask(&command, &Again::Quiet));
            }
            Step::Recover(at_once) => {
                either(self.ask(&ClaimRecovery { run, at_once }, &Again::Quiet));
            }
            Step::Decide(index, answer, fence) => {
                let command = RecordDecision {
                    run,
                    driver: self.driver(fence),
                    index,
                    model: "m".into(),
                    request_json: "{}".into(),
                    response_json: answer.to_string(),
                    rationale: String::new(),
                    policy_version: String::new(),
                };
                self.drive(fence, &command, &same());
            }
            Step::End(ending, fence) => self.end(ending, fence),
            Step::Cancel => {
                let reason = "enough".into();
                either(self.ask(&CancelRun { run, reason }, &same()));
            }
            Step::Compensate(go_on) => {
                let policy = if go_on {
                    CompensationPolicy::GoOn
                } else {
                    CompensationPolicy::StopAtStuck
                };
                let reason = "wrong".into();
                either(self.ask(&CompensateRun { run, reason, policy }, &same()));
            }
            Step::UndoNext(at_once) => {
                let compensated = matches!(self.head().map(|run| &run.state), Some(RunState::Compensating { .. }));
                either(self.ask(&StepCompensation { run, at_once }, &same()));
                if compensated && self.head().is_some_and(|run| run.state == RunState::Failed) {
                    self.check_undone();
                }
            }
            Step::Redrive => {
                let reason = "again".into();
                either(self.ask(&Redrive { run, reason }, &same()));
            }
            step @ (Step::SetBudget(_) | Step::Admit(..) | Step::Charge(..)) => self.spend(&step),
            step @ (Step::Register(_) | Step::ClaimUndo(..) | Step::SettleUndo(..) | Step::ResolveUndo(..)) => {
                self.undo(&step);
            }
            step @ (Step::Await(..)
            | Step::Signal(..)
            | Step::SetTimer(..)
            | Step::CancelTimer(_)
            | Step::ClaimTimer(..)
            | Step::FireTimer(..)
            | Step::ReleaseTimer(..)) => self.wait(&step),
            step => self.touch(&step),
        }
    }

    /// Nothing that could be undone is left of a run that was compensated, and of nothing is it unknown whether it happened.
    fn check_undone(&self) {
        let undone = |key: &EffectKey| {
            self.obligations().iter().any(|seq| {
                self.obligation(*seq).is_some_and(|obligation| {
                    obligation.effect == *key && obligation.state == ObligationState::Compensated
                })
            })
        };
        for effect in (0..EFFECTS).filter_map(|e| self.effect(&key(e))) {
            let key = &effect.intent.key;
            let left = effect.intent.handle.is_some() && effect.state != EffectState::Failed;
            assert!(!left || undone(key), "{key} is {} and not undone", effect.state.name());
        }
    }

    pub(crate) fn end(&mut self, ending: Ending, fence: Fence) {
        let command = EndRun {
            run: id(),
            driver: self.driver(fence),
            ending,
            detail_json: String::new(),
        };
        let compensated = matches!(self.head().map(|run| &run.state), Some(RunState::Compensating { .. }));
        let reply = self.drive(fence, &command, &same());
        // A driver that gives up does not end what is being undone: that is for who comes from outside, without a fence.
        assert!(!(compensated && fence != Fence::None && reply.is_some()), "{reply:?}");
    }
}
