//! Following one run: its journal from a place on, pushed as it grows, until the run ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tape_core::run::RunState;
use tape_core::{EntityId, Entry, RunId};
use tape_port::TapeError;
use tape_store::codec;
use tokio::sync::broadcast;

use crate::engine::{Engine, store_error};
use crate::wake;

/// Entries read at once.
const CHUNK: u32 = 256;
/// The fallback: another server's commits are seen no later than this.
const POLL: Duration = Duration::from_secs(1);

/// A reader's place in the journal of a run.
pub struct RunFeed {
    engine: Arc<Engine>,
    run: RunId,
    next_seq: i64,
    /// What was read ahead: positions and entries.
    buffer: VecDeque<(i64, Entry)>,
    commits: broadcast::Receiver<EntityId>,
}

impl RunFeed {
    /// Follows `run` from `from_seq` on (1 = from the beginning).
    ///
    /// # Errors
    /// NOT_FOUND if there is no such run.
    pub async fn open(engine: Arc<Engine>, run: RunId, from_seq: i64) -> Result<Self, TapeError> {
        // First listen, then look: nothing falls between.
        let commits = engine.wakes.follow();
        engine.run(&run).await?;
        Ok(Self {
            engine,
            run,
            next_seq: from_seq.max(1),
            buffer: VecDeque::new(),
            commits,
        })
    }

    /// The next entry, with its position among all entries of the store; none once the run has ended and everything was read.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`] if the store does not answer; calling again goes on where it stopped.
    pub async fn next(&mut self) -> Result<Option<(i64, Entry)>, TapeError> {
        loop {
            if let Some((position, entry)) = self.buffer.pop_front() {
                self.next_seq = entry.seq + 1;
                return Ok(Some((position, entry)));
            }
            // Read the state before the journal: entries of the ending are then in the journal.
            let state = self.engine.run(&self.run).await?.state;
            self.fill().await?;
            if !self.buffer.is_empty() {
                continue;
            }
            if !state.live() && !matches!(state, RunState::Compensating { .. }) {
                return Ok(None);
            }
            self.wait().await;
        }
    }

    async fn fill(&mut self) -> Result<(), TapeError> {
        let entity = EntityId::run(&self.run);
        let entries = self
            .engine
            .store
            .journal(&entity, self.next_seq, CHUNK)
            .await
            .map_err(store_error)?;
        for recorded in entries {
            let entry = codec::decode_entry(&recorded.body).map_err(store_error)?;
            self.buffer.push_back((recorded.position, entry));
        }
        Ok(())
    }

    /// Waits until the run's journal may have grown.
    async fn wait(&mut self) {
        wake::changed(&mut self.commits, &EntityId::run(&self.run), POLL).await;
    }
}
