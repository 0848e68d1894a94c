//! Workers that attach: what rests for want of one need not wait until its rest is over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tape_port::{DueWork, Workers};
use tokio::sync::watch;

/// How far ahead of its time work is given to a worker that has come: as long as it may rest for want of one.
const AHEAD_MS: i64 = 60_000;

/// The workers that attached since a reactor looked last.
pub struct Newcomers {
    workers: Arc<dyn Workers>,
    seen: Mutex<watch::Receiver<u64>>,
}

impl Newcomers {
    /// Who is attached already counts as having come.
    #[must_use]
    pub fn of(workers: &Arc<dyn Workers>) -> Self {
        let mut seen = workers.attachments();
        seen.mark_changed();
        Self {
            workers: Arc::clone(workers),
            seen: Mutex::new(seen),
        }
    }

    /// Once for all that have come: `work` of the apps that have a worker now, also what rests.
    pub(crate) fn rested(&self, work: &DueWork) -> Option<DueWork> {
        let mut seen = self.seen();
        if !seen.has_changed().unwrap_or_default() {
            return None;
        }
        seen.mark_unchanged();
        drop(seen);
        let apps = self.workers.apps();
        (!apps.is_empty()).then(|| DueWork {
            apps: Some(apps),
            ahead_ms: AHEAD_MS,
            ..work.clone()
        })
    }

    /// What rests could not be looked for: again.
    pub(crate) fn again(&self) {
        self.seen().mark_changed();
    }

    /// Waits until one comes that was not looked for yet.
    pub(crate) async fn come(&self) {
        let mut seen = self.seen().clone();
        if seen.changed().await.is_err() {
            // Whoever hears of workers is gone: none comes any more.
            std::future::pending::<()>().await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, watch::Receiver<u64>> {
        // Nothing panics while it is held.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
