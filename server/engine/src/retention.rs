//! Retention: which runs have ended and still carry their payloads.

use tape_core::Time;
use tape_core::run::Run;
use tape_port::TapeError;

use crate::engine::Engine;
use crate::read::RunFilter;

/// TERMINAL, FAILED, STUCK, CANCELLED.
const ENDED: [u8; 4] = [4, 5, 7, 8];
/// Runs listed at once.
const PAGE: u32 = 1000;

impl Engine {
    /// Of one tenant, or of all: runs that ended before `before` and are not compacted since, the first that ended first, at most `limit`. Whoever
    /// compacts them gets the next ones by asking again.
    ///
    /// Cost: looks at every ended run that was created before `before`; holds no more than twice `limit` of them.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn compactable_runs(
        &self,
        tenant: Option<&str>,
        before: Time,
        limit: usize,
    ) -> Result<Vec<Run>, TapeError> {
        let mut filter = RunFilter {
            tenant: tenant.map(str::to_owned),
            statuses: ENDED.to_vec(),
            created_until: Some(before),
            limit: PAGE,
            ..RunFilter::default()
        };
        let mut oldest: Vec<Run> = Vec::new();
        loop {
            let page = self.list_runs(&filter).await?;
            let due = |run: &Run| run.ended.is_some_and(|ended| ended < before) && !run.is_compacted();
            for run in page.items.into_iter().filter(due) {
                oldest.push(run);
                if oldest.len() >= limit.saturating_mul(2) {
                    keep_oldest(&mut oldest, limit);
                }
            }
            filter.after = page.next;
            if filter.after.is_none() {
                keep_oldest(&mut oldest, limit);
                return Ok(oldest);
            }
        }
    }
}

fn keep_oldest(runs: &mut Vec<Run>, limit: usize) {
    runs.sort_by(|a, b| (a.ended, &a.id).cmp(&(b.ended, &b.id)));
    runs.truncate(limit);
}
