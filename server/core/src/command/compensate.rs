//! Compensate a run: undo its confirmed effects in reverse order of confirmation, one after the other.

use serde_json::json;

use super::obligation::register;
use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::effect::{Doubt, Effect, EffectEvent, EffectState};
use crate::entity::EntityId;
use crate::id::{EffectKey, RunId};
use crate::journal::Kind;
use crate::obligation::{Obligation, ObligationState};
use crate::refusal::Refusal;
use crate::row::{Row, RowKind};
use crate::run::{CompensationPolicy, Run, RunEvent, RunState};
use crate::time::Time;

/// How long to wait for an effect in doubt, or an obligation's turn, before looking again.
const LOOK_AGAIN_MS: i64 = 1_000;

/// Asks for everything that the run confirmed to be undone.
#[derive(Clone, Debug)]
pub struct CompensateRun {
    /// Which.
    pub run: RunId,
    /// Why.
    pub reason: String,
    /// What a stuck obligation means for the rest.
    pub policy: CompensationPolicy,
}

/// One step of a compensation: registers what has to be undone, and names what is to be worked on now.
#[derive(Clone, Debug)]
pub struct StepCompensation {
    /// Which.
    pub run: RunId,
    /// Work also on what rests because nobody could be asked: a worker has just attached.
    pub at_once: bool,
}

/// What a step found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Work on this obligation, then step again.
    Work(Box<Obligation>),
    /// Nothing can be done before this time.
    Wait(Time),
    /// The run has left COMPENSATING.
    Done,
}

impl Command for CompensateRun {
    type Reply = Run;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        // Undoing is rare, and may miss no effect that a driver has begun.
        Reads::head().all(RowKind::Effect)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Run, Refusal> {
        let at = draft.now();
        let run = draft.run(&self.run)?;
        if matches!(run.state, RunState::Compensating { .. }) {
            return Ok(run.clone());
        }
        let from = run.state.name();
        let last_word = match &run.state {
            RunState::Running(lease) => lease.expires.max(at),
            _ => at,
        };
        draft.run_mut(&self.run)?.apply(RunEvent::CompensationAsked {
            policy: self.policy,
            at,
        })?;
        let payload = json!({ "reason": self.reason, "from": from });
        draft.journal(&self.run, Note::run(Kind::RunCompensating, &payload))?;
        doubt_begun(draft, &self.run, last_word)?;
        Ok(draft.run(&self.run)?.clone())
    }
}

impl Command for StepCompensation {
    type Reply = Step;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head().all(RowKind::Effect).all(RowKind::Obligation)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Step, Refusal> {
        let now = draft.now();
        let RunState::Compensating { policy, .. } = draft.run(&self.run)?.state else {
            return Ok(Step::Done);
        };

        self.cancel_unsent(draft)?;
        // Those of a run whose compensation an older server began, and those that an operator has reopened since.
        doubt_begun(draft, &self.run, now)?;
        if self.in_doubt(draft) {
            // Nobody can undo what may not have happened: the reconciler settles it first.
            return self.wait(draft, policy, now.after(LOOK_AGAIN_MS));
        }
        self.register_confirmed(draft)?;

        let mut ours: Vec<Obligation> = draft
            .rows()
            .filter_map(|(_, row)| match row {
                Row::Obligation(o) if o.order.is_some() => Some(o.as_ref().clone()),
                _ => None,
            })
            .collect();
        ours.sort_by_key(|o| std::cmp::Reverse(o.order));
        let stuck = ours.iter().any(|o| o.state == ObligationState::Stuck);
        let open = ours
            .into_iter()
            .find(|o| matches!(o.state, ObligationState::Pending { .. } | ObligationState::Committed(_)));
        match open {
            Some(_) if stuck && policy == CompensationPolicy::StopAtStuck => {
                self.end(draft, RunEvent::CompensationStuck)
            }
            Some(next) => match next.free_at() {
                Some(at) if !next.free(now, self.at_once) => self.wait(draft, policy, at),
                _ => Ok(Step::Work(Box::new(next))),
            },
            None if stuck => self.end(draft, RunEvent::CompensationStuck),
            None => self.end(draft, RunEvent::Compensated),
        }
    }
}

/// Ends an outbox effect of which nothing was sent: its run is being undone.
pub(super) fn cancel_unsent(draft: &mut Draft, run: &RunId, key: &EffectKey) -> Result<Effect, Refusal> {
    let effect = draft.move_effect(key, EffectEvent::Cancelled, |effect| {
        effect.error_json = json!({ "code": "cancelled", "message": "the run is being compensated" }).to_string();
    })?;
    let payload = json!({ "reason": "cancelled" });
    draft.journal(run, Note::effect(Kind::EffectFailed, &effect, &payload))?;
    Ok(effect)
}

/// Calls in doubt what a driver has begun, could be undone, and has no outcome: the driver may be dead, and its tool's body may have done
/// it. Until `last_word` the driver may still say how it ended; then the upstream is asked, or a person.
fn doubt_begun(draft: &mut Draft, run: &RunId, last_word: Time) -> Result<(), Refusal> {
    let now = draft.now();
    let begun: Vec<_> = draft
        .rows()
        .filter_map(|(_, row)| match row {
            Row::Effect(e) if e.begun_inline() && e.intent.handle.is_some() => Some(e.intent.key.clone()),
            _ => None,
        })
        .collect();
    for key in begun {
        let doubt = Doubt {
            next: last_word,
            ..Effect::doubt(
                "its run is being compensated, and its driver has not said how it ended",
                now,
            )
        };
        let effect = draft.move_effect(&key, EffectEvent::Unanswered(doubt), |_| ())?;
        let payload = json!({ "tool": effect.intent.tool, "reason": "compensating" });
        draft.journal(run, Note::effect(Kind::EffectUnknown, &effect, &payload))?;
    }
    Ok(())
}

impl StepCompensation {
    fn cancel_unsent(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let unsent: Vec<_> = draft
            .rows()
            .filter_map(|(_, row)| match row {
                Row::Effect(e) if e.unsent() => Some(e.intent.key.clone()),
                _ => None,
            })
            .collect();
        for key in unsent {
            cancel_unsent(draft, &self.run, &key)?;
        }
        Ok(())
    }

    fn in_doubt(&self, draft: &Draft) -> bool {
        draft.rows().any(|(_, row)| {
            matches!(row, Row::Effect(e) if matches!(
                e.state, EffectState::Claimed(_) | EffectState::Sent(_) | EffectState::Unknown(_) | EffectState::Stuck { .. }
            ))
        })
    }

    fn register_confirmed(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let known: Vec<_> = draft
            .rows()
            .filter_map(|(_, row)| match row {
                Row::Obligation(o) if o.order.is_some() => Some(o.effect.clone()),
                _ => None,
            })
            .collect();
        let mut confirmed: Vec<_> = draft
            .rows()
            .filter_map(|(_, row)| match row {
                Row::Effect(e) if e.state == EffectState::Confirmed && !known.contains(&e.intent.key) => Some((
                    e.confirmed_order?,
                    e.intent.key.clone(),
                    e.intent.handle.clone()?,
                    e.external_ref.clone(),
                )),
                _ => None,
            })
            .collect();
        confirmed.sort_by_key(|(order, ..)| *order);
        for (order, key, handle, external_ref) in confirmed {
            register(draft, &self.run, &key, handle, &external_ref, Some(order), 0)?;
        }
        Ok(())
    }

    fn wait(&self, draft: &mut Draft, policy: CompensationPolicy, at: Time) -> Result<Step, Refusal> {
        draft
            .run_mut(&self.run)?
            .apply(RunEvent::CompensationAsked { policy, at })?;
        Ok(Step::Wait(at))
    }

    fn end(&self, draft: &mut Draft, event: RunEvent) -> Result<Step, Refusal> {
        let now = draft.now();
        let run = draft.run_mut(&self.run)?;
        run.apply(event)?;
        run.ended = Some(now);
        let status = run.state.name();
        draft.journal(
            &self.run,
            Note::run(
                Kind::RunEnded,
                &json!({ "status": status, "compensated": status == "FAILED" }),
            ),
        )?;
        Ok(Step::Done)
    }
}
