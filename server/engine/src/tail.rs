//! Following all runs: the entries of every journal in commit order, from a cursor on, pushed as they come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tape_core::predicate::{Predicate, Seen, with_stack};
use tape_core::subject::SubjectPattern;
use tape_core::{EntityId, EntityKind, Entry, RunId, Time};
use tape_port::TapeError;
use tape_store::{TailEntry, codec};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use crate::engine::{Engine, store_error};

/// Entries read at once: what a reader holds in memory at most.
const CHUNK: u32 = 256;
/// The fallback: another server's commits are seen no later than this.
const POLL: Duration = Duration::from_secs(1);

/// Which entries. The default is all.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this tenant; none = of all.
    pub tenant: Option<String>,
    /// Of this run; none = of all.
    pub run: Option<RunId>,
    /// Of this kind, `noun.verb`; none = of all.
    pub kind: Option<String>,
    /// Whose subject is like this; none = all.
    pub subject: Option<SubjectPattern>,
    /// Written at this time or later; none = whenever.
    pub from: Option<Time>,
    /// For which this expression holds; none = all. One for which it has no answer does not come.
    pub predicate: Option<Arc<Predicate>>,
}

impl EventFilter {
    fn wants(&self, event: &Event) -> bool {
        let (run, entry) = (&event.run, &event.entry);
        let fits = self.run.as_ref().is_none_or(|wanted| wanted == run)
            && self.kind.as_ref().is_none_or(|wanted| wanted == entry.kind.as_str())
            && self.from.is_none_or(|from| entry.at >= from);
        if !fits || (self.subject.is_none() && self.predicate.is_none()) {
            return fits;
        }
        let subject = entry.subject(run);
        let fits = self.subject.as_ref().is_none_or(|pattern| pattern.matches(&subject));
        let Some(predicate) = self.predicate.as_ref().filter(|_| fits) else {
            return fits;
        };
        predicate.wants(&event.seen(&subject)).unwrap_or_else(|error| {
            tracing::debug!(subject, %error, "a predicate has no answer for an event, which counts as no");
            false
        })
    }
}

/// A journal entry with its run and its place among all entries.
#[derive(Clone, Debug)]
pub struct Event {
    /// The cursor: rises, with gaps.
    pub position: i64,
    /// Whose journal it is in.
    pub run: RunId,
    /// The entry.
    pub entry: Entry,
    /// Tenant of the run.
    pub tenant: String,
    /// App of the run.
    pub app: String,
    /// User of the run.
    pub user: String,
}

impl Event {
    pub(crate) fn of(found: TailEntry) -> Result<Self, TapeError> {
        Ok(Self {
            position: found.position,
            run: RunId(found.entity.id),
            entry: codec::decode_entry(&found.body).map_err(store_error)?,
            tenant: found.tenant,
            app: found.app,
            user: found.user,
        })
    }

    /// What a predicate sees of it. `subject` is its own.
    pub(crate) fn seen<'a>(&'a self, subject: &'a str) -> Seen<'a> {
        Seen {
            kind: self.entry.kind.as_str(),
            subject,
            run_id: self.run.as_str(),
            seq: self.entry.seq,
            ts_ms: self.entry.at.0,
            decision_index: self.entry.decision_index,
            app: &self.app,
            tenant: &self.tenant,
            payload_json: &self.entry.payload_json,
        }
    }
}

/// A reader's place among the entries of all runs. It reads the store at its own pace: a slow one loses nothing, and holds
/// up nobody.
pub struct EventFeed {
    engine: Arc<Engine>,
    filter: EventFilter,
    /// Everything up to here was read.
    cursor: i64,
    buffer: VecDeque<Event>,
    commits: broadcast::Receiver<EntityId>,
}

impl EventFeed {
    /// Follows what `filter` wants, from the position `from` on (0 or 1 = from the beginning).
    #[must_use]
    pub fn open(engine: Arc<Engine>, filter: EventFilter, from: i64) -> Self {
        // First listen, then look: nothing falls between.
        let commits = engine.wakes.follow();
        Self {
            engine,
            filter,
            cursor: from.saturating_sub(1).max(0),
            buffer: VecDeque::new(),
            commits,
        }
    }

    /// The next entry; waits until there is one.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`] if the store does not answer; calling again goes on where it stopped.
    pub async fn next(&mut self) -> Result<Event, TapeError> {
        loop {
            if let Some(event) = self.buffer.pop_front() {
                return Ok(event);
            }
            // What was told so far is in what is read now.
            while !matches!(self.commits.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
            if !self.fill().await? {
                self.wait().await;
            }
        }
    }

    /// Reads a chunk; whether there was anything to read.
    async fn fill(&mut self) -> Result<bool, TapeError> {
        let chunk = self.engine.store.tail(self.cursor, CHUNK).await.map_err(store_error)?;
        let Some(last) = chunk.last().map(|entry| entry.position) else {
            return Ok(false);
        };
        let of_runs = chunk.into_iter().filter(|found| {
            let tenant = self.filter.tenant.as_ref();
            found.entity.kind == EntityKind::Run && tenant.is_none_or(|tenant| *tenant == found.tenant)
        });
        let events = of_runs.map(Event::of).collect::<Result<Vec<_>, _>>()?;
        let wanted = || events.into_iter().filter(|event| self.filter.wants(event));
        if self.filter.predicate.is_some() {
            with_stack(|| self.buffer.extend(wanted()));
        } else {
            self.buffer.extend(wanted());
        }
        self.cursor = last;
        // A long way without anything that is wanted must not keep the thread from others.
        tokio::task::yield_now().await;
        Ok(true)
    }

    /// Waits until the journal of a run may have grown.
    async fn wait(&mut self) {
        let grown = async {
            loop {
                match self.commits.recv().await {
                    Ok(committed) if committed.kind != EntityKind::Run => {}
                    // Told, or too slow to be told: look.
                    _ => break,
                }
            }
        };
        // Timing out is the fallback, not an error.
        drop(tokio::time::timeout(POLL, grown).await);
    }
}
