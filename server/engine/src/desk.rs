//! The desk of an entity: where commands on it take turns, and what is known of it while they do.
//!
//! A command is decided on the state that the one before it leaves, before that is durable, so that both can be written
//! by the same batch. Whatever is decided on such a state, a refusal too, is told only once that state is durable; if its
//! commit fails, everything decided on it is decided again, on what is stored.
//!
//! What is kept is a copy: the commit's guard makes a stale one harmless. It is bounded, and forgotten when in doubt.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use tape_core::command::{Range, Reads};
use tape_core::{Changes, EntityId, Row, RowKey, Snapshot};
use tape_store::{Commit, Fate};
use tokio::sync::{Mutex, MutexGuard};

/// Entities that share a desk only wait a little for each other.
const DESKS: usize = 1024;
/// Entities remembered at one desk.
const COPIES_MAX: usize = 8;
/// Bytes of rows remembered for one entity; beyond it only the head is.
const COPY_BYTES_MAX: usize = 256 * 1024;

/// All desks: a fixed number, whatever the number of entities.
pub(crate) struct Desks {
    desks: Vec<Mutex<Desk>>,
    hasher: RandomState,
}

/// What is known of the entities whose turn is taken here.
#[derive(Default)]
pub(crate) struct Desk {
    copies: HashMap<EntityId, Known>,
    lineages: u64,
}

/// A copy and all that was decided on it, from one loading on. Commits of one lineage stand or fall with those before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lineage(u64);

/// An entity as it will be once every accepted change is durable.
struct Known {
    lineage: Lineage,
    version: u64,
    /// Rows that are known; none = known not to exist.
    rows: BTreeMap<RowKey, Option<Row>>,
    /// Every row of the entity is known.
    complete: bool,
    bytes: usize,
    /// The newest accepted change.
    last: Accepted,
}

/// How a change that was accepted ends: durable, or not. Its store tells, also when whoever asked for it is gone.
#[derive(Clone)]
pub(crate) struct Accepted(Option<Fate>);

impl Accepted {
    /// Nothing is under way.
    pub(crate) const NONE: Self = Self(None);

    /// A commit under way.
    pub(crate) fn of(commit: &Commit) -> Self {
        Self(Some(commit.chain.own.fate()))
    }

    /// What the next change is decided on, for its store.
    pub(crate) fn fate(self) -> Option<Fate> {
        self.0
    }

    /// Waits for its end. False if it failed, or if nobody can tell any more.
    pub(crate) async fn durable(self) -> bool {
        match self.0 {
            Some(fate) => fate.stands().await,
            None => true,
        }
    }

    fn is_open(&self) -> bool {
        self.0.as_ref().is_some_and(Fate::is_open)
    }
}

impl Desks {
    pub(crate) fn new() -> Self {
        Self {
            desks: (0..DESKS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Waits for the entity's turn, first come first served.
    pub(crate) async fn turn(&self, entity: &EntityId) -> MutexGuard<'_, Desk> {
        let index = usize::try_from(self.hasher.hash_one(entity) % DESKS as u64).unwrap_or_default();
        self.desks[index].lock().await
    }
}

impl Desk {
    /// What a command reads, if all of it is known here.
    pub(crate) fn snapshot(&self, entity: &EntityId, reads: &Reads) -> Option<Snapshot> {
        let copy = self.copies.get(entity)?;
        let mut rows = BTreeMap::new();
        for key in reads.rows.iter().chain([&RowKey::Head]) {
            match copy.rows.get(key) {
                Some(Some(row)) => drop(rows.insert(key.clone(), row.clone())),
                Some(None) => {}
                None if copy.complete => {}
                None => return None,
            }
        }
        for range in &reads.ranges {
            if !copy.complete {
                return None;
            }
            copy.range(range, &mut rows);
        }
        Some(Snapshot {
            version: copy.version,
            rows,
        })
    }

    /// The newest change of the entity that was accepted here.
    pub(crate) fn last(&self, entity: &EntityId) -> Accepted {
        self.copies.get(entity).map_or(Accepted::NONE, |copy| copy.last.clone())
    }

    /// Remembers what was loaded: `snapshot` for `reads`, of `bytes` bytes. Nothing may be under way.
    pub(crate) fn loaded(&mut self, entity: &EntityId, reads: &Reads, snapshot: &Snapshot, bytes: usize) {
        if self
            .copies
            .get(entity)
            .is_none_or(|copy| copy.version != snapshot.version)
        {
            self.make_room(entity);
            let complete = snapshot.version == 0;
            self.lineages += 1;
            let fresh = Known {
                lineage: Lineage(self.lineages),
                version: snapshot.version,
                rows: BTreeMap::new(),
                complete,
                bytes: 0,
                last: Accepted::NONE,
            };
            self.copies.insert(entity.clone(), fresh);
        }
        let Some(copy) = self.copies.get_mut(entity) else {
            return;
        };
        for key in reads.rows.iter().chain([&RowKey::Head]) {
            copy.rows.insert(key.clone(), snapshot.rows.get(key).cloned());
        }
        copy.bytes += bytes;
        copy.shrink();
    }

    /// Moves the entity on to the state that an accepted change makes.
    pub(crate) fn accepted(&mut self, entity: &EntityId, from: u64, changes: &Changes, bytes: usize, change: Accepted) {
        let Some(copy) = self.copies.get_mut(entity).filter(|copy| copy.version == from) else {
            self.drop_copy(entity);
            return;
        };
        copy.version += 1;
        copy.last = change;
        for (key, row) in &changes.puts {
            copy.rows.insert(key.clone(), Some(row.clone()));
        }
        for key in &changes.deletes {
            copy.rows.insert(key.clone(), None);
        }
        copy.bytes += bytes;
        copy.shrink();
        let ended = matches!(copy.rows.get(&RowKey::Head), Some(Some(Row::Run(run))) if !run.state.live());
        if ended {
            // Nobody will ask for it soon.
            self.drop_copy(entity);
        }
    }

    /// The lineage that a command on the entity is decided on now.
    pub(crate) fn lineage(&self, entity: &EntityId) -> Option<Lineage> {
        self.copies.get(entity).map(|copy| copy.lineage)
    }

    /// The version that the entity will have once everything under way is durable.
    pub(crate) fn version(&self, entity: &EntityId) -> Option<u64> {
        self.copies.get(entity).map(|copy| copy.version)
    }

    /// Forgets what failed, so that the next command loads what is stored; what was loaded since is kept.
    pub(crate) fn forget(&mut self, entity: &EntityId, failed: Option<Lineage>) {
        if self.lineage(entity) == failed {
            self.drop_copy(entity);
        }
    }

    /// Forgets the rows. What is under way is remembered until it has ended: who loads before that finds what is about to
    /// be replaced, and a copy of that would never be found out.
    fn drop_copy(&mut self, entity: &EntityId) {
        self.lineages += 1;
        let lineage = Lineage(self.lineages);
        match self.copies.get_mut(entity) {
            Some(copy) if copy.last.is_open() => {
                copy.lineage = lineage;
                copy.rows.clear();
                (copy.complete, copy.bytes) = (false, 0);
            }
            _ => drop(self.copies.remove(entity)),
        }
    }

    fn make_room(&mut self, entity: &EntityId) {
        if self.copies.len() < COPIES_MAX || self.copies.contains_key(entity) {
            return;
        }
        // Any will do that nothing is under way of: such a copy saves a read, no more.
        let settled = self.copies.iter().find(|(_, copy)| !copy.last.is_open());
        if let Some(victim) = settled.map(|(victim, _)| victim.clone()) {
            self.copies.remove(&victim);
        }
    }
}

impl Known {
    fn range(&self, range: &Range, into: &mut BTreeMap<RowKey, Row>) {
        let rows = self.rows.iter().rev().filter(|(key, _)| key.kind() == range.kind);
        let present = rows.filter_map(|(key, row)| Some((key.clone(), row.clone()?)));
        into.extend(present.take(range.last.map_or(usize::MAX, |last| last as usize)));
    }

    fn shrink(&mut self) {
        if self.bytes > COPY_BYTES_MAX {
            self.rows.retain(|key, _| *key == RowKey::Head);
            self.complete = false;
            self.bytes = 0;
        }
    }
}
