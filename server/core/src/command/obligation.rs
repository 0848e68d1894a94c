//! Obligations: register, claim, settle.

use serde_json::json;

use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::effect::{BOOKS_LAG_MS, Handle};
use crate::entity::EntityId;
use crate::id::{EffectKey, RunId};
use crate::journal::Kind;
use crate::json::check_payload;
use crate::lease::{CLAIM_MS, Claim};
use crate::obligation::{ATTEMPTS_MAX, Obligation, ObligationEvent, ObligationState};
use crate::refusal::{Refusal, Status};
use crate::retry::Backoff;
use crate::row::{Row, RowKey, RowKind};
use crate::time::Time;

/// How long an obligation rests when nobody could be asked to work on it.
const NOBODY_MIN_MS: i64 = 1_000;
const NOBODY_MAX_MS: i64 = 60_000;

/// Registers a compensation explicitly.
#[derive(Clone, Debug)]
pub struct RegisterCompensation {
    /// Run.
    pub run: RunId,
    /// Effect to undo.
    pub effect: EffectKey,
    /// How.
    pub handle: Handle,
    /// Attempts; 0 = [`ATTEMPTS_MAX`].
    pub attempts_max: u32,
}

/// Takes an obligation in order to work on it.
#[derive(Clone, Debug)]
pub struct ClaimObligation {
    /// Run.
    pub run: RunId,
    /// Obligation.
    pub seq: i64,
    /// Who takes it.
    pub owner: String,
    /// For how long, in milliseconds; 0 = [`CLAIM_MS`].
    pub ttl_ms: i64,
    /// Also if it rests because nobody could be asked: a worker has just attached.
    pub at_once: bool,
    /// Who claims undoes it by means of its own, and looks for what may have happened itself: a claim that ran out is free then and
    /// there, also before the upstream's books can tell.
    pub from_outside: bool,
}

/// An obligation, and whether the claim was granted.
#[derive(Clone, Debug)]
pub struct ClaimedObligation {
    /// The compensator may go on.
    pub acquired: bool,
    /// As it stands.
    pub obligation: Obligation,
}

/// Records how an attempt to undo ended.
#[derive(Clone, Debug)]
pub struct SettleObligation {
    /// Run.
    pub run: RunId,
    /// Obligation.
    pub seq: i64,
    /// The claim under which it was worked on; none from plain clients, who hold it by their word.
    pub owner: Option<String>,
    /// How it ended.
    pub outcome: Undone,
    /// What the host saw leave and come back, as JSON.
    pub evidence_json: String,
}

/// How an attempt to undo ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It is undone.
    Compensated {
        /// The upstream's answer, as JSON.
        result_json: String,
    },
    /// It is not, or nobody knows: try again later, asking first.
    TryAgain {
        /// What went wrong.
        error: String,
        /// It may have been undone all the same.
        in_doubt: bool,
        /// When, if the caller or the upstream says so.
        next_ms: Option<i64>,
    },
    /// Nobody could be asked: no worker, no connector. It was no attempt.
    Nobody {
        /// Who was missed.
        error: String,
    },
    /// Nobody should try again.
    Stuck {
        /// Why.
        error: String,
    },
}

impl Command for RegisterCompensation {
    type Reply = Obligation;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Effect(self.effect.clone())]).all(RowKind::Obligation)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Obligation, Refusal> {
        check_payload("payload_json", &self.handle.payload_json)?;
        let external_ref = draft.effect(&self.effect)?.external_ref.clone();
        let same = draft.rows().find_map(|(_, row)| match row {
            Row::Obligation(o) if o.effect == self.effect && o.handle == self.handle => Some(o.as_ref().clone()),
            _ => None,
        });
        match same {
            Some(obligation) => Ok(obligation),
            None => register(
                draft,
                &self.run,
                &self.effect,
                self.handle.clone(),
                &external_ref,
                None,
                self.attempts_max,
            ),
        }
    }
}

/// Creates an obligation, due at once.
pub(super) fn register(
    draft: &mut Draft,
    run: &RunId,
    effect: &EffectKey,
    handle: Handle,
    external_ref: &str,
    order: Option<u32>,
    attempts_max: u32,
) -> Result<Obligation, Refusal> {
    let payload = json!({ "effect": effect.as_str(), "kind": handle.kind, "external_ref": external_ref });
    let seq = draft.journal(run, Note::about(Kind::ObligationRegistered, effect.as_str(), &payload))?;
    let obligation = Obligation {
        seq,
        effect: effect.clone(),
        handle,
        external_ref: external_ref.to_owned(),
        order,
        state: ObligationState::Pending { next: draft.now() },
        attempts: 0,
        attempts_max: if attempts_max == 0 { ATTEMPTS_MAX } else { attempts_max },
        last_error: String::new(),
        result_json: String::new(),
        evidence: Vec::new(),
        at: draft.now(),
        in_doubt: false,
        claimed: Time::ZERO,
        unasked: false,
    };
    draft.put_obligation(obligation.clone());
    Ok(obligation)
}

impl Command for ClaimObligation {
    type Reply = ClaimedObligation;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Obligation(self.seq)])
    }

    fn decide(&self, draft: &mut Draft) -> Result<ClaimedObligation, Refusal> {
        let now = draft.now();
        draft.run(&self.run)?;
        let mut obligation = draft.obligation(self.seq)?.clone();
        let ran_out = matches!(&obligation.state, ObligationState::Committed(claim) if !claim.lives(now));
        if !(obligation.free(now, self.at_once) || self.from_outside && ran_out) {
            return Ok(ClaimedObligation {
                acquired: false,
                obligation,
            });
        }
        let ttl_ms = if self.ttl_ms <= 0 { CLAIM_MS } else { self.ttl_ms };
        let claim = Claim {
            owner: self.owner.clone(),
            expires: now.after(ttl_ms),
        };
        // Whoever held it before went away: the claim is the mark, so it may have been undone.
        obligation.in_doubt |= matches!(obligation.state, ObligationState::Committed(_));
        moved(&mut obligation, ObligationEvent::Claimed(claim))?;
        obligation.attempts += 1;
        obligation.claimed = now;
        obligation.unasked = false;
        let payload = json!({ "owner": self.owner, "attempt": obligation.attempts, "obligation": self.seq });
        draft.journal(
            &self.run,
            Note::about(Kind::ObligationClaimed, obligation.effect.as_str(), &payload),
        )?;
        draft.put_obligation(obligation.clone());
        Ok(ClaimedObligation {
            acquired: true,
            obligation,
        })
    }
}

impl Command for SettleObligation {
    type Reply = Obligation;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Obligation(self.seq)])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Obligation, Refusal> {
        let (now, jitter) = (draft.now(), draft.jitter());
        draft.run(&self.run)?;
        let mut obligation = draft.obligation(self.seq)?.clone();
        if matches!(obligation.state, ObligationState::Compensated | ObligationState::Stuck) {
            return Ok(obligation);
        }
        if let (Some(owner), ObligationState::Committed(claim)) = (&self.owner, &obligation.state)
            && *owner != claim.owner
        {
            return Err(Refusal::new(
                Status::Aborted,
                "TAPE-O003",
                format!(
                    "Obligation {} is worked on by {:?}, not by {owner:?}.",
                    self.seq, claim.owner
                ),
                "Stop: record nothing.",
            )
            .held_by(&claim.owner, u64::from(obligation.attempts)));
        }
        if let (Some(owner), ObligationState::Pending { .. }) = (&self.owner, &obligation.state) {
            // Its claim is over: somebody had the obligation since and gave it back, and may have undone it himself.
            return Err(Refusal::new(
                Status::Aborted,
                "TAPE-O003",
                format!("Obligation {} is not claimed by {owner:?} any more.", self.seq),
                "Stop: record nothing. Claim it again to work on it.",
            ));
        }
        if let (None, ObligationState::Pending { .. }) = (&self.owner, &obligation.state) {
            // A plain client may settle without having claimed: its word counts as the claim.
            moved(
                &mut obligation,
                ObligationEvent::Claimed(Claim {
                    owner: String::new(),
                    expires: now,
                }),
            )?;
            obligation.attempts += 1;
        }
        let more = obligation.attempts < obligation.attempts_max;
        let (event, kind, error) = match &self.outcome {
            Undone::Compensated { result_json } => {
                check_payload("result_json", result_json)?;
                obligation.result_json.clone_from(result_json);
                (ObligationEvent::Resolved, Kind::ObligationCompensated, String::new())
            }
            Undone::TryAgain {
                error,
                next_ms,
                in_doubt,
            } if more => {
                obligation.in_doubt = *in_doubt;
                let wait = next_ms.unwrap_or_else(|| Backoff::DISPATCH.wait_ms(obligation.attempts, jitter));
                // What may have left is looked for before it is repeated, and not before the books can tell.
                let wait = if *in_doubt { wait.max(BOOKS_LAG_MS) } else { wait };
                (
                    ObligationEvent::TryAgain { next: now.after(wait) },
                    Kind::ObligationRetrying,
                    error.clone(),
                )
            }
            Undone::Nobody { error } => {
                obligation.attempts = obligation.attempts.saturating_sub(1);
                obligation.unasked = true;
                // A quarter of the time that it has waited already: looked for less and less often.
                let wait = (now.since(obligation.at) / 4).clamp(NOBODY_MIN_MS, NOBODY_MAX_MS);
                (
                    ObligationEvent::TryAgain { next: now.after(wait) },
                    Kind::ObligationRetrying,
                    error.clone(),
                )
            }
            Undone::TryAgain { error, .. } | Undone::Stuck { error } => {
                (ObligationEvent::GaveUp, Kind::ObligationStuck, error.clone())
            }
        };
        moved(&mut obligation, event)?;
        obligation.last_error.clone_from(&error);
        if !self.evidence_json.is_empty() {
            obligation.evidence.push(self.evidence_json.clone());
        }
        let mut payload = json!({ "obligation": self.seq, "attempt": obligation.attempts });
        if !error.is_empty() {
            payload["error"] = json!(error);
        }
        draft.journal(&self.run, Note::about(kind, obligation.effect.as_str(), &payload))?;
        draft.put_obligation(obligation.clone());
        Ok(obligation)
    }
}

pub(super) fn moved(obligation: &mut Obligation, event: ObligationEvent) -> Result<(), Refusal> {
    obligation.state = obligation.state.clone().apply(event).map_err(|illegal| {
        Refusal::new(
            Status::FailedPrecondition,
            "TAPE-O002",
            format!(
                "Obligation {} is {}: {} cannot happen to it.",
                obligation.seq, illegal.state, illegal.event
            ),
            "Read the obligation again; it was settled, or somebody else works on it.",
        )
    })?;
    Ok(())
}
