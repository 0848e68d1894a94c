//! What plain clients look for over all runs: effects without an outcome, obligations that are not undone.
//!
//! Work that waits is found by its hints. What waits for nobody (an inline effect that its driver has begun, an
//! obligation that a person must settle) has no hint and is found by looking into runs, the newest first, so many at most.

use tape_core::command::Reads;
use tape_core::effect::Effect;
use tape_core::obligation::Obligation;
use tape_core::row::RowKind;
use tape_core::{DueKind, EntityId, Row, RowKey, RunId};
use tape_port::{DueWork, TapeError};

use crate::engine::Engine;
use crate::read::RunFilter;

/// Most runs that are looked into.
const RUNS_MAX: usize = 10_000;
/// Most hints that are looked at.
const HINTS_MAX: u32 = 10_000;
/// Runs read at once.
const PAGE: u32 = 500;
/// Hints of any time.
const ALWAYS_MS: i64 = i64::MAX / 2;

impl Engine {
    /// Effects that are not settled, oldest first, with their runs: of all live runs, and of ended ones those in doubt.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn open_effects(&self) -> Result<Vec<(RunId, Effect)>, TapeError> {
        let mut runs = Vec::new();
        for kind in [DueKind::Outbox, DueKind::Reconcile] {
            runs.extend(self.hinted(kind).await?);
        }
        // RUNNABLE, RUNNING, WAITING, COMPENSATING, STUCK.
        runs.extend(self.newest(&[1, 2, 3, 6, 7]).await?);
        runs.sort_unstable();
        runs.dedup();
        let mut found = Vec::new();
        for run in runs {
            for row in self.rows(&run, RowKind::Effect).await? {
                if let Row::Effect(effect) = row
                    && !effect.state.settled()
                {
                    found.push((run.clone(), *effect));
                }
            }
        }
        found.sort_by(|(_, a), (_, b)| (a.begun, &a.intent.key).cmp(&(b.begun, &b.intent.key)));
        Ok(found)
    }

    /// Obligations that wait for a compensator or are claimed by one, and with `stuck` those that wait for a person.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn open_obligations(&self, stuck: bool) -> Result<Vec<(RunId, Obligation)>, TapeError> {
        let mut runs = self.hinted(DueKind::Compensation).await?;
        if stuck {
            runs.extend(self.newest(&[]).await?);
        }
        runs.sort_unstable();
        runs.dedup();
        let mut found = Vec::new();
        for run in runs {
            for row in self.rows(&run, RowKind::Obligation).await? {
                if let Row::Obligation(obligation) = row {
                    found.push((run.clone(), *obligation));
                }
            }
        }
        found.sort_by(|(run_a, a), (run_b, b)| (a.at, run_a, a.seq).cmp(&(b.at, run_b, b.seq)));
        Ok(found)
    }

    async fn hinted(&self, kind: DueKind) -> Result<Vec<RunId>, TapeError> {
        let work = DueWork {
            kind,
            apps: None,
            ahead_ms: ALWAYS_MS,
            limit: HINTS_MAX,
        };
        let due = self.due_work(&work).await?;
        Ok(due
            .into_iter()
            .filter(|item| item.key != RowKey::Head)
            .map(|item| item.run)
            .collect())
    }

    async fn newest(&self, statuses: &[u8]) -> Result<Vec<RunId>, TapeError> {
        let mut filter = RunFilter {
            statuses: statuses.to_vec(),
            limit: PAGE,
            ..RunFilter::default()
        };
        let mut runs = Vec::new();
        loop {
            let page = self.list_runs(&filter).await?;
            runs.extend(page.items.into_iter().map(|run| run.id));
            filter.after = page.next;
            if filter.after.is_none() || runs.len() >= RUNS_MAX {
                return Ok(runs);
            }
        }
    }

    async fn rows(&self, run: &RunId, kind: RowKind) -> Result<Vec<Row>, TapeError> {
        let snapshot = self.load(&EntityId::run(run), &Reads::head().all(kind)).await?;
        Ok(snapshot.rows.into_values().collect())
    }
}
