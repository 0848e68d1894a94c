//! A timer: something to do at a time, at least once, never early.
//!
//! ```text
//! Armed ──claim──▶ Claimed ──acknowledged──▶ Fired
//!   ▲ └─cancel─▶ Cancelled  │ claim expired, or the action failed
//!   └───────────────────────┘
//! ```

use serde::{Deserialize, Serialize};

use crate::lease::Claim;
use crate::row::{Due, DueKind};
use crate::time::Time;

/// Fires a gate's timeout.
pub const KIND_GATE_TIMEOUT: &str = "gate_timeout";
/// Makes a run runnable.
pub const KIND_REDRIVE: &str = "redrive";
/// Makes the run's doubtful effects due for the reconciler.
pub const KIND_RECONCILE: &str = "reconcile";

/// One timer of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Name, unique within the run. Setting it again re-arms.
    pub id: String,
    /// When it fires.
    pub fire_at: Time,
    /// `gate_timeout`, `redrive`, `reconcile`, or the user's own.
    pub kind: String,
    /// Handed to whoever acts on it, as JSON.
    pub payload_json: String,
    /// When it was set.
    pub created: Time,
    /// Where it stands.
    pub state: TimerState,
    /// Failed tries to act on it.
    pub tries: u32,
}

/// Where a timer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimerState {
    /// Waits for its time, or for the next try.
    Armed {
        /// When to look at it.
        next: Time,
    },
    /// Somebody acts on it.
    Claimed(Claim),
    /// Done.
    Fired,
    /// Taken back; final.
    Cancelled,
}

impl Timer {
    /// When it is work that waits. Never before `fire_at`.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        let at = match &self.state {
            TimerState::Armed { next } => (*next).max(self.fire_at),
            TimerState::Claimed(claim) => claim.expires.max(self.fire_at),
            TimerState::Fired | TimerState::Cancelled => return None,
        };
        Some(Due {
            kind: DueKind::Timers,
            at,
        })
    }

    /// Whether `owner` may have it at this time, to act on it within `ahead_ms`. A claim is looked at as it stands now: who
    /// asks ahead does not get what somebody else still holds. With `at_once` it does not rest after a try that failed; its
    /// time must have come all the same.
    #[must_use]
    pub fn claimable(&self, owner: &str, now: Time, ahead_ms: i64, at_once: bool) -> bool {
        let ahead = now.after(ahead_ms.max(0));
        ahead >= self.fire_at
            && match &self.state {
                TimerState::Armed { next } => at_once || ahead >= *next,
                TimerState::Claimed(claim) => claim.owner == owner || !claim.lives(now),
                TimerState::Fired | TimerState::Cancelled => false,
            }
    }
}
