//! One queue per entity: commands on one run take turns within this server.

use std::hash::{BuildHasher, RandomState};

use tape_core::EntityId;
use tokio::sync::{Mutex, MutexGuard};

/// Entities that share a turnstile only wait a little for each other.
const TURNSTILES: usize = 1024;

/// A fixed number of turnstiles: bounded, whatever the number of entities.
pub(crate) struct Queues {
    turnstiles: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl Queues {
    pub(crate) fn new() -> Self {
        Self {
            turnstiles: (0..TURNSTILES).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Waits for the entity's turn, first come first served.
    pub(crate) async fn turn(&self, entity: &EntityId) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one(entity);
        let index = usize::try_from(hash % TURNSTILES as u64).unwrap_or_default();
        self.turnstiles[index].lock().await
    }
}
