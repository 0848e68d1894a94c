//! Settle doubt: what the upstream's books said about an effect.

use serde_json::json;

use super::complete_effect::settle;
use super::obligation::register;
use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::effect::{Effect, EffectEvent, EffectState, Handle, Mode};
use crate::entity::EntityId;
use crate::id::{EffectKey, RunId};
use crate::journal::Kind;
use crate::json::check_payload;
use crate::lease::{CLAIM_MS, Claim};
use crate::refusal::{Refusal, Status};
use crate::row::RowKey;
use crate::run::RunState;

/// Takes an effect in doubt in order to ask the upstream about it.
#[derive(Clone, Debug)]
pub struct ClaimCheck {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Who asks.
    pub owner: String,
    /// For how long, in milliseconds; 0 = [`CLAIM_MS`].
    pub ttl_ms: i64,
}

/// Records what the upstream said.
#[derive(Clone, Debug)]
pub struct RecordObservation {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// The claim under which it was asked; none = by the word of somebody who needs none.
    pub owner: Option<String>,
    /// What it said.
    pub observation: Observation,
    /// What happens to an effect that is not idempotent and absent.
    pub if_absent: IfAbsent,
    /// How a surplus booking is undone, where the effect has no handle of its own.
    pub surplus: Option<Handle>,
    /// What the host saw leave and come back, as JSON.
    pub evidence_json: String,
}

/// What an upstream says about an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// It is there.
    Present(Booking),
    /// It is not.
    Absent,
    /// It is there several times: the first stands, the others are surplus.
    Duplicate(Vec<Booking>),
    /// The books could not be read, or do not tell yet.
    Inconclusive {
        /// Why.
        reason: String,
        /// When it makes sense to ask again, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// It is known not to be there and never will be.
    Failed {
        /// The error, as JSON.
        error_json: String,
    },
}

/// One booking in the upstream's books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Booking {
    /// The upstream's name for it.
    pub external_ref: String,
    /// The upstream's answer, as JSON.
    pub response_json: String,
}

/// What happens to an effect that is not idempotent and not in the upstream's books.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfAbsent {
    /// It failed; the agent decides what to do.
    #[default]
    Fail,
    /// It is dispatched again.
    Redispatch,
    /// A person decides.
    Ask,
}

impl Command for ClaimCheck {
    /// The effect, if it is in doubt and it is its turn.
    type Reply = Option<Effect>;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Option<Effect>, Refusal> {
        let now = draft.now();
        let effect = draft.effect(&self.key)?;
        match &effect.state {
            EffectState::Unknown(doubt) if doubt.next <= now => {}
            // An inline effect whose driver never said how it ended.
            EffectState::Pending { .. }
                if effect.intent.mode == Mode::Inline
                    && effect.due().is_some_and(|due| due.at <= now)
                    && effect.claim().is_none() =>
            {
                let doubt = Effect::doubt("its driver never said how it ended", now);
                let effect = draft.move_effect(&self.key, EffectEvent::Unanswered(doubt), |_| ())?;
                draft.journal(
                    &self.run,
                    Note::effect(Kind::EffectUnknown, &effect, &json!({ "tool": effect.intent.tool })),
                )?;
            }
            _ => return Ok(None),
        }
        let ttl_ms = if self.ttl_ms <= 0 { CLAIM_MS } else { self.ttl_ms };
        let claim = Claim {
            owner: self.owner.clone(),
            expires: now.after(ttl_ms),
        };
        draft
            .move_effect(&self.key, EffectEvent::Checking(claim), |_| ())
            .map(Some)
    }
}

impl Command for RecordObservation {
    type Reply = Effect;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Effect, Refusal> {
        let now = draft.now();
        let effect = draft.effect(&self.key)?.clone();
        if effect.state.settled() || self.is_recorded(&effect)? {
            return Ok(effect);
        }
        // A person, or a reconciler elsewhere, decides by itself when the books can be believed.
        if self.observation == Observation::Absent
            && self.owner.is_some()
            && let Some(next) = effect.may_still_arrive(now)
        {
            let reason = "the upstream does not have it yet, and the request may still arrive";
            return self.moved(
                draft,
                EffectEvent::Inconclusive { next },
                Kind::EffectObserved,
                reason,
                "",
            );
        }
        match &self.observation {
            Observation::Present(booking) => self.present(draft, booking),
            Observation::Duplicate(bookings) => {
                let (first, surplus) = bookings.split_first().ok_or_else(|| {
                    Refusal::invalid(
                        "bookings",
                        "[]",
                        "DUPLICATE without bookings.",
                        "Name every booking that was found.",
                    )
                })?;
                let effect = self.present(draft, first)?;
                let handle = effect
                    .intent
                    .handle
                    .clone()
                    .or_else(|| self.surplus.clone())
                    .unwrap_or_else(|| Handle {
                        connector: effect.intent.connector.clone(),
                        kind: "duplicate".to_owned(),
                        ..Handle::default()
                    });
                for booking in surplus {
                    register(
                        draft,
                        &self.run,
                        &self.key,
                        handle.clone(),
                        &booking.external_ref,
                        None,
                        0,
                    )?;
                }
                Ok(effect)
            }
            // Nobody carries out any more what was its driver's, when the run is being undone.
            Observation::Absent
                if self.goes_again(&effect)
                    && !(effect.intent.mode == Mode::Inline && compensating(draft, &self.run)) =>
            {
                self.moved(
                    draft,
                    EffectEvent::AbsentRedispatch { next: now },
                    Kind::EffectRetrying,
                    "absent",
                    "",
                )
            }
            Observation::Absent if self.if_absent == IfAbsent::Ask => {
                let reason = "the upstream does not have it; a person decides whether it goes again".to_owned();
                self.moved(
                    draft,
                    EffectEvent::GaveUp { reason: reason.clone() },
                    Kind::EffectStuck,
                    &reason,
                    "",
                )
            }
            Observation::Absent => {
                let error = json!({ "code": "absent", "message": "the upstream's books do not have it" }).to_string();
                self.moved(draft, EffectEvent::Absent, Kind::EffectFailed, "absent", &error)
            }
            Observation::Failed { error_json } => {
                check_payload("error_json", error_json)?;
                self.moved(draft, EffectEvent::Absent, Kind::EffectFailed, "failed", error_json)
            }
            Observation::Inconclusive { reason, retry_after_ms } => {
                let EffectState::Unknown(doubt) = &effect.state else {
                    return Ok(effect);
                };
                let wish = retry_after_ms.map(|ms| now.after(ms));
                match Effect::next_check(doubt, draft.jitter(), now) {
                    // Nobody can be asked: asking again would only delay the person who can settle it.
                    Some(_) if !effect.observable() => {
                        let reason = format!("nobody can be asked about it: {reason}");
                        self.moved(
                            draft,
                            EffectEvent::GaveUp { reason: reason.clone() },
                            Kind::EffectStuck,
                            &reason,
                            "",
                        )
                    }
                    Some(next) => {
                        let event = EffectEvent::Inconclusive {
                            next: wish.unwrap_or(next).max(now.after(1)),
                        };
                        self.moved(draft, event, Kind::EffectObserved, reason, "")
                    }
                    None => {
                        let reason = format!("asked {} times, the last answer: {reason}", doubt.checks + 1);
                        self.moved(
                            draft,
                            EffectEvent::GaveUp { reason: reason.clone() },
                            Kind::EffectStuck,
                            &reason,
                            "",
                        )
                    }
                }
            }
        }
    }
}

fn compensating(draft: &Draft, run: &RunId) -> bool {
    draft
        .run(run)
        .is_ok_and(|run| matches!(run.state, RunState::Compensating { .. }))
}

impl RecordObservation {
    fn goes_again(&self, effect: &Effect) -> bool {
        effect.repeatable() || self.if_absent == IfAbsent::Redispatch
    }

    /// Whether the answer that was asked for under the claim is recorded: then the claim is over.
    ///
    /// An answer that comes too late is refused: what the books said before somebody else asked may not be so any more.
    fn is_recorded(&self, effect: &Effect) -> Result<bool, Refusal> {
        let Some(owner) = &self.owner else { return Ok(false) };
        match effect.claim() {
            Some(claim) if claim.owner == *owner => Ok(false),
            Some(claim) => Err(Refusal::new(
                Status::Aborted,
                "TAPE-E013",
                format!(
                    "The upstream is asked about effect {} by {:?}, not by {owner:?} any more.",
                    self.key, claim.owner
                ),
                "Stop: record nothing. Whoever asks now has a newer answer.",
            )
            .held_by(&claim.owner, 0)),
            None => Ok(true),
        }
    }

    fn present(&self, draft: &mut Draft, booking: &Booking) -> Result<Effect, Refusal> {
        check_payload("response_json", &booking.response_json)?;
        let effect = draft.move_effect(&self.key, EffectEvent::Present, |effect| {
            effect.external_ref.clone_from(&booking.external_ref);
            effect.response_json.clone_from(&booking.response_json);
            effect.error_json.clear();
        })?;
        settle(
            draft,
            &self.run,
            effect,
            Kind::EffectConfirmed,
            &json!({ "observed": "present", "evidence": self.evidence() }),
        )
    }

    fn moved(
        &self,
        draft: &mut Draft,
        event: EffectEvent,
        kind: Kind,
        observed: &str,
        error_json: &str,
    ) -> Result<Effect, Refusal> {
        let effect = draft.move_effect(&self.key, event, |effect| {
            if !error_json.is_empty() {
                error_json.clone_into(&mut effect.error_json);
            }
        })?;
        settle(
            draft,
            &self.run,
            effect,
            kind,
            &json!({ "observed": observed, "evidence": self.evidence() }),
        )
    }

    fn evidence(&self) -> serde_json::Value {
        serde_json::from_str(&self.evidence_json).unwrap_or(serde_json::Value::Null)
    }
}
