//! Waking whoever waits for a commit: reactors, and those who follow a run. A wake-up carries no data.

use tape_core::{Changes, DueKind, EntityId};
use tokio::sync::{Notify, broadcast};

/// Followers that fall further behind than this read the store again; they lose nothing.
const FEED_BUFFER: usize = 1024;

pub(crate) struct Wakes {
    reactors: [Notify; DueKind::ALL.len()],
    commits: broadcast::Sender<EntityId>,
}

impl Wakes {
    pub(crate) fn new() -> Self {
        Self {
            reactors: Default::default(),
            commits: broadcast::Sender::new(FEED_BUFFER),
        }
    }

    /// Tells everybody whom `changes` concern.
    pub(crate) fn committed(&self, entity: &EntityId, changes: &Changes) {
        for (_, row) in &changes.puts {
            if let Some(due) = row.due() {
                // Whether it is due now or later: the reactor looks for the time of the next.
                self.reactors[index(due.kind)].notify_one();
            }
        }
        if !changes.entries.is_empty() {
            // Nobody follows: nothing to tell.
            drop(self.commits.send(entity.clone()));
        }
    }

    /// Waits until work of this kind was written since the last call.
    pub(crate) async fn woken(&self, kind: DueKind) {
        self.reactors[index(kind)].notified().await;
    }

    /// Entities whose journal grew, from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<EntityId> {
        self.commits.subscribe()
    }
}

const fn index(kind: DueKind) -> usize {
    kind as usize - 1
}
