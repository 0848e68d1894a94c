//! Two-phase dispatch of an outbox effect: claim, mark, settle. And what becomes of a claim that ran out.

use serde_json::json;

use super::compensate::cancel_unsent;
use super::complete_effect::settle;
use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::effect::{Attempt, Effect, EffectEvent, EffectState, Mode};
use crate::entity::EntityId;
use crate::id::{EffectKey, RunId};
use crate::journal::Kind;
use crate::json::check_payload;
use crate::lease::{CLAIM_MS, Claim};
use crate::refusal::{Refusal, Status};
use crate::retry::Backoff;
use crate::row::RowKey;
use crate::run::RunState;
use crate::time::Time;

/// Takes an effect in order to dispatch it.
#[derive(Clone, Debug)]
pub struct ClaimDispatch {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Who takes it.
    pub owner: String,
    /// For how long, in milliseconds; 0 = [`CLAIM_MS`].
    pub ttl_ms: i64,
    /// The dispatcher marks by itself; otherwise it counts as sent from the claim on.
    pub two_phase: bool,
    /// Only through one of these connectors; none = through any. A claim that ran out is ended all the same.
    pub connectors: Option<Vec<String>>,
}

/// An effect, and whether the claim was granted.
#[derive(Clone, Debug)]
pub struct ClaimedDispatch {
    /// The dispatcher may go on, under the effect's last attempt.
    pub acquired: bool,
    /// As it stands.
    pub effect: Effect,
}

/// Makes "attempt started" durable, before the first byte leaves.
#[derive(Clone, Debug)]
pub struct MarkSent {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Who dispatches.
    pub owner: String,
    /// The attempt that was claimed.
    pub attempt: u32,
    /// Version of the connector that is about to send; empty where it has none.
    pub version: String,
    /// Digest of its component; empty where it is none.
    pub digest: String,
}

/// Keeps a claim while the dispatch goes on.
#[derive(Clone, Debug)]
pub struct RenewDispatch {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Who holds the claim.
    pub owner: String,
    /// The attempt that was claimed.
    pub attempt: u32,
    /// For how long from now, in milliseconds; 0 = [`CLAIM_MS`].
    pub ttl_ms: i64,
}

/// Records how an attempt ended.
#[derive(Clone, Debug)]
pub struct SettleDispatch {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Who dispatched.
    pub owner: String,
    /// The attempt that was claimed.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// What the host saw leave and come back, as JSON.
    pub evidence_json: String,
    /// Version of the connector; empty = as the mark has it.
    pub version: String,
    /// Digest of its component; empty = as the mark has it.
    pub digest: String,
}

/// How a dispatch ended, by the host's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took hold.
    Confirmed {
        /// The upstream's name for it.
        external_ref: String,
        /// The upstream's answer, as JSON.
        response_json: String,
    },
    /// The upstream said no.
    Failed {
        /// The error, as JSON.
        error_json: String,
        /// Another attempt may succeed.
        retryable: bool,
        /// The upstream's own wish, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// Nothing left the sandbox.
    NothingSent {
        /// Why.
        reason: String,
        /// When another attempt makes sense, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// Nobody could be asked: the connector rests, or a limit gave it no turn. Nothing left, and it was no attempt.
    Nobody {
        /// Who was missed.
        reason: String,
        /// When it makes sense to ask again, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// It may have left; nobody knows how it ended.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Command for ClaimDispatch {
    type Reply = ClaimedDispatch;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<ClaimedDispatch, Refusal> {
        let now = draft.now();
        draft.run(&self.run)?;
        if expire(draft, &self.run, &self.key)? {
            // What the expired claim left behind decides whether there is anything to dispatch.
            let effect = draft.effect(&self.key)?.clone();
            if !matches!(effect.state, EffectState::Pending { .. }) {
                return Ok(ClaimedDispatch {
                    acquired: false,
                    effect,
                });
            }
        }
        let effect = draft.effect(&self.key)?;
        if matches!(effect.state, EffectState::Pending { .. }) && !self.serves(&effect.intent.connector) {
            // A hint that named it all the same does not know the connector: written again, it does.
            let effect = effect.clone();
            draft.put(
                RowKey::Effect(self.key.clone()),
                crate::row::Row::Effect(Box::new(effect.clone())),
            );
            return Ok(ClaimedDispatch {
                acquired: false,
                effect,
            });
        }
        if effect.unsent() && matches!(draft.run(&self.run)?.state, RunState::Compensating { .. }) {
            // The compensation is about to come by: what it undoes must not leave before it does.
            return Ok(ClaimedDispatch {
                acquired: false,
                effect: cancel_unsent(draft, &self.run, &self.key)?,
            });
        }
        let free = match &effect.state {
            EffectState::Pending { next } => effect.intent.mode == Mode::Outbox && *next <= now,
            _ => false,
        };
        if !free {
            return Ok(ClaimedDispatch {
                acquired: false,
                effect: effect.clone(),
            });
        }
        let claim = Claim {
            owner: self.owner.clone(),
            expires: now.after(ttl(self.ttl_ms)),
        };
        let attempt = Attempt {
            number: effect.attempt().map_or(0, |last| last.number).saturating_add(1),
            owner: self.owner.clone(),
            claimed: now,
            sent: (!self.two_phase).then_some(now),
            ended: None,
            version: String::new(),
            outcome: String::new(),
            evidence_json: String::new(),
            error: String::new(),
            digest: String::new(),
        };
        let number = attempt.number;
        let mut effect = draft.move_effect(&self.key, EffectEvent::Claimed(claim), |effect| {
            effect.attempts.push(attempt);
        })?;
        let payload = json!({ "owner": self.owner, "attempt": number });
        draft.journal(&self.run, Note::effect(Kind::EffectClaimed, &effect, &payload))?;
        if !self.two_phase {
            effect = draft.move_effect(&self.key, EffectEvent::Marked, |_| ())?;
            draft.journal(&self.run, Note::effect(Kind::EffectSent, &effect, &payload))?;
        }
        Ok(ClaimedDispatch { acquired: true, effect })
    }
}

impl ClaimDispatch {
    fn serves(&self, connector: &String) -> bool {
        self.connectors
            .as_ref()
            .is_none_or(|connectors| connectors.contains(connector))
    }
}

impl Command for MarkSent {
    type Reply = ();

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let now = draft.now();
        let effect = draft.effect(&self.key)?;
        holder(effect, &self.owner, self.attempt)?;
        match &effect.state {
            EffectState::Sent(_) => return Ok(()),
            // A claim that ran out may have been given to somebody else by the time the byte leaves.
            EffectState::Claimed(claim) if !claim.lives(now) => return Err(lost(effect, &self.owner, self.attempt)),
            _ => {}
        }
        let effect = draft.move_effect(&self.key, EffectEvent::Marked, |effect| {
            if let Some(attempt) = effect.attempts.last_mut() {
                attempt.sent = Some(now);
                attempt.by(&self.version, &self.digest);
            }
        })?;
        let mut payload = json!({ "attempt": self.attempt });
        if !self.version.is_empty() {
            payload["connector_version"] = json!(self.version);
            payload["connector_digest"] = json!(self.digest);
        }
        draft.journal(&self.run, Note::effect(Kind::EffectSent, &effect, &payload))?;
        Ok(())
    }
}

impl Command for RenewDispatch {
    type Reply = ();

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let expires = draft.now().after(ttl(self.ttl_ms));
        let mut effect = draft.effect(&self.key)?.clone();
        holder(&effect, &self.owner, self.attempt)?;
        if let EffectState::Claimed(claim) | EffectState::Sent(claim) = &mut effect.state {
            claim.expires = claim.expires.max(expires);
            draft.put(
                RowKey::Effect(self.key.clone()),
                crate::row::Row::Effect(Box::new(effect)),
            );
        }
        Ok(())
    }
}

impl Command for SettleDispatch {
    type Reply = Effect;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.key.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Effect, Refusal> {
        let now = draft.now();
        let effect = draft.effect(&self.key)?;
        // The same answer again, or one that comes after the books were asked: the row stands.
        let ours = effect
            .attempt()
            .is_some_and(|a| a.number == self.attempt && a.owner == self.owner);
        if effect.state.settled() || (ours && effect.attempt().is_some_and(|a| a.ended.is_some())) {
            return Ok(effect.clone());
        }
        holder(effect, &self.owner, self.attempt)?;
        let failures = effect.tries();
        let (jitter, repeatable) = (draft.jitter(), effect.repeatable());
        let backoff =
            |wish: Option<i64>| now.after(wish.unwrap_or_else(|| Backoff::DISPATCH.wait_ms(failures, jitter)));
        let more = Backoff::DISPATCH.more(failures);
        let marked = matches!(effect.state, EffectState::Sent(_));

        let (event, kind, name, error) = match &self.outcome {
            Outcome::Confirmed { response_json, .. } => {
                check_payload("response_json", response_json)?;
                (
                    EffectEvent::Confirmed,
                    Kind::EffectConfirmed,
                    "confirmed",
                    String::new(),
                )
            }
            Outcome::Failed {
                error_json,
                retryable,
                retry_after_ms,
            } => {
                check_payload("error_json", error_json)?;
                if *retryable && more {
                    (
                        EffectEvent::NothingSent {
                            next: backoff(*retry_after_ms),
                        },
                        Kind::EffectRetrying,
                        "failed",
                        error_json.clone(),
                    )
                } else {
                    (EffectEvent::Failed, Kind::EffectFailed, "failed", error_json.clone())
                }
            }
            Outcome::NothingSent { reason, retry_after_ms } if more => (
                EffectEvent::NothingSent {
                    next: backoff(*retry_after_ms),
                },
                Kind::EffectRetrying,
                "retry",
                reason.clone(),
            ),
            Outcome::NothingSent { reason, .. } => (EffectEvent::Failed, Kind::EffectFailed, "retry", reason.clone()),
            Outcome::Nobody { reason, retry_after_ms } => {
                let next = now.after(effect.nobody_wait_ms(now).max(retry_after_ms.unwrap_or_default()));
                (
                    EffectEvent::NothingSent { next },
                    Kind::EffectRetrying,
                    Attempt::NOBODY,
                    reason.clone(),
                )
            }
            // The upstream deduplicates: the same key may go again, and tells how it ended.
            Outcome::Unknown { reason } if repeatable && more => (
                EffectEvent::Resend { next: backoff(None) },
                Kind::EffectRetrying,
                "unknown",
                reason.clone(),
            ),
            Outcome::Unknown { reason } => (
                EffectEvent::Unanswered(Effect::doubt(reason.clone(), now)),
                Kind::EffectUnknown,
                "unknown",
                reason.clone(),
            ),
        };
        if !marked && matches!(event, EffectEvent::Unanswered(_)) {
            // Doubt without a mark: the dispatcher cannot know more than the journal. Mark first.
            draft.move_effect(&self.key, EffectEvent::Marked, |_| ())?;
        }
        let failed = matches!(event, EffectEvent::Failed);
        let effect = draft.move_effect(&self.key, event, |effect| {
            end_attempt(effect, now, name, &error, &self.evidence_json);
            if let Some(attempt) = effect.attempts.last_mut() {
                attempt.by(&self.version, &self.digest);
            }
            effect.fold_refusals();
            if let Outcome::Confirmed {
                external_ref,
                response_json,
            } = &self.outcome
            {
                effect.external_ref.clone_from(external_ref);
                effect.response_json.clone_from(response_json);
            }
            if failed {
                effect.error_json = match &self.outcome {
                    Outcome::Failed { error_json, .. } => error_json.clone(),
                    _ => json!({ "code": "not-sent", "message": error }).to_string(),
                };
            }
        })?;
        let mut payload = json!({ "attempt": self.attempt });
        if !error.is_empty() {
            payload["error"] = json!(error);
        }
        settle(draft, &self.run, effect, kind, &payload)
    }
}

/// If the claim on an effect ran out, puts it where the journal can vouch for it: without a mark it is free again, with
/// one it is in doubt. Returns whether it did.
fn expire(draft: &mut Draft, run: &RunId, key: &EffectKey) -> Result<bool, Refusal> {
    let now = draft.now();
    let effect = draft.effect(key)?;
    let failures = effect.tries();
    let repeatable = effect.repeatable() && Backoff::DISPATCH.more(failures);
    let (event, kind, error) = match &effect.state {
        EffectState::Claimed(claim) if !claim.lives(now) => (
            EffectEvent::NothingSent { next: now },
            Kind::EffectRetrying,
            "the claim ran out before anything left",
        ),
        EffectState::Sent(claim) if !claim.lives(now) && repeatable => (
            EffectEvent::Resend { next: now },
            Kind::EffectRetrying,
            "the dispatcher went away; the upstream deduplicates",
        ),
        EffectState::Sent(claim) if !claim.lives(now) => {
            let reason = "the dispatcher went away after the request may have left";
            (
                EffectEvent::Unanswered(Effect::doubt(reason, now)),
                Kind::EffectUnknown,
                reason,
            )
        }
        _ => return Ok(false),
    };
    let effect = draft.move_effect(key, event, |effect| end_attempt(effect, now, "expired", error, ""))?;
    draft.journal(
        run,
        Note::effect(kind, &effect, &json!({ "reason": error, "tool": effect.intent.tool })),
    )?;
    Ok(true)
}

pub(super) fn end_attempt(effect: &mut Effect, now: Time, outcome: &str, error: &str, evidence: &str) {
    if let Some(attempt) = effect.attempts.last_mut() {
        attempt.ended = Some(now);
        attempt.outcome = outcome.to_owned();
        attempt.error = error.to_owned();
        attempt.evidence_json = evidence.to_owned();
    }
}

/// Checks that `owner` holds `attempt`, the last one, and that it is still open.
fn holder(effect: &Effect, owner: &str, attempt: u32) -> Result<(), Refusal> {
    let last = effect.attempt();
    let held = last.is_some_and(|a| a.number == attempt && a.owner == owner && a.ended.is_none());
    if held && effect.claim().is_some() {
        Ok(())
    } else {
        Err(lost(effect, owner, attempt))
    }
}

fn lost(effect: &Effect, owner: &str, attempt: u32) -> Refusal {
    let (holder, number) = effect.attempt().map_or(("nobody", 0), |a| (a.owner.as_str(), a.number));
    Refusal::new(
        Status::Aborted,
        "TAPE-E011",
        format!(
            "Attempt {attempt} by {owner:?} on effect {} is over; the last is {number} by {holder:?}.",
            effect.intent.key
        ),
        "Stop: send nothing, record nothing.",
    )
    .held_by(holder, u64::from(number))
}

fn ttl(ttl_ms: i64) -> i64 {
    if ttl_ms <= 0 { CLAIM_MS } else { ttl_ms }
}
