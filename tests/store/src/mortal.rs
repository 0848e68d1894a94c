//! A store whose server dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use async_trait::async_trait;
use tape_core::command::Range;
use tape_core::{DueKind, EntityId, EntityKind, RowKey, Time};
use tape_store::{
    Commit, Committing, DueQuery, DueRow, ListQuery, Listed, Loaded, QueueQuery, Recorded, Store, StoreError, TailEntry,
};

/// A store under a server that dies: from a random commit on nothing is written any more, and of that commit nobody learns
/// whether it was.
pub struct Mortal {
    inner: Arc<dyn Store>,
    /// Commits left to live.
    left: AtomicI64,
    /// Whether the last one is written.
    last_counts: bool,
    /// Rows that were read.
    pub rows_read: AtomicUsize,
}

impl Mortal {
    /// A store that takes `left` commits and is dead then; with `last_counts` the one that kills it is written.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, left: i64, last_counts: bool) -> Arc<Self> {
        Arc::new(Self {
            inner,
            left: AtomicI64::new(left),
            last_counts,
            rows_read: AtomicUsize::new(0),
        })
    }
}

fn dead() -> StoreError {
    StoreError::Unavailable("the server died".into())
}

#[async_trait]
impl Store for Mortal {
    async fn load(&self, entity: &EntityId, rows: &[RowKey], ranges: &[Range]) -> Result<Loaded, StoreError> {
        let loaded = self.inner.load(entity, rows, ranges).await?;
        self.rows_read.fetch_add(loaded.rows.len(), Ordering::SeqCst);
        Ok(loaded)
    }

    async fn submit(&self, commit: Commit) -> Committing {
        match self.left.fetch_sub(1, Ordering::SeqCst) {
            ..=-1 => Box::pin(std::future::ready(Err(dead()))),
            0 if self.last_counts => {
                let committing = self.inner.submit(commit).await;
                Box::pin(async move { committing.await.and(Err(dead())) })
            }
            0 => Box::pin(std::future::ready(Err(dead()))),
            _ => self.inner.submit(commit).await,
        }
    }

    async fn due(&self, query: &DueQuery) -> Result<Vec<DueRow>, StoreError> {
        self.inner.due(query).await
    }

    async fn next_due(&self, kind: DueKind, after: Time) -> Result<Option<Time>, StoreError> {
        self.inner.next_due(kind, after).await
    }

    async fn tasks_due(&self, query: &QueueQuery) -> Result<Vec<RowKey>, StoreError> {
        let keys = self.inner.tasks_due(query).await?;
        self.rows_read.fetch_add(keys.len(), Ordering::SeqCst);
        Ok(keys)
    }

    async fn count_due(&self, kind: DueKind, now: Time) -> Result<(u64, Option<Time>), StoreError> {
        self.inner.count_due(kind, now).await
    }

    async fn journal(&self, entity: &EntityId, from_seq: i64, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        self.inner.journal(entity, from_seq, limit).await
    }

    async fn tail(&self, after: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        self.inner.tail(after, limit).await
    }

    async fn tail_end(&self) -> Result<i64, StoreError> {
        self.inner.tail_end().await
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(query).await
    }

    async fn count_by_status(&self, kind: EntityKind) -> Result<Vec<(u8, u64)>, StoreError> {
        self.inner.count_by_status(kind).await
    }

    fn shared(&self) -> bool {
        self.inner.shared()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    async fn close(&self) {}
}
