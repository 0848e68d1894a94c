//! End a run, or cancel it.

use serde_json::json;

use super::{Command, Reads};
use crate::draft::{Draft, Note};
use crate::entity::EntityId;
use crate::id::RunId;
use crate::journal::Kind;
use crate::json::check_payload;
use crate::lease::Driver;
use crate::refusal::Refusal;
use crate::run::{Ending, Run, RunEvent, RunState};

/// The driver ends its run; or whoever compensates ends a COMPENSATING one.
#[derive(Clone, Debug)]
pub struct EndRun {
    /// Which.
    pub run: RunId,
    /// Who ends it.
    pub driver: Driver,
    /// How.
    pub ending: Ending,
    /// Why or with what, as JSON.
    pub detail_json: String,
}

/// Cancels a run. Cooperative: the driver finds out at its next write. Nothing is undone.
#[derive(Clone, Debug)]
pub struct CancelRun {
    /// Which.
    pub run: RunId,
    /// Why.
    pub reason: String,
}

impl Command for EndRun {
    type Reply = Run;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Run, Refusal> {
        check_payload("detail_json", &self.detail_json)?;
        let now = draft.now();
        let run = draft.run(&self.run)?;
        let wanted = RunState::from(self.ending);
        let outside = self.driver.fence.is_none() && self.ending != Ending::Terminal;
        match &run.state {
            // The same request again, from whoever ended it: a driver, or who ended a compensation from outside.
            state if *state == wanted => {
                if !outside {
                    run.check_fence(&self.driver)?;
                }
                return Ok(run.clone());
            }
            // What ends a compensation comes from outside and has no fence. A driver that gives up must not end it half-way.
            RunState::Compensating { .. } if self.driver.fence.is_none() => {}
            _ => run.check_driver(&self.driver)?,
        }
        let run = draft.run_mut(&self.run)?;
        run.apply(RunEvent::Ended(self.ending))?;
        run.ended = Some(now);
        run.detail_json.clone_from(&self.detail_json);
        let status = run.state.name();
        draft.journal(&self.run, Note::run(Kind::RunEnded, &json!({ "status": status })))?;
        Ok(draft.run(&self.run)?.clone())
    }
}

impl Command for CancelRun {
    type Reply = Run;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Run, Refusal> {
        let now = draft.now();
        let run = draft.run(&self.run)?;
        if run.state == RunState::Cancelled {
            return Ok(run.clone());
        }
        let run = draft.run_mut(&self.run)?;
        run.apply(RunEvent::Cancelled)?;
        run.ended = Some(now);
        run.cancelled = Some(if self.reason.is_empty() {
            "no reason given".to_owned()
        } else {
            self.reason.clone()
        });
        draft.journal(
            &self.run,
            Note::run(Kind::RunCancelled, &json!({ "reason": self.reason })),
        )?;
        Ok(draft.run(&self.run)?.clone())
    }
}
