//! The life of one run, and the lock on driving it.
//!
//! ```text
//!           BeginRun                     park (gate not resolved)
//!  (new) ────────────▶ Running ─────────────────────────────────▶ Waiting
//!    │                  ▲   │ lease expired                         │ signal, gate timeout
//!    │ StartRun         │   ▼                                       ▼
//!    └──────────────▶ Runnable ◀──────────────────────────────── Runnable
//!
//!  Running ──end──▶ Terminal | Failed | Stuck      any live ──cancel──▶ Cancelled
//!  live, Failed, Stuck, Terminal, Cancelled ──compensate──▶ Compensating ──done──▶ Failed   ──one stuck──▶ Stuck
//!  Failed | Stuck ──redrive──▶ Runnable
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{RunId, RunIdentity};
use crate::lease::{Driver, Lease};
use crate::refusal::{Refusal, Status, shorten};
use crate::row::{Due, DueKind};
use crate::time::Time;

/// One conversation turn, task or trajectory of an agent: the unit of leasing, cancelling, budget and replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Derived from `identity`.
    pub id: RunId,
    /// Who it is.
    pub identity: RunIdentity,
    /// What the caller told about itself.
    pub caller: Caller,
    /// Where it stands.
    pub state: RunState,
    /// Number of the latest take-over; 0 before the first.
    pub fence: u64,
    /// Whether the driver of that take-over sends its fence. If so, a write without one is refused.
    pub fenced: bool,
    /// Owner of that take-over.
    pub driver: String,
    /// Seq of the newest journal entry.
    pub seq: i64,
    /// One more than the greatest recorded decision index.
    pub next_decision_index: i64,
    /// Recorded decisions.
    pub decisions: i64,
    /// Effects begun.
    pub effects: i64,
    /// Take-overs so far; each has a row of its own.
    pub leases: u32,
    /// Effects confirmed with a compensation handle: the next position in the order of confirmation.
    pub confirmed: u32,
    /// When it was created.
    pub started: Time,
    /// When it ended.
    pub ended: Option<Time>,
    /// How many times its app has been woken without anybody taking the lease, and when to try next.
    pub wake: Wake,
    /// What the ending said, as JSON.
    pub detail_json: String,
    /// What it was started with, as JSON.
    pub input_json: String,
    /// What went wrong last, for people.
    pub last_error: String,
    /// Set once a cancel has been asked for, with its reason.
    pub cancelled: Option<String>,
    /// The run that started this one.
    pub parent: Option<RunId>,
    /// The run that this one continues.
    pub predecessor: Option<RunId>,
    /// When its payloads were dropped last.
    #[serde(default)]
    pub compacted: Option<Time>,
}

/// What the caller of BeginRun told about itself: kept, shown, and used for filters and scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Principal that acts.
    pub actor: String,
    /// Principal on whose behalf.
    pub subject: String,
    /// Identity of the agent.
    pub agent_id: String,
    /// Instance of the agent platform.
    pub aiplex_instance_id: String,
    /// Route of the gateway through which it came.
    pub gateway_route: String,
    /// Scopes granted to the run.
    pub scopes: Vec<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

/// How the waking of a run's app goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// Tries since a driver last took the lease.
    pub tries: u32,
    /// Not before this.
    pub next: Time,
}

/// Where a run stands. States hold what is true only in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Waits for a driver.
    Runnable,
    /// A driver holds, or held, the lease.
    Running(Lease),
    /// Parked on a gate; nobody holds a lease.
    Waiting {
        /// The gate's name.
        gate: String,
        /// The n-th await of that name.
        index: u32,
    },
    /// Effects are being undone, in reverse order of confirmation.
    Compensating {
        /// What a stuck obligation means for the rest.
        policy: CompensationPolicy,
        /// When to look again.
        next: Time,
    },
    /// Ended well.
    Terminal,
    /// Ended badly.
    Failed,
    /// Ended by a cancel.
    Cancelled,
    /// Cannot go on without a person.
    Stuck,
}

/// What a stuck obligation means for the obligations before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompensationPolicy {
    /// Nothing further is undone until a person has settled it.
    #[default]
    StopAtStuck,
    /// The rest is undone all the same.
    GoOn,
}

/// What can happen to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// A driver took the lease, or renewed it.
    LeaseTaken(Lease),
    /// The lease ran out, or its holder is known to be dead.
    LeaseLost,
    /// The driver waits at a gate.
    Parked {
        /// The gate's name.
        gate: String,
        /// The n-th await of that name.
        index: u32,
    },
    /// What it waited for is there.
    Woken,
    /// The driver ended it.
    Ended(Ending),
    /// A cancel from outside.
    Cancelled,
    /// Somebody asked to undo its effects.
    CompensationAsked {
        /// What a stuck obligation means.
        policy: CompensationPolicy,
        /// When to begin.
        at: Time,
    },
    /// All obligations are done.
    Compensated,
    /// An obligation is stuck.
    CompensationStuck,
    /// An operator reopened it.
    Redriven,
}

/// How a driver ends its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Terminal,
    /// Badly.
    Failed,
    /// In a way that a person has to look at.
    Stuck,
}

/// An event that cannot happen in this state. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IllegalMove {
    /// The state, by its name on the wire.
    pub state: &'static str,
    /// The event.
    pub event: &'static str,
}

impl RunState {
    /// The state after `event`.
    ///
    /// # Errors
    /// [`IllegalMove`] if `event` cannot happen in this state.
    pub fn apply(self, event: RunEvent) -> Result<Self, IllegalMove> {
        use RunEvent as E;
        Ok(match (self, event) {
            (Self::Runnable | Self::Running(_) | Self::Waiting { .. }, E::LeaseTaken(lease)) => Self::Running(lease),
            (Self::Running(_), E::LeaseLost) => Self::Runnable,
            (Self::Running(_) | Self::Runnable | Self::Waiting { .. }, E::Parked { gate, index }) => {
                Self::Waiting { gate, index }
            }
            (Self::Waiting { .. }, E::Woken) => Self::Runnable,
            // A signal may come while the driver is still at work: it will find it when it asks.
            (state @ (Self::Running(_) | Self::Runnable), E::Woken) => state,
            (Self::Running(_) | Self::Runnable | Self::Waiting { .. }, E::Ended(ending)) => ending.into(),
            (Self::Running(_) | Self::Runnable | Self::Waiting { .. }, E::Cancelled) => Self::Cancelled,
            (Self::Compensating { .. }, E::CompensationAsked { policy, at }) => Self::Compensating { policy, next: at },
            (_, E::CompensationAsked { policy, at }) => Self::Compensating { policy, next: at },
            (Self::Compensating { .. }, E::Compensated | E::Ended(Ending::Failed)) => Self::Failed,
            (Self::Compensating { .. }, E::CompensationStuck | E::Ended(Ending::Stuck)) => Self::Stuck,
            (Self::Failed | Self::Stuck, E::Redriven) => Self::Runnable,
            // A poke with a stick: a live run is simply due now.
            (Self::Running(_) | Self::Waiting { .. } | Self::Runnable, E::Redriven) => Self::Runnable,
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
            Self::Runnable => "RUNNABLE",
            Self::Running(_) => "RUNNING",
            Self::Waiting { .. } => "WAITING",
            Self::Compensating { .. } => "COMPENSATING",
            Self::Terminal => "TERMINAL",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::Stuck => "STUCK",
        }
    }

    /// The number of the status on the wire. Stored in listings too: never change them.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::Runnable => 1,
            Self::Running(_) => 2,
            Self::Waiting { .. } => 3,
            Self::Terminal => 4,
            Self::Failed => 5,
            Self::Compensating { .. } => 6,
            Self::Stuck => 7,
            Self::Cancelled => 8,
        }
    }

    /// Whether a driver may still drive it.
    #[must_use]
    pub const fn live(&self) -> bool {
        matches!(self, Self::Runnable | Self::Running(_) | Self::Waiting { .. })
    }
}

impl RunEvent {
    const fn name(&self) -> &'static str {
        match self {
            Self::LeaseTaken(_) => "lease taken",
            Self::LeaseLost => "lease lost",
            Self::Parked { .. } => "parked",
            Self::Woken => "woken",
            Self::Ended(_) => "ended",
            Self::Cancelled => "cancelled",
            Self::CompensationAsked { .. } => "compensation asked",
            Self::Compensated => "compensated",
            Self::CompensationStuck => "compensation stuck",
            Self::Redriven => "redriven",
        }
    }
}

impl From<Ending> for RunState {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Terminal => Self::Terminal,
            Ending::Failed => Self::Failed,
            Ending::Stuck => Self::Stuck,
        }
    }
}

impl Run {
    /// A run that nobody drives yet.
    #[must_use]
    pub fn new(identity: RunIdentity, caller: Caller, input_json: String, now: Time) -> Self {
        Self {
            id: RunId::derive(&identity),
            identity,
            caller,
            state: RunState::Runnable,
            fence: 0,
            fenced: false,
            driver: String::new(),
            seq: 0,
            next_decision_index: 0,
            decisions: 0,
            effects: 0,
            leases: 0,
            confirmed: 0,
            started: now,
            ended: None,
            wake: Wake { tries: 0, next: now },
            detail_json: String::new(),
            input_json,
            last_error: String::new(),
            cancelled: None,
            parent: None,
            predecessor: None,
            compacted: None,
        }
    }

    /// Whether it has ended: by itself, by a cancel, or because a person must look at it.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        !self.state.live() && !matches!(self.state, RunState::Compensating { .. })
    }

    /// Whether its payloads were dropped since it ended. A run that was reopened and ended again has new ones.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.has_ended()
            && self
                .compacted
                .is_some_and(|at| self.ended.is_none_or(|ended| ended <= at))
    }

    /// Applies `event`, and turns an illegal move into the refusal that the caller sees.
    ///
    /// # Errors
    /// FAILED_PRECONDITION if the state forbids it.
    pub fn apply(&mut self, event: RunEvent) -> Result<(), Refusal> {
        self.state = self.state.clone().apply(event).map_err(|illegal| {
            Refusal::new(
                Status::FailedPrecondition,
                "TAPE-R003",
                format!(
                    "Run {} is {}: {} cannot happen to it.",
                    self.id, illegal.state, illegal.event
                ),
                "Only `tape redrive` reopens a FAILED or STUCK run; every other ending is final.",
            )
        })?;
        Ok(())
    }

    /// Checks that a driver's write may be taken now.
    ///
    /// # Errors
    /// ABORTED if a newer driver owns the run, whatever its state; FAILED_PRECONDITION if the run has ended.
    pub fn check_driver(&self, driver: &Driver) -> Result<(), Refusal> {
        self.check_fence(driver)?;
        if let (RunState::Running(lease), Some(owner)) = (&self.state, &driver.owner)
            && *owner != lease.owner
        {
            return Err(self.fenced_off(&format!("{owner:?} does not hold the lease")));
        }
        self.check_live()
    }

    /// Checks that no newer driver owns the run, whatever its state.
    ///
    /// # Errors
    /// ABORTED.
    pub fn check_fence(&self, driver: &Driver) -> Result<(), Refusal> {
        match driver.fence {
            Some(fence) if fence != self.fence => Err(self.fenced_off(&format!("fence {fence} is not in force"))),
            None if self.fenced => Err(self.fenced_off("the driver in force sends its fence, and this write has none")),
            _ => Ok(()),
        }
    }

    /// Checks that this is the driver that drove the run last, whatever its state: also where no lease says so any more.
    ///
    /// # Errors
    /// ABORTED.
    pub fn check_last_driver(&self, driver: &Driver) -> Result<(), Refusal> {
        self.check_fence(driver)?;
        match &driver.owner {
            Some(owner) if !self.driver.is_empty() && *owner != self.driver => {
                Err(self.fenced_off(&format!("{owner:?} is not its last driver")))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the run has not ended.
    ///
    /// # Errors
    /// FAILED_PRECONDITION, naming the cancel where there was one.
    pub fn check_live(&self) -> Result<(), Refusal> {
        if let Some(reason) = &self.cancelled {
            return Err(Refusal::new(
                Status::FailedPrecondition,
                "TAPE-R004",
                format!("Run {} was cancelled: {}.", self.id, shorten(reason)),
                "Stop. Nothing was undone; `tape compensate` does that where it is wanted.",
            ));
        }
        if self.state.live() {
            return Ok(());
        }
        Err(Refusal::new(
            Status::FailedPrecondition,
            "TAPE-R003",
            format!(
                "Run {} is {}: it takes no more writes of a driver.",
                self.id,
                self.state.name()
            ),
            "Begin another run, or reopen a FAILED or STUCK one by `tape redrive`.",
        ))
    }

    fn fenced_off(&self, why: &str) -> Refusal {
        Refusal::new(
            Status::Aborted,
            "TAPE-R002",
            format!(
                "Run {} is driven by {:?} under fence {}: {why}.",
                self.id, self.driver, self.fence
            ),
            "Stop driving this run; the newer driver goes on with it.",
        )
        .held_by(&self.driver, self.fence)
    }

    /// When and for whom this run is work that waits.
    #[must_use]
    pub fn due(&self) -> Option<Due> {
        match &self.state {
            RunState::Runnable => Some(Due {
                kind: DueKind::Recovery,
                at: self.wake.next,
            }),
            RunState::Running(lease) => Some(Due {
                kind: DueKind::Recovery,
                at: lease.expires,
            }),
            RunState::Compensating { next, .. } => Some(Due {
                kind: DueKind::Compensation,
                at: *next,
            }),
            RunState::Waiting { .. } => None,
            RunState::Terminal | RunState::Failed | RunState::Cancelled | RunState::Stuck => (!self.is_compacted())
                .then(|| Due {
                    kind: DueKind::Retention,
                    at: self.ended.unwrap_or(self.started),
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        Lease {
            owner: "a".into(),
            fence: 1,
            expires: Time(10),
            fenced: true,
        }
    }

    /// Every state x event: what is not in this table must be refused.
    #[test]
    fn every_state_meets_every_event() {
        let states = [
            RunState::Runnable,
            RunState::Running(lease()),
            RunState::Waiting {
                gate: "g".into(),
                index: 0,
            },
            RunState::Compensating {
                policy: CompensationPolicy::StopAtStuck,
                next: Time(0),
            },
            RunState::Terminal,
            RunState::Failed,
            RunState::Cancelled,
            RunState::Stuck,
        ];
        let events = [
            RunEvent::LeaseTaken(lease()),
            RunEvent::LeaseLost,
            RunEvent::Parked {
                gate: "g".into(),
                index: 0,
            },
            RunEvent::Woken,
            RunEvent::Ended(Ending::Terminal),
            RunEvent::Ended(Ending::Failed),
            RunEvent::Ended(Ending::Stuck),
            RunEvent::Cancelled,
            RunEvent::CompensationAsked {
                policy: CompensationPolicy::StopAtStuck,
                at: Time(0),
            },
            RunEvent::Compensated,
            RunEvent::CompensationStuck,
            RunEvent::Redriven,
        ];
        // Columns in the order of `events`; "-" is refused.
        let table = [
            (
                "RUNNABLE",
                "RUNNING - WAITING RUNNABLE TERMINAL FAILED STUCK CANCELLED COMPENSATING - - RUNNABLE",
            ),
            (
                "RUNNING",
                "RUNNING RUNNABLE WAITING RUNNING TERMINAL FAILED STUCK CANCELLED COMPENSATING - - RUNNABLE",
            ),
            (
                "WAITING",
                "RUNNING - WAITING RUNNABLE TERMINAL FAILED STUCK CANCELLED COMPENSATING - - RUNNABLE",
            ),
            ("COMPENSATING", "- - - - - FAILED STUCK - COMPENSATING FAILED STUCK -"),
            ("TERMINAL", "- - - - - - - - COMPENSATING - - -"),
            ("FAILED", "- - - - - - - - COMPENSATING - - RUNNABLE"),
            ("CANCELLED", "- - - - - - - - COMPENSATING - - -"),
            ("STUCK", "- - - - - - - - COMPENSATING - - RUNNABLE"),
        ];
        for (state, (name, row)) in states.iter().zip(table) {
            assert_eq!(state.name(), name);
            let cells: Vec<_> = row.split(' ').collect();
            assert_eq!(cells.len(), events.len(), "{name}");
            for (event, expected) in events.iter().zip(cells) {
                let after = state.clone().apply(event.clone()).map_or("-", |next| next.name());
                assert_eq!(after, expected, "{name} + {}", event.name());
            }
        }
    }
}
