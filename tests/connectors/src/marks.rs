//! Marks that watch, and marks that refuse.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tape_connector_port::{Mark, MarkRefused, Sender};

use crate::Upstream;

/// Counts how often it was asked, and what the upstream had received by then.
pub struct CountingMark<'a> {
    pub upstream: &'a Upstream,
    asked: AtomicUsize,
    received_before: AtomicUsize,
}

impl<'a> CountingMark<'a> {
    pub fn new(upstream: &'a Upstream) -> Self {
        Self {
            upstream,
            asked: AtomicUsize::new(0),
            received_before: AtomicUsize::new(0),
        }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// How many requests had arrived when it was asked last.
    pub fn received_before(&self) -> usize {
        self.received_before.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Mark for CountingMark<'_> {
    async fn sent(&self, _: Sender<'_>) -> Result<(), MarkRefused> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.received_before
            .store(self.upstream.received().len(), Ordering::SeqCst);
        Ok(())
    }
}

/// Somebody newer owns the work.
pub struct RefusingMark;

#[async_trait]
impl Mark for RefusingMark {
    async fn sent(&self, _: Sender<'_>) -> Result<(), MarkRefused> {
        Err(MarkRefused("a newer driver owns this effect".to_owned()))
    }
}
