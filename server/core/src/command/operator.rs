//! What a person may do: reopen a run, settle what is stuck, retry what failed.

use serde_json::json;

use super::complete_effect::settle;
use super::obligation::moved;
use super::reserve::refuse_revoked;
use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::effect::{Effect, EffectEvent, EffectState};
use crate::entity::EntityId;
use crate::id::{EffectKey, RunId};
use crate::journal::Kind;
use crate::json::{check_name, check_payload};
use crate::obligation::{Obligation, ObligationEvent, ObligationState};
use crate::refusal::Refusal;
use crate::row::RowKey;
use crate::run::{Run, RunEvent, RunState, Wake};

/// Reopens a FAILED or STUCK run, or makes a live one due now.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// Which.
    pub run: RunId,
    /// Why.
    pub reason: String,
}

/// A person says how an effect ended.
#[derive(Clone, Debug)]
pub struct ResolveEffect {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Whether it took hold.
    pub confirmed: bool,
    /// The upstream's name for it.
    pub external_ref: String,
    /// The upstream's answer, as JSON.
    pub response_json: String,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub who: String,
}

/// A person says how an obligation ended.
#[derive(Clone, Debug)]
pub struct ResolveObligation {
    /// Run.
    pub run: RunId,
    /// Obligation.
    pub seq: i64,
    /// Whether it is undone.
    pub compensated: bool,
    /// The upstream's answer, as JSON.
    pub result_json: String,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub who: String,
}

/// Opens a new attempt on a failed effect, or makes a waiting one due now.
#[derive(Clone, Debug)]
pub struct RetryEffect {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Its business key and the number of the run's reservation of it; none if it has no business key.
    pub reserved: Option<(String, u64)>,
    /// Why.
    pub reason: String,
    /// Who says so.
    pub who: String,
}

impl Command for Redrive {
    type Reply = Run;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Run, Refusal> {
        let now = draft.now();
        let run = draft.run_mut(&self.run)?;
        if run.cancelled.is_some() {
            // Also where it is FAILED or STUCK since, by its compensation: nobody could drive it.
            run.check_live()?;
        }
        if run.state == RunState::Runnable && run.wake.tries == 0 && run.wake.next <= now {
            // It is due now already: the same request again, or somebody was faster.
            return Ok(run.clone());
        }
        let from = run.state.name();
        run.apply(RunEvent::Redriven)?;
        run.ended = None;
        run.wake = Wake { tries: 0, next: now };
        draft.journal(
            &self.run,
            Note::run(Kind::RunRedriven, &json!({ "reason": self.reason, "from": from })),
        )?;
        Ok(draft.run(&self.run)?.clone())
    }
}

impl Command for ResolveEffect {
    type Reply = Effect;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Effect, Refusal> {
        check_name("reason", &self.reason)?;
        check_payload("response_json", &self.response_json)?;
        let said = json!({ "code": "resolved", "message": self.reason }).to_string();
        let effect = draft.effect(&self.key)?;
        let as_asked = match effect.state {
            EffectState::Confirmed => {
                self.confirmed && effect.external_ref == self.external_ref && effect.response_json == self.response_json
            }
            EffectState::Failed => !self.confirmed && effect.error_json == said,
            _ => false,
        };
        if as_asked {
            return Ok(effect.clone());
        }
        let event = EffectEvent::SettledAs {
            confirmed: self.confirmed,
        };
        let effect = draft.move_effect(&self.key, event, |effect| {
            if self.confirmed {
                effect.external_ref.clone_from(&self.external_ref);
                effect.response_json.clone_from(&self.response_json);
            } else {
                effect.error_json = said;
            }
        })?;
        let kind = if self.confirmed {
            Kind::EffectConfirmed
        } else {
            Kind::EffectFailed
        };
        settle(
            draft,
            &self.run,
            effect,
            kind,
            &json!({ "resolved_by": self.who, "reason": self.reason }),
        )
    }
}

impl Command for ResolveObligation {
    type Reply = Obligation;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Obligation(self.seq)])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Obligation, Refusal> {
        check_payload("result_json", &self.result_json)?;
        let mut obligation = draft.obligation(self.seq)?.clone();
        let as_asked = match obligation.state {
            ObligationState::Compensated => self.compensated,
            ObligationState::Stuck => !self.compensated,
            _ => false,
        };
        if as_asked {
            return Ok(obligation);
        }
        moved(
            &mut obligation,
            ObligationEvent::SettledAs {
                compensated: self.compensated,
            },
        )?;
        obligation.result_json.clone_from(&self.result_json);
        let kind = if self.compensated {
            Kind::ObligationCompensated
        } else {
            Kind::ObligationStuck
        };
        let payload = json!({ "obligation": self.seq, "resolved_by": self.who, "reason": self.reason });
        draft.journal(&self.run, Note::about(kind, obligation.effect.as_str(), &payload))?;
        draft.put_obligation(obligation.clone());
        Ok(obligation)
    }
}

impl Command for RetryEffect {
    type Reply = Effect;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        let revoked = self.reserved.iter().map(|(key, _)| RowKey::Revoked(key.clone()));
        Reads::rows(revoked.chain([RowKey::Effect(self.key.clone())]))
    }

    fn decide(&self, draft: &mut Draft) -> Result<Effect, Refusal> {
        if let Some((key, number)) = &self.reserved {
            refuse_revoked(draft, key, *number)?;
        }
        let next = draft.now();
        let effect = draft.effect(&self.key)?;
        if matches!(effect.state, EffectState::Pending { next: at } if at <= next) && effect.error_json.is_empty() {
            // It is due now already: the same request again.
            return Ok(effect.clone());
        }
        let effect = draft.move_effect(&self.key, EffectEvent::Retried { next }, |effect| {
            effect.error_json.clear();
        })?;
        let payload = json!({ "by": self.who, "reason": self.reason });
        draft.journal(&self.run, Note::effect(Kind::EffectReopened, &effect, &payload))?;
        Ok(effect)
    }
}
