//! Luck, and the store that fails by it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tape_core::command::Range;
use tape_core::{DueKind, EntityId, EntityKind, RowKey, Time};
use tape_port::{Clock, Luck};
use tape_store::{
    Commit, Committing, DueQuery, DueRow, ListQuery, Listed, Loaded, QueueQuery, Recorded, Store, StoreError, TailEntry,
};
use tape_store_memory::MemoryStore;

/// The one source of luck of a simulation, and its clock.
pub(crate) struct Fate {
    rng: Mutex<ChaCha8Rng>,
    now: AtomicI64,
    /// Faults happen. Off while the world comes to rest.
    pub(crate) cruel: AtomicBool,
}

impl Fate {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            now: AtomicI64::new(1_000_000),
            cruel: AtomicBool::new(true),
        }
    }

    /// A number below `n`.
    pub(crate) fn below(&self, n: u64) -> u64 {
        self.rng
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random_range(0..n)
    }

    /// True in `percent` of cases, while the world is cruel.
    pub(crate) fn strikes(&self, percent: u64) -> bool {
        self.cruel.load(Ordering::Relaxed) && self.below(100) < percent
    }

    pub(crate) fn pass_time(&self, ms: u64) {
        self.now
            .fetch_add(i64::try_from(ms).unwrap_or_default(), Ordering::Relaxed);
    }

    /// Somebody sets the clock: an hour ahead, or some seconds back.
    pub(crate) fn jump(&self) {
        let by = [3_600_000, -5_000, -500][usize::try_from(self.below(3)).unwrap_or_default()];
        self.now.fetch_add(by, Ordering::Relaxed);
    }
}

impl Clock for Fate {
    fn now(&self) -> Time {
        Time(self.now.load(Ordering::Relaxed))
    }
}

impl Luck for Fate {
    fn fresh(&self) -> String {
        format!(
            "{:016x}",
            self.rng.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
        )
    }

    fn jitter(&self) -> u16 {
        u16::try_from(self.below(1001)).unwrap_or_default()
    }
}

/// The store as one server process sees it: gone once that process is dead.
pub(crate) struct FaultyStore {
    pub(crate) inner: Arc<MemoryStore>,
    pub(crate) fate: Arc<Fate>,
    pub(crate) alive: Arc<AtomicBool>,
}

impl FaultyStore {
    fn check(&self) -> Result<(), StoreError> {
        if self.alive.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(StoreError::Unavailable("the process is dead".into()))
        }
    }

    async fn write(&self, commit: Commit) -> Result<u64, StoreError> {
        self.check()?;
        if self.fate.strikes(2) {
            return Err(self.die());
        }
        if self.fate.strikes(1) {
            return Err(StoreError::InDoubt("lost before it was written".into()));
        }
        let written = self.inner.commit(commit).await?;
        if self.fate.strikes(2) {
            return Err(self.die());
        }
        if self.fate.strikes(2) {
            return Err(StoreError::InDoubt("written, and the answer was lost".into()));
        }
        Ok(written)
    }

    fn die(&self) -> StoreError {
        self.alive.store(false, Ordering::Relaxed);
        StoreError::Unavailable("the process died".into())
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn load(&self, entity: &EntityId, rows: &[RowKey], ranges: &[Range]) -> Result<Loaded, StoreError> {
        self.check()?;
        self.inner.load(entity, rows, ranges).await
    }

    async fn submit(&self, commit: Commit) -> Committing {
        Box::pin(std::future::ready(self.write(commit).await))
    }

    async fn due(&self, query: &DueQuery) -> Result<Vec<DueRow>, StoreError> {
        self.check()?;
        self.inner.due(query).await
    }

    async fn next_due(&self, kind: DueKind, after: Time) -> Result<Option<Time>, StoreError> {
        self.check()?;
        self.inner.next_due(kind, after).await
    }

    async fn tasks_due(&self, query: &QueueQuery) -> Result<Vec<RowKey>, StoreError> {
        self.check()?;
        self.inner.tasks_due(query).await
    }

    async fn count_due(&self, kind: DueKind, now: Time) -> Result<(u64, Option<Time>), StoreError> {
        self.check()?;
        self.inner.count_due(kind, now).await
    }

    async fn journal(&self, entity: &EntityId, from_seq: i64, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        self.check()?;
        self.inner.journal(entity, from_seq, limit).await
    }

    async fn tail(&self, after: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        self.check()?;
        self.inner.tail(after, limit).await
    }

    async fn tail_end(&self) -> Result<i64, StoreError> {
        self.check()?;
        self.inner.tail_end().await
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, StoreError> {
        self.check()?;
        self.inner.list(query).await
    }

    async fn count_by_status(&self, kind: EntityKind) -> Result<Vec<(u8, u64)>, StoreError> {
        self.check()?;
        self.inner.count_by_status(kind).await
    }

    fn shared(&self) -> bool {
        // Other servers of the world write to the same memory.
        true
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.check()
    }

    async fn close(&self) {}
}
