//! What people and plain clients look for over all runs: effects without an outcome, obligations that are not undone.
//!
//! They are found by their hints, also those that wait for a person: these are due never. Only an inline effect that its
//! driver has begun has no hint, because nobody but the driver has work with it: for those the live runs are looked into,
//! the newest first, so many at most.

use tape_core::command::Reads;
use tape_core::effect::{Effect, EffectState, Mode};
use tape_core::obligation::{Obligation, ObligationState};
use tape_core::row::RowKind;
use tape_core::{DueKind, EntityId, Row, RowKey, RunId, Time};
use tape_port::{DueItem, DueWork, TapeError};

use crate::engine::Engine;
use crate::read::RunFilter;

/// Most hints that are looked at.
const HINTS_MAX: u32 = 10_000;
/// Most runs that are looked into.
const RUNS_MAX: usize = 1_000;
/// Runs listed at once.
const PAGE: u32 = 500;
/// RUNNABLE, RUNNING, WAITING: what has inline effects under way.
const LIVE: [u8; 3] = [1, 2, 3];

impl Engine {
    /// Of one tenant, or of all: effects in doubt or stuck, with `pending` also those that are not carried out yet; oldest first, with their runs.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn open_effects(&self, tenant: Option<&str>, pending: bool) -> Result<Vec<(RunId, Effect)>, TapeError> {
        let mut hints = self.hints(DueKind::Reconcile, tenant).await?;
        if pending {
            hints.extend(self.hints(DueKind::Outbox, tenant).await?);
        }
        let mut found = Vec::new();
        for hint in hints {
            let RowKey::Effect(key) = &hint.key else { continue };
            if let Some(effect) = self.effect(&hint.run, key).await?
                && !effect.state.settled()
            {
                found.push((hint.run, effect));
            }
        }
        if pending {
            for run in self.newest_live(tenant).await? {
                let rows = self.rows(&run, RowKind::Effect).await?;
                found.extend(rows.into_iter().filter_map(|row| Some((run.clone(), under_way(row)?))));
            }
        }
        found.sort_by(|(_, a), (_, b)| (a.begun, &a.intent.key).cmp(&(b.begun, &b.intent.key)));
        Ok(found)
    }

    /// Of one tenant, or of all: obligations that are not undone, oldest first, with their runs.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn open_obligations(&self, tenant: Option<&str>) -> Result<Vec<(RunId, Obligation)>, TapeError> {
        let mut found = Vec::new();
        for hint in self.hints(DueKind::Compensation, tenant).await? {
            match &hint.key {
                RowKey::Obligation(seq) => {
                    let obligation = self.obligation(&hint.run, *seq).await?;
                    found.extend(obligation.map(|obligation| (hint.run.clone(), obligation)));
                }
                // A run that is compensated has the hint of all its obligations.
                _ => found.extend(
                    self.obligations(&hint.run)
                        .await?
                        .into_iter()
                        .map(|obligation| (hint.run.clone(), obligation)),
                ),
            }
        }
        found.retain(|(_, obligation)| obligation.state != ObligationState::Compensated);
        found.sort_by(|(run_a, a), (run_b, b)| (a.at, run_a, a.seq).cmp(&(b.at, run_b, b.seq)));
        found.dedup_by(|(run_a, a), (run_b, b)| run_a == run_b && a.seq == b.seq);
        Ok(found)
    }

    /// Everything that waits for a kind of reactor, whenever it is due.
    async fn hints(&self, kind: DueKind, tenant: Option<&str>) -> Result<Vec<DueItem>, TapeError> {
        let work = DueWork {
            ahead_ms: Time::NEVER.since(self.now()),
            tenants: tenant.map(|tenant| vec![tenant.to_owned()]),
            ..DueWork::all(kind, HINTS_MAX)
        };
        self.due_work(&work).await
    }

    async fn newest_live(&self, tenant: Option<&str>) -> Result<Vec<RunId>, TapeError> {
        let mut filter = RunFilter {
            tenant: tenant.map(str::to_owned),
            statuses: LIVE.to_vec(),
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

/// An inline effect whose driver has begun it and not said how it ended.
fn under_way(row: Row) -> Option<Effect> {
    let Row::Effect(effect) = row else { return None };
    let pending = matches!(effect.state, EffectState::Pending { .. });
    // One with a hint was found by it.
    (pending && effect.intent.mode == Mode::Inline && effect.due().is_none()).then_some(*effect)
}
