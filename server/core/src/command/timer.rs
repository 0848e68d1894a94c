//! Timers: set, cancel, claim, act.

use serde_json::json;

use super::gate::time_out;
use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::effect::EffectState;
use crate::entity::EntityId;
use crate::gate::TIMEOUT_TIMER_PREFIX;
use crate::id::RunId;
use crate::journal::Kind;
use crate::json::{check_name, check_payload, not_found};
use crate::lease::{CLAIM_MS, Claim};
use crate::refusal::Refusal;
use crate::retry::Backoff;
use crate::row::{Row, RowKey, RowKind};
use crate::run::{RunEvent, Wake};
use crate::time::Time;
use crate::timer::{KIND_GATE_TIMEOUT, KIND_RECONCILE, KIND_REDRIVE, Timer, TimerState};

/// Sets a timer, or re-arms it.
#[derive(Clone, Debug)]
pub struct SetTimer {
    /// Run.
    pub run: RunId,
    /// Name, unique within the run.
    pub id: String,
    /// When it fires.
    pub fire_at: Time,
    /// What it does.
    pub kind: String,
    /// Handed to whoever acts on it, as JSON.
    pub payload_json: String,
}

/// Takes a timer back; final.
#[derive(Clone, Debug)]
pub struct CancelTimer {
    /// Run.
    pub run: RunId,
    /// Name.
    pub id: String,
}

/// Takes a due timer in order to act on it.
#[derive(Clone, Debug)]
pub struct ClaimTimer {
    /// Run.
    pub run: RunId,
    /// Name.
    pub id: String,
    /// Who acts.
    pub owner: String,
    /// For how long, in milliseconds; 0 = [`CLAIM_MS`].
    pub ttl_ms: i64,
    /// Also if it is due only in so many milliseconds: whoever claims it then holds back until it is, and claims it once more
    /// before acting, because it may have been cancelled or set anew meanwhile.
    pub ahead_ms: i64,
    /// Also if it rests because nobody acted on it: a worker has just attached.
    pub at_once: bool,
}

/// Marks a timer as fired. For the built-in kinds the action is part of the same commit.
#[derive(Clone, Debug)]
pub struct FireTimer {
    /// Run.
    pub run: RunId,
    /// Name.
    pub id: String,
    /// Who acted.
    pub owner: String,
}

/// Nobody acted: again later.
#[derive(Clone, Debug)]
pub struct ReleaseTimer {
    /// Run.
    pub run: RunId,
    /// Name.
    pub id: String,
    /// Who tried.
    pub owner: String,
}

impl Command for SetTimer {
    type Reply = Timer;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Timer(self.id.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Timer, Refusal> {
        check_name("timer_id", &self.id)?;
        if self.id.starts_with(TIMEOUT_TIMER_PREFIX) {
            return Err(Refusal::invalid(
                "timer_id",
                &self.id,
                format!("timer_id begins with {TIMEOUT_TIMER_PREFIX:?}: so do the timers of gates alone."),
                "Give the timer another name.",
            ));
        }
        check_name("kind", &self.kind)?;
        check_payload("payload_json", &self.payload_json)?;
        draft.run(&self.run)?;
        if let Some(Row::Timer(timer)) = draft.row(&RowKey::Timer(self.id.clone())) {
            let same =
                timer.fire_at == self.fire_at && timer.kind == self.kind && timer.payload_json == self.payload_json;
            if same || timer.state == TimerState::Cancelled {
                return Ok(timer.clone());
            }
        }
        arm(draft, &self.run, &self.id, self.fire_at, &self.kind, &self.payload_json)
    }
}

pub(super) fn arm(
    draft: &mut Draft,
    run: &RunId,
    id: &str,
    fire_at: Time,
    kind: &str,
    payload: &str,
) -> Result<Timer, Refusal> {
    let timer = Timer {
        id: id.to_owned(),
        fire_at,
        kind: kind.to_owned(),
        payload_json: payload.to_owned(),
        created: draft.now(),
        state: TimerState::Armed { next: fire_at },
        tries: 0,
    };
    draft.put(RowKey::Timer(id.to_owned()), Row::Timer(timer.clone()));
    draft.journal(
        run,
        Note::about(Kind::TimerSet, id, &json!({ "fire_at_ms": fire_at.0, "kind": kind })),
    )?;
    Ok(timer)
}

impl Command for CancelTimer {
    /// Whether it was still waiting.
    type Reply = bool;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Timer(self.id.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<bool, Refusal> {
        let timer = timer(draft, &self.id)?;
        match timer.state {
            TimerState::Fired => return Ok(false),
            TimerState::Cancelled => return Ok(true),
            TimerState::Armed { .. } | TimerState::Claimed(_) => {}
        }
        put(
            draft,
            Timer {
                state: TimerState::Cancelled,
                ..timer
            },
        );
        draft.journal(&self.run, Note::about(Kind::TimerCancelled, &self.id, &json!({})))?;
        Ok(true)
    }
}

impl Command for ClaimTimer {
    /// The timer, if it is due and nobody else acts on it. To whoever has it already, for half the time at least, it is given
    /// without a write.
    type Reply = Option<Timer>;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Timer(self.id.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Option<Timer>, Refusal> {
        let timer = timer(draft, &self.id)?;
        if !timer.claimable(&self.owner, draft.now(), self.ahead_ms, self.at_once) {
            return Ok(None);
        }
        let ttl_ms = if self.ttl_ms <= 0 { CLAIM_MS } else { self.ttl_ms };
        if let TimerState::Claimed(claim) = &timer.state
            && claim.owner == self.owner
            && claim.expires >= draft.now().after(ttl_ms / 2)
        {
            return Ok(Some(timer));
        }
        let claim = Claim {
            owner: self.owner.clone(),
            expires: draft.now().after(ttl_ms),
        };
        let claimed = Timer {
            state: TimerState::Claimed(claim),
            ..timer
        };
        put(draft, claimed.clone());
        Ok(Some(claimed))
    }
}

impl Command for FireTimer {
    type Reply = Timer;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        // What a built-in kind acts on: its gate, or the run's effects in doubt.
        Reads::rows([RowKey::Timer(self.id.clone())])
            .all(RowKind::Gate)
            .all(RowKind::Effect)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Timer, Refusal> {
        let timer = timer(draft, &self.id)?;
        match &timer.state {
            TimerState::Claimed(claim) if claim.owner == self.owner => {}
            // Fired or cancelled meanwhile, or claimed by somebody else: theirs is the last word.
            _ => return Ok(timer),
        }
        let now = draft.now();
        if now < timer.fire_at {
            // Claimed ahead, and the clock was turned back since: its claim runs out, and it is claimed again.
            return Ok(timer);
        }
        match timer.kind.as_str() {
            KIND_GATE_TIMEOUT => {
                let target: GateTarget = serde_json::from_str(&timer.payload_json).unwrap_or_default();
                time_out(draft, &self.run, &target.gate, target.index)?;
            }
            KIND_REDRIVE => {
                let run = draft.run_mut(&self.run)?;
                if run.state.live() {
                    run.apply(RunEvent::Redriven)?;
                    run.wake = Wake { tries: 0, next: now };
                    draft.journal(&self.run, Note::run(Kind::RunRedriven, &json!({ "timer": self.id })))?;
                }
            }
            KIND_RECONCILE => self.reconcile_now(draft, now),
            _ => {}
        }
        let fired = Timer {
            state: TimerState::Fired,
            ..timer
        };
        put(draft, fired.clone());
        draft.journal(
            &self.run,
            Note::about(Kind::TimerFired, &self.id, &json!({ "kind": fired.kind })),
        )?;
        Ok(fired)
    }
}

impl FireTimer {
    /// Makes every effect in doubt due for the reconciler.
    fn reconcile_now(&self, draft: &mut Draft, now: Time) {
        let due: Vec<_> = draft
            .rows()
            .filter_map(|(key, row)| match row {
                Row::Effect(effect) => match &effect.state {
                    EffectState::Unknown(doubt) if doubt.claim.is_none() && doubt.next > now => {
                        let mut effect = effect.as_ref().clone();
                        effect.state = EffectState::Unknown(crate::effect::Doubt {
                            next: now,
                            ..doubt.clone()
                        });
                        Some((key.clone(), effect))
                    }
                    _ => None,
                },
                _ => None,
            })
            .collect();
        for (key, effect) in due {
            draft.put(key, Row::Effect(Box::new(effect)));
        }
    }
}

impl Command for ReleaseTimer {
    type Reply = ();

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Timer(self.id.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let timer = timer(draft, &self.id)?;
        if matches!(&timer.state, TimerState::Claimed(claim) if claim.owner == self.owner) {
            let tries = timer.tries.saturating_add(1);
            let next = draft.now().after(Backoff::DISPATCH.wait_ms(tries, draft.jitter()));
            put(
                draft,
                Timer {
                    state: TimerState::Armed { next },
                    tries,
                    ..timer
                },
            );
        }
        Ok(())
    }
}

#[derive(Default, serde::Deserialize)]
struct GateTarget {
    gate: String,
    index: u32,
}

fn timer(draft: &Draft, id: &str) -> Result<Timer, Refusal> {
    match draft.row(&RowKey::Timer(id.to_owned())) {
        Some(Row::Timer(timer)) => Ok(timer.clone()),
        _ => Err(not_found("TAPE-T001", "timer", id)),
    }
}

fn put(draft: &mut Draft, timer: Timer) {
    draft.put(RowKey::Timer(timer.id.clone()), Row::Timer(timer));
}
