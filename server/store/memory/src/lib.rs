//! A store in memory: the reference of the others, with the same encoding, and the ground under the simulation.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tape_core::command::Range;
use tape_core::row::RowKind;
use tape_core::{Due, DueKind, EntityId, EntityKind, RowKey, Time};
use tape_store::{
    Commit, Committing, DueQuery, DueRow, ListQuery, Listed, Listing, Loaded, Position, QueueQuery, Recorded, Store,
    StoreError, StoredRow, TailEntry, codec,
};

/// Everything, in maps.
#[derive(Default)]
pub struct MemoryStore {
    state: Mutex<HashMap<EntityId, Entity>>,
    /// Whose entry was committed when. Grows under the lock of the state, so that it is the order of the commits.
    order: Mutex<Vec<(EntityId, i64)>>,
}

#[derive(Default)]
struct Entity {
    version: u64,
    listing: Listing,
    /// By kind and encoded key, so that ranges come in the stores' own order.
    rows: BTreeMap<(u8, Vec<u8>), Stored>,
    /// By seq: position and body.
    journal: BTreeMap<i64, (i64, Vec<u8>)>,
}

/// A row's key, body, and hint with whom it waits for.
type Stored = (RowKey, Vec<u8>, Option<Hint>);

#[derive(Clone)]
struct Hint {
    due: Due,
    by: Option<String>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn write(&self, commit: Commit) -> Result<u64, StoreError> {
        let mut state = self.state();
        let found = state.get(&commit.entity).map_or(0, |entity| entity.version);
        if !commit.fits(found) {
            return Err(StoreError::Conflict {
                expected: commit.expected,
                found,
            });
        }
        let mut order = self.order();
        let first = i64::try_from(order.len()).unwrap_or(i64::MAX) + 1;
        order.extend(commit.entries.iter().map(|(seq, _)| (commit.entity.clone(), *seq)));
        drop(order);
        let entity = state.entry(commit.entity).or_default();
        entity.version = commit.expected + 1;
        if let Some(listing) = commit.listing {
            entity.listing = listing;
        }
        for key in &commit.deletes {
            entity.rows.remove(&codec::encode_key(key));
        }
        for StoredRow { key, body, due, by } in commit.puts {
            let hint = due.map(|due| Hint { due, by });
            entity.rows.insert(codec::encode_key(&key), (key, body, hint));
        }
        let entries = (first..).zip(commit.entries);
        entity
            .journal
            .extend(entries.map(|(position, (seq, body))| (seq, (position, body))));
        commit.chain.own.stand();
        Ok(entity.version)
    }

    fn state(&self) -> MutexGuard<'_, HashMap<EntityId, Entity>> {
        // A panic while it was held cannot have left half a change: every change is one insert after all checks.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taken after the state where both are.
    fn order(&self) -> MutexGuard<'_, Vec<(EntityId, i64)>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, entity: &EntityId, rows: &[RowKey], ranges: &[Range]) -> Result<Loaded, StoreError> {
        let state = self.state();
        let Some(entity) = state.get(entity) else {
            return Ok(Loaded::default());
        };
        let mut found: BTreeMap<RowKey, Vec<u8>> = BTreeMap::new();
        for key in rows.iter().chain([&RowKey::Head]) {
            if let Some((key, body, _)) = entity.rows.get(&codec::encode_key(key)) {
                found.insert(key.clone(), body.clone());
            }
        }
        for range in ranges {
            let kind = range.kind as u8;
            let rows = entity.rows.range((kind, Vec::new())..(kind + 1, Vec::new())).rev();
            let last = range.last.map_or(usize::MAX, |last| last as usize);
            found.extend(rows.take(last).map(|(_, (key, body, _))| (key.clone(), body.clone())));
        }
        Ok(Loaded {
            version: entity.version,
            rows: found.into_iter().collect(),
        })
    }

    async fn submit(&self, commit: Commit) -> Committing {
        Box::pin(std::future::ready(self.write(commit)))
    }

    async fn due(&self, query: &DueQuery) -> Result<Vec<DueRow>, StoreError> {
        let mut due: Vec<DueRow> = Vec::new();
        for (id, entity) in self.state().iter() {
            let wants =
                |wanted: &Option<Vec<String>>, has: &String| wanted.as_ref().is_none_or(|all| all.contains(has));
            if !wants(&query.tenants, &entity.listing.tenant) || !wants(&query.apps, &entity.listing.app) {
                continue;
            }
            for (key, _, hint) in entity.rows.values() {
                let Some(hint) = hint else { continue };
                let ours = query.by.as_ref().is_none_or(|ours| {
                    let by = hint.by.as_ref();
                    by.is_some_and(|by| by.is_empty() || ours.contains(by))
                });
                if ours && hint.due.kind == query.kind && hint.due.at <= query.until {
                    due.push(DueRow {
                        entity: id.clone(),
                        key: key.clone(),
                        at: hint.due.at,
                        tenant: entity.listing.tenant.clone(),
                        app: entity.listing.app.clone(),
                    });
                }
            }
        }
        due.sort_by(|a, b| (a.at, &a.entity, &a.key).cmp(&(b.at, &b.entity, &b.key)));
        due.truncate(query.limit as usize);
        Ok(due)
    }

    async fn next_due(&self, kind: DueKind, after: Time) -> Result<Option<Time>, StoreError> {
        Ok(hints(&self.state(), kind).filter(|at| *at > after).min())
    }

    async fn tasks_due(&self, query: &QueueQuery) -> Result<Vec<RowKey>, StoreError> {
        let state = self.state();
        let Some(entity) = state.get(&query.entity) else {
            return Ok(Vec::new());
        };
        let tasks = (RowKind::Task as u8, Vec::new())..(RowKind::Task as u8 + 1, Vec::new());
        let mut queue: Vec<(Time, &RowKey)> = Vec::new();
        for (key, _, hint) in entity.rows.range(tasks).map(|(_, row)| row) {
            let here = match (query.shard, key) {
                (Some(shard), RowKey::Task(own, _)) => shard == *own,
                _ => true,
            };
            if let Some(Hint { due, .. }) = hint
                && here
                && due.kind == query.kind
                && due.at <= query.until
            {
                queue.push((due.at, key));
            }
        }
        queue.sort();
        Ok(queue
            .into_iter()
            .take(query.limit as usize)
            .map(|(_, key)| key.clone())
            .collect())
    }

    async fn count_due(&self, kind: DueKind, now: Time) -> Result<(u64, Option<Time>), StoreError> {
        let state = self.state();
        let due = || hints(&state, kind).filter(|at| *at <= now);
        Ok((due().count() as u64, due().min()))
    }

    async fn journal(&self, entity: &EntityId, from_seq: i64, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        let state = self.state();
        let Some(entity) = state.get(entity) else {
            return Ok(Vec::new());
        };
        Ok(entity
            .journal
            .range(from_seq..)
            .take(limit as usize)
            .map(|(seq, (position, body))| Recorded {
                seq: *seq,
                position: *position,
                body: body.clone(),
            })
            .collect())
    }

    async fn tail(&self, after: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        let state = self.state();
        let after = usize::try_from(after).unwrap_or_default();
        let order = self.order();
        let entries = (1..).zip(order.iter()).skip(after).take(limit as usize);
        Ok(entries
            .filter_map(|(position, (entity, seq))| {
                let found = state.get(entity)?;
                Some(TailEntry {
                    position,
                    entity: entity.clone(),
                    seq: *seq,
                    body: found.journal.get(seq)?.1.clone(),
                    tenant: found.listing.tenant.clone(),
                    app: found.listing.app.clone(),
                    user: found.listing.user.clone(),
                })
            })
            .collect())
    }

    async fn tail_end(&self) -> Result<i64, StoreError> {
        Ok(i64::try_from(self.order().len()).unwrap_or(i64::MAX))
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, StoreError> {
        let head = codec::encode_key(&RowKey::Head);
        let mut listed: Vec<Listed> = self
            .state()
            .iter()
            .filter(|(id, entity)| id.kind == query.kind && matches(query, &id.id, &entity.listing))
            .filter_map(|(id, entity)| {
                let (_, body, _) = entity.rows.get(&head)?;
                Some(Listed {
                    id: id.id.clone(),
                    listing: entity.listing.clone(),
                    head: body.clone(),
                })
            })
            .collect();
        listed.sort_by(|a, b| (b.listing.created, &b.id).cmp(&(a.listing.created, &a.id)));
        listed.truncate(query.limit as usize);
        Ok(listed)
    }

    async fn count_by_status(&self, kind: EntityKind) -> Result<Vec<(u8, u64)>, StoreError> {
        let mut counts: BTreeMap<u8, u64> = BTreeMap::new();
        for (id, entity) in self.state().iter() {
            if id.kind == kind {
                *counts.entry(entity.listing.status).or_default() += 1;
            }
        }
        Ok(counts.into_iter().collect())
    }

    fn shared(&self) -> bool {
        false
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) {}
}

fn hints(state: &HashMap<EntityId, Entity>, kind: DueKind) -> impl Iterator<Item = Time> + '_ {
    state
        .values()
        .flat_map(|entity| entity.rows.values())
        .filter_map(move |(_, _, hint)| hint.as_ref().map(|hint| hint.due))
        .filter_map(move |due| (due.kind == kind).then_some(due.at))
}

fn matches(query: &ListQuery, id: &str, listing: &Listing) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    is(&query.tenant, &listing.tenant)
        && is(&query.app, &listing.app)
        && is(&query.user, &listing.user)
        && (query.statuses.is_empty() || query.statuses.contains(&listing.status))
        && query.created_until.is_none_or(|until| listing.created <= until)
        && query
            .after
            .as_ref()
            .is_none_or(|Position { created, id: last }| (listing.created, id) < (*created, last))
}
