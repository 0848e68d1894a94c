//! Retention: runs that ended long enough ago lose their payloads, the first that ended first.
//!
//! A run that has ended is work that waits, from when it ended, until it is compacted. It is found by its status, because
//! each may have an age of its own: what is not old enough yet does not stand before what is.

use tape_core::command::compact::{CompactRun, MendHint};
use tape_core::run::Run;
use tape_core::{DueKind, RunId, Time};
use tape_port::TapeError;
use tape_store::{DueQuery, DueRow, by_status};

use crate::engine::{Engine, store_error};

/// After how long runs are compacted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Status (number on the wire) and age in milliseconds since it ended. A status that is not named is kept whole.
    pub ages: Vec<(u8, i64)>,
}

/// What a pass of retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPass {
    /// Runs that were compacted.
    pub runs: u64,
    /// Bytes of payload that went.
    pub bytes: u64,
    /// There may be more that is old enough.
    pub more: bool,
}

impl Engine {
    /// Of one tenant, or of all: runs that ended before `before` and are not compacted since, the first that ended first, at
    /// most `limit`. Whoever compacts them gets the next ones by asking again.
    ///
    /// Cost: reads those runs, through an index.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn compactable_runs(
        &self,
        tenant: Option<&str>,
        before: Time,
        limit: usize,
    ) -> Result<Vec<Run>, TapeError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        loop {
            let hints = self.ended(tenant, None, before.after(-1), limit).await?;
            let full = hints.len() == limit as usize;
            let (mut found, mut mended) = (Vec::new(), 0);
            for hint in hints {
                let run = self.run(&RunId(hint.entity.id)).await?;
                if run.ended.is_some_and(|ended| ended < before) && !run.is_compacted() {
                    found.push(run);
                } else {
                    self.mend(&run.id).await?;
                    mended += 1;
                }
            }
            if mended == 0 || !full {
                return Ok(found);
            }
        }
    }

    /// Compacts runs that are old enough, `limit` of each status at most.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`]; what was compacted stays so.
    pub async fn compact_old_runs(&self, retention: &Retention, limit: u32) -> Result<RetentionPass, TapeError> {
        let now = self.now();
        let mut pass = RetentionPass::default();
        for (status, age_ms) in &retention.ages {
            let hints = self.ended(None, Some(*status), now.after(-age_ms), limit).await?;
            pass.more |= hints.len() == limit as usize;
            for hint in hints {
                let run = self.run(&RunId(hint.entity.id)).await?;
                if !retention.is_over(&run, now) {
                    // Its hint is older than what is kept about it now.
                    self.mend(&run.id).await?;
                    continue;
                }
                match self.execute(&CompactRun { run: run.id }, None).await {
                    Ok(compacted) => {
                        pass.runs += 1;
                        pass.bytes += compacted.bytes;
                    }
                    // Somebody has reopened it.
                    Err(error) if error.is_lost() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(pass)
    }

    async fn ended(
        &self,
        tenant: Option<&str>,
        status: Option<u8>,
        until: Time,
        limit: u32,
    ) -> Result<Vec<DueRow>, TapeError> {
        let query = DueQuery {
            kind: DueKind::Retention,
            until,
            tenants: tenant.map(|tenant| vec![tenant.to_owned()]),
            apps: None,
            by: status.map(|status| vec![by_status(status)]),
            limit,
        };
        self.store.due(&query).await.map_err(store_error)
    }

    /// Writes a run's hint again, as its row has it.
    async fn mend(&self, run: &RunId) -> Result<(), TapeError> {
        self.execute(&MendHint { run: run.clone() }, None).await
    }
}

impl Retention {
    fn is_over(&self, run: &Run, now: Time) -> bool {
        let age = self.ages.iter().find(|(status, _)| *status == run.state.number());
        let (Some(ended), Some((_, age_ms))) = (run.ended, age) else {
            return false;
        };
        !run.is_compacted() && now.since(ended) >= *age_ms
    }
}
