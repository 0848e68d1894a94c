//! What a dispatcher or compensator outside records, which knows neither attempts nor claims by number: how its attempt
//! ended, and what the upstream says.
//!
//! It is taken to hold the claim in force. Where it names itself, it must be the claim's owner.

use serde_json::json;

use super::complete_effect::settle;
use super::dispatch::end_attempt;
use super::obligation::{SettleObligation, register};
use super::observe::{Booking, IfAbsent, Observation, RecordObservation};
use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::effect::{Effect, EffectEvent, EffectState, Handle};
use crate::entity::EntityId;
use crate::id::{EffectKey, RunId};
use crate::journal::Kind;
use crate::obligation::Obligation;
use crate::refusal::{Refusal, Status};
use crate::row::RowKey;
use crate::time::Time;

/// A dispatch did not succeed.
#[derive(Clone, Debug)]
pub struct RecordAttempt {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Who dispatched, if it says so.
    pub owner: Option<String>,
    /// What went wrong.
    pub error: String,
    /// When to try again, nothing having left; none = it may have taken hold.
    pub next: Option<Time>,
    /// Identity of the request.
    pub request_id: String,
}

/// What somebody outside found out about an effect.
#[derive(Clone, Debug)]
pub struct RecordFinding {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Who dispatched, if it says so.
    pub owner: Option<String>,
    /// What was found.
    pub finding: Finding,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It took hold once.
    Confirmed(Booking),
    /// It was refused, definitely.
    Failed {
        /// The error, as JSON.
        error_json: String,
    },
    /// The upstream does not know it.
    Absent,
    /// It took hold more than once.
    Duplicate {
        /// What was found.
        booking: Booking,
        /// The kind of obligation that undoes the surplus; empty = as the effect itself would be undone.
        kind: String,
    },
    /// It cannot be found out.
    Stuck {
        /// Why.
        reason: String,
    },
}

/// A compensation ended, as its compensator outside says; once for each request id.
#[derive(Clone, Debug)]
pub struct RecordUndoing {
    /// How it ended.
    pub settle: SettleObligation,
    /// Identity of the request.
    pub request_id: String,
}

impl Command for RecordAttempt {
    type Reply = Effect;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())]).request(&self.request_id)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Effect, Refusal> {
        let now = draft.now();
        draft.run(&self.run)?;
        let effect = draft.effect(&self.key)?.clone();
        if draft.answered(&self.request_id, "RecordDispatchAttempt")?.is_some() || effect.state.settled() {
            return Ok(effect);
        }
        match &effect.state {
            EffectState::Claimed(_) | EffectState::Sent(_) => check_owner(&effect, self.owner.as_deref())?,
            // It was claimed before, and somebody has said how that ended.
            EffectState::Pending { .. } if effect.attempts.is_empty() => return Err(unclaimed(&effect)),
            _ => return Ok(effect),
        }
        let (event, kind, outcome) = match self.next {
            Some(next) => (EffectEvent::NothingSent { next }, Kind::EffectRetrying, "retry"),
            None => {
                mark(draft, &effect)?;
                let doubt = Effect::doubt(self.error.clone(), now);
                (EffectEvent::Unanswered(doubt), Kind::EffectUnknown, "unknown")
            }
        };
        let effect = draft.move_effect(&self.key, event, |effect| {
            end_attempt(effect, now, outcome, &self.error, "");
        })?;
        let attempt = effect.attempt().map_or(0, |attempt| attempt.number);
        draft.remember(&self.request_id, "RecordDispatchAttempt", String::new());
        settle(
            draft,
            &self.run,
            effect,
            kind,
            &json!({ "attempt": attempt, "error": self.error }),
        )
    }
}

impl Command for RecordFinding {
    type Reply = Effect;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Effect, Refusal> {
        draft.run(&self.run)?;
        let effect = draft.effect(&self.key)?.clone();
        if effect.state.settled() {
            return Ok(effect);
        }
        self.land(draft, &effect)?;
        let observe = |observation| RecordObservation {
            run: self.run.clone(),
            key: self.key.clone(),
            owner: None,
            observation,
            if_absent: IfAbsent::Fail,
            surplus: None,
            evidence_json: String::new(),
        };
        match &self.finding {
            Finding::Confirmed(booking) => observe(Observation::Present(booking.clone())).decide(draft),
            Finding::Failed { error_json } => observe(Observation::Failed {
                error_json: error_json.clone(),
            })
            .decide(draft),
            // As it should be: nothing is under way.
            Finding::Absent if matches!(effect.state, EffectState::Pending { .. }) => Ok(effect),
            Finding::Absent => observe(Observation::Absent).decide(draft),
            Finding::Duplicate { booking, kind } => {
                let effect = observe(Observation::Present(booking.clone())).decide(draft)?;
                let own = effect.intent.handle.clone().unwrap_or_else(|| Handle {
                    connector: effect.intent.connector.clone(),
                    kind: "duplicate".to_owned(),
                    ..Handle::default()
                });
                let handle = if kind.is_empty() {
                    own
                } else {
                    Handle {
                        kind: kind.clone(),
                        ..own
                    }
                };
                register(draft, &self.run, &self.key, handle, &booking.external_ref, None, 0)?;
                Ok(effect)
            }
            Finding::Stuck { reason } => self.stick(draft, reason),
        }
    }
}

impl RecordFinding {
    /// Ends the attempt that is under way: an observation is about what it left behind.
    fn land(&self, draft: &mut Draft, effect: &Effect) -> Result<(), Refusal> {
        if !matches!(effect.state, EffectState::Claimed(_) | EffectState::Sent(_)) {
            return Ok(());
        }
        check_owner(effect, self.owner.as_deref())?;
        mark(draft, effect)?;
        let now = draft.now();
        let outcome = match self.finding {
            Finding::Confirmed(_) | Finding::Duplicate { .. } => "confirmed",
            Finding::Failed { .. } => "failed",
            Finding::Absent | Finding::Stuck { .. } => "unknown",
        };
        let doubt = Effect::doubt("its dispatcher is asking the upstream", now);
        draft.move_effect(&self.key, EffectEvent::Unanswered(doubt), |effect| {
            end_attempt(effect, now, outcome, "", "");
        })?;
        Ok(())
    }

    fn stick(&self, draft: &mut Draft, reason: &str) -> Result<Effect, Refusal> {
        if let EffectState::Stuck { .. } = draft.effect(&self.key)?.state {
            return draft.effect(&self.key).cloned();
        }
        let event = EffectEvent::GaveUp {
            reason: reason.to_owned(),
        };
        let effect = draft.move_effect(&self.key, event, |_| ())?;
        draft.journal(
            &self.run,
            Note::effect(
                Kind::EffectStuck,
                &effect,
                &json!({ "reason": reason, "tool": effect.intent.tool }),
            ),
        )?;
        Ok(effect)
    }
}

impl Command for RecordUndoing {
    type Reply = Obligation;

    fn entity(&self) -> EntityId {
        self.settle.entity()
    }

    fn reads(&self) -> Reads {
        self.settle.reads().request(&self.request_id)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Obligation, Refusal> {
        if draft.answered(&self.request_id, "RecordObligationAttempt")?.is_some() {
            return draft.obligation(self.settle.seq).cloned();
        }
        let obligation = self.settle.decide(draft)?;
        draft.remember(&self.request_id, "RecordObligationAttempt", String::new());
        Ok(obligation)
    }
}

/// A claim without a mark whose holder says that something may have left: its word is the mark.
fn mark(draft: &mut Draft, effect: &Effect) -> Result<(), Refusal> {
    if matches!(effect.state, EffectState::Claimed(_)) {
        let now = draft.now();
        draft.move_effect(&effect.intent.key, EffectEvent::Marked, |effect| {
            if let Some(attempt) = effect.attempts.last_mut() {
                attempt.sent = Some(now);
            }
        })?;
    }
    Ok(())
}

fn check_owner(effect: &Effect, owner: Option<&str>) -> Result<(), Refusal> {
    let (Some(owner), Some(claim)) = (owner, effect.claim()) else {
        return Ok(());
    };
    if owner == claim.owner {
        return Ok(());
    }
    let attempt = effect.attempt().map_or(0, |attempt| attempt.number);
    Err(Refusal::new(
        Status::Aborted,
        "TAPE-E011",
        format!(
            "Effect {} is dispatched by {:?}, not by {owner:?}.",
            effect.intent.key, claim.owner
        ),
        "Stop: send nothing, record nothing.",
    )
    .held_by(&claim.owner, u64::from(attempt)))
}

fn unclaimed(effect: &Effect) -> Refusal {
    Refusal::new(
        Status::FailedPrecondition,
        "TAPE-E012",
        format!(
            "Effect {} was never claimed: there is no attempt to record.",
            effect.intent.key
        ),
        "Claim it by ClaimEffectDispatch before dispatching it.",
    )
}
