//! Values: write, read, delete, and watch every version as it comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tape_core::command::Reads;
use tape_core::command::value::{DeleteValue, Deleted, Guard, WriteValue, check_value_name};
use tape_core::value::{Value, ValueName};
use tape_core::{EntityId, Row, RowKey};
use tape_port::TapeError;
use tokio::sync::broadcast;

use crate::engine::Engine;
use crate::wake;

/// Versions read at once: few, because each may be a payload of the largest size.
const CHUNK: u64 = 16;
/// The fallback: another server's commits are seen no later than this.
const POLL: Duration = Duration::from_secs(1);

/// One version as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueChange {
    /// The version.
    pub value: Value,
    /// The version that it replaced; none for the first.
    pub previous: Option<Value>,
}

/// A watcher's place among the versions of a value. It reads them from the store: a slow watcher holds nobody back.
pub struct ValueFeed {
    engine: Arc<Engine>,
    entity: EntityId,
    /// The version to be read next; none = the one in force, whichever it is.
    next: Option<u64>,
    /// The version before it, once it was read.
    last: Option<Value>,
    buffer: VecDeque<Value>,
    commits: broadcast::Receiver<EntityId>,
}

impl Engine {
    /// Writes a value as its next version. With a `request_id` the same request again gives the recorded answer.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad name or value; ABORTED (TAPE-K001) if `guard` does not hold.
    pub async fn write_value(
        &self,
        name: ValueName,
        json: String,
        guard: Guard,
        writer: String,
        request_id: String,
    ) -> Result<Value, TapeError> {
        // Before it is looked up: a store may not even be able to ask for a name that is none.
        check_value_name(&name)?;
        let command = WriteValue {
            name,
            json,
            guard,
            writer,
            request_id,
        };
        self.execute(&command, None).await
    }

    /// The newest version of a value, which may be a deletion; none if the key was never written.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad name.
    pub async fn value(&self, name: &ValueName) -> Result<Option<Value>, TapeError> {
        check_value_name(name)?;
        let mut snapshot = self.load(&name.entity(), &Reads::head()).await?;
        Ok(snapshot.rows.remove(&RowKey::Head).and_then(value))
    }

    /// Deletes a value: a version too. Deleting what is not there changes nothing.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad name.
    pub async fn delete_value(&self, name: ValueName, request_id: String) -> Result<Deleted, TapeError> {
        check_value_name(&name)?;
        let command = DeleteValue { name, request_id };
        self.execute(&command, None).await
    }
}

impl ValueFeed {
    /// Watches a value from `from_version` on; 0 = from the version in force, or else from the first that will be.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a bad name.
    pub fn open(engine: Arc<Engine>, name: &ValueName, from_version: u64) -> Result<Self, TapeError> {
        check_value_name(name)?;
        // First listen, then look: nothing falls between.
        let commits = engine.wakes.follow();
        Ok(Self {
            engine,
            entity: name.entity(),
            next: (from_version > 0).then_some(from_version),
            last: None,
            buffer: VecDeque::new(),
            commits,
        })
    }

    /// The next version, once there is one. Every version comes, in order, once.
    ///
    /// # Errors
    /// DATA_LOSS (TAPE-K002) with the version to go on from, if the next version is not kept any more;
    /// [`TapeError::Unavailable`] if the store does not answer: calling again goes on where it stopped.
    pub async fn next(&mut self) -> Result<ValueChange, TapeError> {
        loop {
            if let Some(value) = self.buffer.pop_front() {
                self.next = Some(value.version + 1);
                let previous = self.last.replace(value.clone());
                return Ok(ValueChange { value, previous });
            }
            self.fill().await?;
            if self.buffer.is_empty() {
                wake::changed(&mut self.commits, &self.entity, POLL).await;
            }
        }
    }

    async fn fill(&mut self) -> Result<(), TapeError> {
        let next = match self.next {
            Some(next) => next,
            None => {
                let snapshot = self.engine.load(&self.entity, &Reads::head()).await?;
                let in_force = snapshot.rows.into_values().find_map(value);
                *self.next.insert(in_force.map_or(1, |value| value.version))
            }
        };
        let before = (self.last.is_none() && next > 1).then(|| next - 1);
        let wanted = before.into_iter().chain(next..next.saturating_add(CHUNK));
        let reads = Reads::rows(wanted.map(RowKey::ValueVersion));
        let mut rows = self.engine.load(&self.entity, &reads).await?.rows;
        let Some(head) = rows.remove(&RowKey::Head).and_then(value) else {
            return Ok(());
        };
        if next < head.oldest_kept() {
            return Err(head.fell_behind(next).into());
        }
        // In the order of their versions: the one before comes first.
        for found in rows.into_values().filter_map(value) {
            if found.version < next {
                self.last = Some(found);
            } else {
                self.buffer.push_back(found);
            }
        }
        Ok(())
    }
}

fn value(row: Row) -> Option<Value> {
    match row {
        Row::Value(value) => Some(*value),
        _ => None,
    }
}
