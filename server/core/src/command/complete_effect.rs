//! Complete an inline effect: the outcome, as the tool's body saw it.

use serde_json::json;

use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::effect::{Effect, EffectEvent, EffectState, Mode};
use crate::entity::EntityId;
use crate::id::{EffectKey, RunId};
use crate::journal::Kind;
use crate::json::check_payload;
use crate::lease::Driver;
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey};
use crate::run::RunState;

/// What a tool's body says about its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// It took hold.
    Confirmed,
    /// It did not.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// Records the outcome of an inline effect.
#[derive(Clone, Debug)]
pub struct CompleteEffect {
    /// Run.
    pub run: RunId,
    /// Who drives.
    pub driver: Driver,
    /// Effect.
    pub key: EffectKey,
    /// Outcome.
    pub completion: Completion,
    /// Result, as JSON.
    pub response_json: String,
    /// Error, as JSON.
    pub error_json: String,
}

impl Command for CompleteEffect {
    type Reply = Effect;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Effect, Refusal> {
        check_payload("response_json", &self.response_json)?;
        check_payload("error_json", &self.error_json)?;
        let run = draft.run(&self.run)?;
        let effect = draft.effect(&self.key)?;
        if matches!(run.state, RunState::Compensating { .. }) {
            // Its driver's last word on what it had begun: only the driver knows, and what took hold has to be undone.
            run.check_last_driver(&self.driver)?;
        } else if run.cancelled.is_none() {
            run.check_driver(&self.driver)?;
        // A cancel lands the open effect: what its body did, nobody will record any more.
        } else if effect.state.settled() || self.completion == Completion::Confirmed {
            run.check_live()?;
        }
        if effect.state.settled() {
            return Ok(effect.clone());
        }
        if effect.intent.mode == Mode::Outbox {
            return Err(Refusal::new(
                Status::FailedPrecondition,
                "TAPE-E010",
                format!(
                    "Effect {} goes through the outbox: its outcome is the dispatcher's to record.",
                    self.key
                ),
                "Wait for it with GetEffect or SubscribeRun.",
            ));
        }
        let doubted = matches!(effect.state, EffectState::Unknown(_) | EffectState::Stuck { .. });
        if doubted && self.completion == Completion::Unknown {
            return Ok(effect.clone());
        }
        let last_word = doubted && matches!(run.state, RunState::Compensating { .. });
        let now = draft.now();
        let (event, kind) = match self.completion {
            Completion::Confirmed if last_word => (EffectEvent::Present, Kind::EffectConfirmed),
            Completion::Failed if last_word => (EffectEvent::Absent, Kind::EffectFailed),
            Completion::Confirmed => (EffectEvent::Confirmed, Kind::EffectConfirmed),
            Completion::Failed => (EffectEvent::Failed, Kind::EffectFailed),
            Completion::Unknown => (
                EffectEvent::Unanswered(Effect::doubt("the tool does not know", now)),
                Kind::EffectUnknown,
            ),
        };
        let effect = draft.move_effect(&self.key, event, |effect| {
            effect.response_json.clone_from(&self.response_json);
            effect.error_json.clone_from(&self.error_json);
        })?;
        settle(draft, &self.run, effect, kind, &json!({}))
    }
}

/// Journals the outcome of an effect, and gives a confirmed one with a handle its place in the order of confirmation.
pub(super) fn settle(
    draft: &mut Draft,
    run: &RunId,
    mut effect: Effect,
    kind: Kind,
    payload: &serde_json::Value,
) -> Result<Effect, Refusal> {
    let mut payload = payload.clone();
    payload["tool"] = json!(effect.intent.tool);
    if effect.state == EffectState::Confirmed {
        if !effect.external_ref.is_empty() {
            payload["external_ref"] = json!(effect.external_ref);
        }
        if effect.intent.handle.is_some() && effect.confirmed_order.is_none() {
            let head = draft.run_mut(run)?;
            let order = head.confirmed;
            head.confirmed += 1;
            effect.confirmed_order = Some(order);
            let key = effect.intent.key.clone();
            draft.put(RowKey::Confirmed(order), Row::Confirmed(key.clone()));
            draft.put(RowKey::Effect(key), Row::Effect(Box::new(effect.clone())));
        }
    }
    draft.journal(run, Note::effect(kind, &effect, &payload))?;
    Ok(effect)
}
