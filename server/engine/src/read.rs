//! Reading without deciding: runs, effects, decisions, listings, counts.

use std::collections::{BTreeMap, HashSet};

use tape_core::budget::Budget;
use tape_core::command::Reads;
use tape_core::decision::Decision;
use tape_core::effect::Effect;
use tape_core::entity::EntityKind;
use tape_core::json::not_found;
use tape_core::obligation::Obligation;
use tape_core::row::RowKind;
use tape_core::run::Run;
use tape_core::timer::Timer;
use tape_core::{DueKind, EffectKey, EntityId, Row, RowKey, RunId, Snapshot, Time};
use tape_port::{DueItem, DueWork, TapeError};
use tape_store::{DueQuery, ListQuery, Listing, Position, codec, waits_for};

use crate::engine::{Engine, store_error};

/// Which runs.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this tenant; none = of all.
    pub tenant: Option<String>,
    /// Of this app; none = of all.
    pub app: Option<String>,
    /// Of this user; none = of all.
    pub user: Option<String>,
    /// With one of these statuses (numbers on the wire); empty = with any.
    pub statuses: Vec<u8>,
    /// Created at this time or before.
    pub created_until: Option<Time>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// After the last run of the former page.
    pub after: Option<Position>,
    /// At most so many; 0 = 100.
    pub limit: u32,
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What was found, newest first.
    pub items: Vec<T>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Position>,
}

/// Most runs on one page.
const PAGE_MAX: u32 = 1000;
/// Most runs that are looked at for one page. Status and time are indexed, all else is looked for in what they leave: a page
/// of something rare ends here, with what was found and a place to go on from, so that no request costs more than this.
const LOOKED_AT_MAX: u32 = 20_000;

impl RunFilter {
    fn names(&self, listing: &Listing) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is(&self.tenant, &listing.tenant) && is(&self.app, &listing.app) && is(&self.user, &listing.user)
    }

    fn labels(&self, run: &Run) -> bool {
        let mut wanted = self.labels.iter();
        wanted.all(|(key, value)| run.caller.labels.get(key) == Some(value))
    }
}

impl Engine {
    async fn run_snapshot(&self, run: &RunId, reads: &Reads) -> Result<Snapshot, TapeError> {
        self.load(&EntityId::run(run), reads).await
    }

    /// A run as it stands.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn run(&self, run: &RunId) -> Result<Run, TapeError> {
        match self.run_snapshot(run, &Reads::head()).await?.rows.remove(&RowKey::Head) {
            Some(Row::Run(found)) => Ok(*found),
            _ => Err(not_found("TAPE-R001", "run", run.as_str()).into()),
        }
    }

    /// A decision, if it is recorded.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such run.
    pub async fn decision(&self, run: &RunId, index: i64) -> Result<Option<Decision>, TapeError> {
        match self.row(run, RowKey::Decision(index)).await? {
            Some(Row::Decision(decision)) => Ok(Some(*decision)),
            _ => Ok(None),
        }
    }

    /// An effect, if it was begun.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such run.
    pub async fn effect(&self, run: &RunId, key: &EffectKey) -> Result<Option<Effect>, TapeError> {
        match self.row(run, RowKey::Effect(key.clone())).await? {
            Some(Row::Effect(effect)) => Ok(Some(*effect)),
            _ => Ok(None),
        }
    }

    /// An obligation, if there is one.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such run.
    pub async fn obligation(&self, run: &RunId, seq: i64) -> Result<Option<Obligation>, TapeError> {
        match self.row(run, RowKey::Obligation(seq)).await? {
            Some(Row::Obligation(obligation)) => Ok(Some(*obligation)),
            _ => Ok(None),
        }
    }

    /// The obligations of a run, oldest first.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such run.
    pub async fn obligations(&self, run: &RunId) -> Result<Vec<Obligation>, TapeError> {
        let snapshot = self.run_snapshot(run, &Reads::head().all(RowKind::Obligation)).await?;
        existing(&snapshot, run)?;
        let rows = snapshot.rows.into_values();
        Ok(rows
            .filter_map(|row| if let Row::Obligation(o) = row { Some(*o) } else { None })
            .collect())
    }

    /// The budget of a run.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such run.
    pub async fn budget(&self, run: &RunId) -> Result<Budget, TapeError> {
        match self.row(run, RowKey::Budget).await? {
            Some(Row::Budget(budget)) => Ok(budget),
            _ => Ok(Budget::default()),
        }
    }

    /// A timer, if it was set.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such run.
    pub async fn timer(&self, run: &RunId, id: &str) -> Result<Option<Timer>, TapeError> {
        match self.row(run, RowKey::Timer(id.to_owned())).await? {
            Some(Row::Timer(timer)) => Ok(Some(timer)),
            _ => Ok(None),
        }
    }

    pub(crate) async fn row(&self, run: &RunId, key: RowKey) -> Result<Option<Row>, TapeError> {
        let mut snapshot = self.run_snapshot(run, &Reads::rows([key.clone()])).await?;
        existing(&snapshot, run)?;
        Ok(snapshot.rows.remove(&key))
    }

    /// Runs, newest first. A page can be shorter than `limit`, even empty, and have a next one: of something rare among much.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn list_runs(&self, filter: &RunFilter) -> Result<Page<Run>, TapeError> {
        let limit = if filter.limit == 0 {
            100
        } else {
            filter.limit.min(PAGE_MAX)
        };
        let narrow =
            filter.tenant.is_some() || filter.app.is_some() || filter.user.is_some() || !filter.labels.is_empty();
        let chunk = if narrow { PAGE_MAX } else { limit };
        let mut query = ListQuery {
            statuses: filter.statuses.clone(),
            created_until: filter.created_until,
            after: filter.after.clone(),
            ..ListQuery::all(EntityKind::Run, chunk)
        };
        let mut items = Vec::new();
        let mut looked_at = 0;
        loop {
            let listed = self.store.list(&query).await.map_err(store_error)?;
            looked_at += chunk;
            let more = listed.len() == chunk as usize;
            for found in listed {
                query.after = Some(Position {
                    created: found.listing.created,
                    id: found.id,
                });
                if !filter.names(&found.listing) {
                    continue;
                }
                let Row::Run(run) = codec::decode_row(&found.head).map_err(store_error)? else {
                    continue;
                };
                if filter.labels(&run) {
                    items.push(*run);
                }
                if items.len() == limit as usize {
                    return Ok(Page {
                        items,
                        next: query.after,
                    });
                }
            }
            if !more || looked_at >= LOOKED_AT_MAX {
                return Ok(Page {
                    items,
                    next: query.after.filter(|_| more),
                });
            }
        }
    }

    /// How many runs have each status (number on the wire).
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn count_runs(&self) -> Result<Vec<(u8, u64)>, TapeError> {
        self.store.count_by_status(EntityKind::Run).await.map_err(store_error)
    }

    /// How much work is due for a reactor, and since when the oldest is.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn count_due(&self, kind: DueKind) -> Result<(u64, Option<Time>), TapeError> {
        self.count_due_until(kind, self.now()).await
    }

    /// How much work is due for a reactor at `until` or before, and since when the oldest is.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn count_due_until(&self, kind: DueKind, until: Time) -> Result<(u64, Option<Time>), TapeError> {
        self.store.count_due(kind, until).await.map_err(store_error)
    }

    /// Work that waits, oldest first.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn due_work(&self, work: &DueWork) -> Result<Vec<DueItem>, TapeError> {
        let Some(served) = &work.served else {
            return self.due_by(work, work.apps.clone(), None).await;
        };
        let mut by_app = BTreeMap::<Option<&String>, Vec<String>>::from([(None, Vec::new())]);
        for one in served {
            let by = waits_for(&one.tenant, &one.name);
            by_app.entry(one.app.as_ref()).or_default().push(by);
        }
        let looks = by_app.len();
        let mut items = Vec::new();
        for (app, by) in by_app {
            let apps = match app {
                None => work.apps.clone(),
                Some(app) if work.apps.as_ref().is_none_or(|apps| apps.contains(app)) => Some(vec![app.clone()]),
                Some(_) => continue,
            };
            items.extend(self.due_by(work, apps, Some(by)).await?);
        }
        if looks > 1 {
            // What anybody can do was found by each look.
            let mut seen = HashSet::new();
            items.retain(|item| seen.insert((item.run.clone(), item.key.clone())));
            items.sort_by_key(|item| item.at);
            items.truncate(usize::try_from(work.limit).unwrap_or(usize::MAX));
        }
        Ok(items)
    }

    /// The same of `apps`, and only what waits for one of `by` or for nobody.
    async fn due_by(
        &self,
        work: &DueWork,
        apps: Option<Vec<String>>,
        by: Option<Vec<String>>,
    ) -> Result<Vec<DueItem>, TapeError> {
        let query = DueQuery {
            kind: work.kind,
            until: self.now().after(work.ahead_ms),
            tenants: work.tenants.clone(),
            apps,
            by,
            limit: work.limit,
        };
        let rows = self.store.due(&query).await.map_err(store_error)?;
        Ok(rows
            .into_iter()
            .map(|row| DueItem {
                run: RunId(row.entity.id),
                key: row.key,
                at: row.at,
                app: row.app,
                tenant: row.tenant,
            })
            .collect())
    }
}

fn existing(snapshot: &Snapshot, run: &RunId) -> Result<(), TapeError> {
    if snapshot.rows.contains_key(&RowKey::Head) {
        return Ok(());
    }
    Err(not_found("TAPE-R001", "run", run.as_str()).into())
}
