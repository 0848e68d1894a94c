//! An obligation: something that was done and has to be undone.
//!
//! ```text
//! Pending ──claim──▶ Committed ──resolved──▶ Compensated
//!   ▲  ▲               │ │ no answer
//!   │  │ failed, or    │ └──▶ Pending { observe_first }   (it may have been undone already: ask before repeating)
//!   │  └─ claim expired┘
//!   └── a person ── Stuck ◀── attempts used up
//! ```

use serde::{Deserialize, Serialize};

use crate::effect::{BOOKS_LAG_MS, Handle};
use crate::id::EffectKey;
use crate::lease::Claim;
use crate::row::{Due, DueKind};
use crate::time::Time;

/// One pending, or done, compensation of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obligation {
    /// Its id: the seq of the entry that registered it.
    pub seq: i64,
    /// The effect that is undone.
    pub effect: EffectKey,
    /// How, by whom.
    pub handle: Handle,
    /// The upstream's name for what is undone: the effect's own, or that of a surplus booking.
    pub external_ref: String,
    /// Among the obligations of a compensation: greater is undone first. None for those that stand alone.
    pub order: Option<u32>,
    /// Where it stands.
    pub state: ObligationState,
    /// Attempts so far. Also the fence of the claim in force.
    pub attempts: u32,
    /// Attempts after which it is stuck.
    pub attempts_max: u32,
    /// What went wrong last.
    pub last_error: String,
    /// What the upstream answered, as JSON.
    pub result_json: String,
    /// What the host saw leave and come back, as JSON, newest last.
    pub evidence: Vec<String>,
    /// When it was registered.
    pub at: Time,
    /// An attempt may have undone it without an answer: the upstream is asked before anybody repeats it.
    pub in_doubt: bool,
    /// When it was claimed last: what undoes it may have left from then on.
    #[serde(default)]
    pub claimed: Time,
    /// It rests because nobody could be asked: who comes may be asked at once.
    #[serde(default)]
    pub unasked: bool,
}

/// Where an obligation stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObligationState {
    /// Waits for its turn.
    Pending {
        /// Not before this.
        next: Time,
    },
    /// Somebody undoes it now.
    Committed(Claim),
    /// Undone. Final.
    Compensated,
    /// Could not be undone: a person must settle it.
    Stuck,
}

/// What can happen to an obligation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObligationEvent {
    /// A compensator takes it.
    Claimed(Claim),
    /// It was undone.
    Resolved,
    /// It was not, or nobody knows: again later.
    TryAgain {
        /// When.
        next: Time,
    },
    /// Attempts are used up.
    GaveUp,
    /// A person settled it.
    SettledAs {
        /// Whether it is undone.
        compensated: bool,
    },
}

/// An event that cannot happen in this state. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalMove {
    /// The state's name.
    pub state: &'static str,
    /// The event's name.
    pub event: &'static str,
}

impl ObligationState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalMove`] if `event` cannot happen in this state.
    pub fn apply(self, event: ObligationEvent) -> Result<Self, IllegalMove> {
        use ObligationEvent as E;
        Ok(match (self, event) {
            (Self::Pending { .. } | Self::Committed(_), E::Claimed(claim)) => Self::Committed(claim),
            (Self::Committed(_), E::Resolved) => Self::Compensated,
            (Self::Committed(_) | Self::Pending { .. }, E::TryAgain { next }) => Self::Pending { next },
            (Self::Committed(_) | Self::Pending { .. }, E::GaveUp) => Self::Stuck,
            (Self::Stuck | Self::Pending { .. }, E::SettledAs { compensated: true }) => Self::Compensated,
            (Self::Pending { .. }, E::SettledAs { compensated: false }) => Self::Stuck,
            (state, event) => {
                return Err(IllegalMove {
                    state: state.name(),
                    event: event.name(),
                });
            }
        })
    }

    /// The name of the status on the wire, without its prefix.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pending { .. } => "PENDING",
            Self::Committed(_) => "COMMITTED",
            Self::Compensated => "COMPENSATED",
            Self::Stuck => "STUCK",
        }
    }
}

impl ObligationEvent {
    const fn name(&self) -> &'static str {
        match self {
            Self::Claimed(_) => "claimed",
            Self::Resolved => "resolved",
            Self::TryAgain { .. } => "try again",
            Self::GaveUp => "gave up",
            Self::SettledAs { .. } => "settled by hand",
        }
    }
}

/// Attempts after which an obligation is stuck, unless it says otherwise.
pub const ATTEMPTS_MAX: u32 = 5;

impl Obligation {
    /// When it is work that waits. Those of a compensation are reached through their run, one after the other. One that
    /// is stuck is never due, and found all the same.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        let at = match &self.state {
            ObligationState::Stuck => Time::NEVER,
            _ if self.order.is_some() => return None,
            _ => self.free_at()?,
        };
        Some(Due {
            kind: DueKind::Compensation,
            at,
        })
    }

    /// When somebody may take it; none = never. A claim that ran out may have undone it, which is looked for: not before the
    /// upstream's books can tell.
    #[must_use]
    pub fn free_at(&self) -> Option<Time> {
        match &self.state {
            ObligationState::Pending { next } => Some(*next),
            ObligationState::Committed(claim) => Some(claim.expires.max(self.claimed.after(BOOKS_LAG_MS))),
            ObligationState::Compensated | ObligationState::Stuck => None,
        }
    }

    /// Whether somebody may take it now; with `at_once` also when it rests for want of somebody to ask.
    #[must_use]
    pub fn free(&self, now: Time, at_once: bool) -> bool {
        self.free_at().is_some_and(|at| at <= now || (at_once && self.unasked))
    }

    /// The connector that its work waits for; see [`Row::waits_for`](crate::row::Row::waits_for). One that names neither
    /// connector nor function is undone by the effect's own connector, which the row does not tell.
    #[must_use]
    pub fn waits_for(&self) -> Option<&str> {
        let open = self.state != ObligationState::Compensated;
        open.then_some(self.handle.connector.as_str())
    }

    /// The key under which the upstream is asked to undo it, where the effect itself is called `reference` there. What was booked
    /// beside it is another thing to undo: an upstream that knows repetitions by their key must not take one for the other.
    #[must_use]
    pub fn idempotency_key(&self, reference: &str) -> String {
        if self.external_ref == reference {
            format!("compensate:{}", self.effect)
        } else {
            format!("compensate:{}:{}", self.effect, self.external_ref)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_meets_every_event() {
        let claim = || Claim {
            owner: "a".into(),
            expires: Time(10),
        };
        let states = [
            ObligationState::Pending { next: Time(0) },
            ObligationState::Committed(claim()),
            ObligationState::Compensated,
            ObligationState::Stuck,
        ];
        let events = [
            ObligationEvent::Claimed(claim()),
            ObligationEvent::Resolved,
            ObligationEvent::TryAgain { next: Time(1) },
            ObligationEvent::GaveUp,
            ObligationEvent::SettledAs { compensated: true },
            ObligationEvent::SettledAs { compensated: false },
        ];
        let table = [
            ("PENDING", "COMMITTED - PENDING STUCK COMPENSATED STUCK"),
            ("COMMITTED", "COMMITTED COMPENSATED PENDING STUCK - -"),
            ("COMPENSATED", "- - - - - -"),
            ("STUCK", "- - - - COMPENSATED -"),
        ];
        for (state, (name, row)) in states.iter().zip(table) {
            assert_eq!(state.name(), name);
            for (event, expected) in events.iter().zip(row.split(' ')) {
                let after = state.clone().apply(event.clone()).map_or("-", |next| next.name());
                assert_eq!(after, expected, "{name} + {}", event.name());
            }
        }
    }
}
