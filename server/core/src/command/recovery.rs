//! What the recovery reactor does to a run before and after it wakes the run's app.

use serde_json::json;

use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::entity::EntityId;
use crate::id::RunId;
use crate::journal::Kind;
use crate::refusal::Refusal;
use crate::retry::Backoff;
use crate::run::{Run, RunEvent, RunState, Wake};

/// Claims a run that has no driver: it becomes RUNNABLE, and due again after a backoff in case nobody takes it.
#[derive(Clone, Debug)]
pub struct ClaimRecovery {
    /// Which.
    pub run: RunId,
    /// Take it even before its backoff has passed: an app has just attached.
    pub at_once: bool,
}

/// Notes why nobody took a run.
#[derive(Clone, Debug)]
pub struct NoTaker {
    /// Which.
    pub run: RunId,
    /// Why.
    pub error: String,
}

/// The process that held the lease is known to be gone.
#[derive(Clone, Debug)]
pub struct LoseLease {
    /// Which.
    pub run: RunId,
    /// Who held it.
    pub owner: String,
    /// How it is known.
    pub reason: String,
}

impl Command for ClaimRecovery {
    /// The run, if it has no driver and it is its turn.
    type Reply = Option<Run>;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Option<Run>, Refusal> {
        let (now, jitter) = (draft.now(), draft.jitter());
        match &draft.run(&self.run)?.state {
            RunState::Running(lease) if !lease.lives(now) => {
                let payload = json!({ "owner": lease.owner, "fence": lease.fence, "reason": "the lease expired" });
                draft.run_mut(&self.run)?.apply(RunEvent::LeaseLost)?;
                draft.journal(&self.run, Note::run(Kind::RunRunnable, &payload))?;
            }
            RunState::Runnable if self.at_once || draft.run(&self.run)?.wake.next <= now => {}
            _ => return Ok(None),
        }
        let run = draft.run_mut(&self.run)?;
        let tries = run.wake.tries.saturating_add(1);
        // The app has this long to take the lease before somebody wakes it again.
        run.wake = Wake {
            tries,
            next: now.after(1_000 + Backoff::WAKE.wait_ms(tries, jitter)),
        };
        Ok(Some(run.clone()))
    }
}

impl Command for NoTaker {
    type Reply = ();

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<(), Refusal> {
        if draft.run(&self.run)?.last_error != self.error {
            draft.run_mut(&self.run)?.last_error.clone_from(&self.error);
        }
        Ok(())
    }
}

impl Command for LoseLease {
    /// Whether the lease was still in force.
    type Reply = bool;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<bool, Refusal> {
        let now = draft.now();
        let RunState::Running(lease) = &draft.run(&self.run)?.state else {
            return Ok(false);
        };
        if lease.owner != self.owner {
            return Ok(false);
        }
        let payload = json!({ "owner": lease.owner, "fence": lease.fence, "reason": self.reason });
        let run = draft.run_mut(&self.run)?;
        run.apply(RunEvent::LeaseLost)?;
        run.wake = Wake { tries: 0, next: now };
        draft.journal(&self.run, Note::run(Kind::RunRunnable, &payload))?;
        Ok(true)
    }
}
