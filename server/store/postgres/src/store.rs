//! The store trait over Postgres.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{Postgres, QueryBuilder, Row as _};
use tape_core::command::Range;
use tape_core::row::RowKind;
use tape_core::{DueKind, EntityId, EntityKind, RowKey, Time};
use tape_store::{
    Commit, Committing, DueQuery, DueRow, Heard, ListQuery, Listed, Listing, Loaded, QueueQuery, Recorded, Schema,
    Store, StoreError, TailEntry, codec,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::bell::{self, Ear};
use crate::config::PostgresConfig;
use crate::driver::{self, Pools};
use crate::error::{silent, unavailable};
use crate::queries;
use crate::writer::{self, Writer};

/// Asks the database, for as long as is reasonable. What does not answer is hung up on: its place in the pool is free again.
macro_rules! ask {
    ($store:ident, $query:expr, $fetch:ident) => {{
        let mut connection = $store.pool.acquire().await.map_err(unavailable)?;
        match tokio::time::timeout($store.patience, $query.$fetch(&mut *connection)).await {
            Ok(answer) => answer.map_err(unavailable),
            Err(_) => {
                drop(connection.detach());
                Err(silent($store.patience))
            }
        }
    }};
}

/// A store in one Postgres database.
pub struct PostgresStore {
    pool: PgPool,
    writing: PgPool,
    /// For telling other servers, and hearing them.
    side: PgPool,
    ear: Ear,
    patience: Duration,
    queue: std::sync::Mutex<Option<mpsc::Sender<writer::Waiting>>>,
    tasks: TaskTracker,
}

impl PostgresStore {
    /// Connects, and brings the schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the database cannot be reached, or belongs to a newer server.
    pub async fn open(config: &PostgresConfig) -> Result<Self, StoreError> {
        let Pools {
            readers: pool,
            writer: writing,
            side,
        } = driver::pools(config).await?;
        let own: String = sqlx::query_scalar("SELECT gen_random_uuid()::text")
            .fetch_one(&pool)
            .await
            .map_err(unavailable)?;
        let (queue, waiting) = mpsc::channel(config.queue_max);
        let (news, told) = bell::queue();
        let tasks = TaskTracker::new();
        let patience = config.patience();
        let writer = Writer {
            pool: writing.clone(),
            patience,
            news: config.notify.then_some(news),
        };
        tasks.spawn(writer.run(waiting, config.batch_max));
        tasks.spawn(bell::tell(side.clone(), own.clone(), told));
        Ok(Self {
            pool,
            writing,
            ear: Ear::new(side.clone(), own),
            side,
            patience,
            queue: std::sync::Mutex::new(Some(queue)),
            tasks,
        })
    }

    /// How the database looks for due work, tasks and listings: the plan of each of their statements, as it is when tables are
    /// large, for whoever wants to know whether an index serves them.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be reached.
    pub async fn plans(&self) -> Result<Vec<(String, Vec<String>)>, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(unavailable)?;
        sqlx::query("SET LOCAL enable_seqscan = off")
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        let mut plans = Vec::new();
        for (name, mut sql) in queries::all("EXPLAIN SELECT") {
            let steps = sql.build_query_scalar().fetch_all(&mut *transaction).await;
            plans.push((name, steps.map_err(unavailable)?));
        }
        Ok(plans)
    }

    /// How far the schema of a database is; changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be reached.
    pub async fn schema(config: &PostgresConfig) -> Result<Schema, StoreError> {
        driver::look(config).await
    }

    fn queue(&self) -> Result<mpsc::Sender<writer::Waiting>, StoreError> {
        let queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        queue.clone().ok_or_else(closing)
    }
}

fn closing() -> StoreError {
    StoreError::Unavailable("the store is closing".to_owned())
}

#[async_trait]
impl Store for PostgresStore {
    async fn load(&self, entity: &EntityId, rows: &[RowKey], ranges: &[Range]) -> Result<Loaded, StoreError> {
        // One statement is one moment: the version and the rows belong together.
        let (kinds, keys): (Vec<i16>, Vec<Vec<u8>>) = rows
            .iter()
            .chain([&RowKey::Head])
            .map(codec::encode_key)
            .map(|(kind, key)| (i16::from(kind), key))
            .unzip();
        let mut query = QueryBuilder::<Postgres>::new("WITH e AS (SELECT no, version FROM entities WHERE kind = ");
        query
            .push_bind(i16::from(entity.kind as u8))
            .push(" AND id = ")
            .push_bind(&entity.id);
        query.push(
            ") SELECT e.version, r.kind, r.key, r.body FROM e LEFT JOIN rows r ON r.no = e.no AND (r.kind, r.key) IN
               (SELECT * FROM unnest(",
        );
        query
            .push_bind(kinds)
            .push("::smallint[], ")
            .push_bind(keys)
            .push("::bytea[]))");
        for range in ranges {
            query.push(
                " UNION (SELECT e.version, r.kind, r.key, r.body FROM e JOIN rows r ON r.no = e.no AND r.kind = ",
            );
            query
                .push_bind(i16::from(range.kind as u8))
                .push(" ORDER BY r.key DESC");
            if let Some(last) = range.last {
                query.push(" LIMIT ").push_bind(i64::from(last));
            }
            query.push(")");
        }
        let mut loaded = Loaded::default();
        for row in ask!(self, query.build(), fetch_all)? {
            loaded.version = get::<i64>(&row, 0)?.unsigned_abs();
            if let Some(kind) = get::<Option<i16>>(&row, 1)? {
                loaded.rows.push((
                    codec::decode_key(byte(kind)?, &get::<Vec<u8>>(&row, 2)?)?,
                    get(&row, 3)?,
                ));
            }
        }
        loaded.rows.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(loaded)
    }

    async fn submit(&self, commit: Commit) -> Committing {
        let (answer, answered) = oneshot::channel();
        let accepted = match self.queue() {
            Ok(queue) => queue
                .send(writer::Waiting { commit, answer })
                .await
                .map_err(|_| closing()),
            Err(error) => Err(error),
        };
        Box::pin(async move {
            accepted?;
            answered
                .await
                .map_err(|_| StoreError::InDoubt("the writer went away".to_owned()))?
        })
    }

    async fn due(&self, query: &DueQuery) -> Result<Vec<DueRow>, StoreError> {
        let mut sql = queries::due("SELECT", query);
        let rows = ask!(self, sql.build(), fetch_all)?;
        rows.iter()
            .map(|row| {
                Ok(DueRow {
                    entity: EntityId {
                        kind: entity_kind(get(row, 0)?)?,
                        id: get(row, 1)?,
                    },
                    key: codec::decode_key(byte(get(row, 2)?)?, &get::<Vec<u8>>(row, 3)?)?,
                    at: Time(get(row, 4)?),
                    tenant: get(row, 5)?,
                    app: get(row, 6)?,
                })
            })
            .collect()
    }

    async fn next_due(&self, kind: DueKind, after: Time) -> Result<Option<Time>, StoreError> {
        let at: Option<i64> = ask!(
            self,
            queries::next_due("SELECT", kind, after.0).build_query_scalar(),
            fetch_one
        )?;
        Ok(at.map(Time))
    }

    async fn tasks_due(&self, query: &QueueQuery) -> Result<Vec<RowKey>, StoreError> {
        let mut sql = queries::tasks_due("SELECT", query);
        let rows = ask!(self, sql.build(), fetch_all)?;
        rows.iter()
            .map(|row| codec::decode_key(RowKind::Task as u8, &get::<Vec<u8>>(row, 0)?))
            .collect()
    }

    async fn count_due(&self, kind: DueKind, now: Time) -> Result<(u64, Option<Time>), StoreError> {
        let row = ask!(self, queries::count_due("SELECT", kind, now.0).build(), fetch_one)?;
        Ok((
            get::<i64>(&row, 0)?.unsigned_abs(),
            get::<Option<i64>>(&row, 1)?.map(Time),
        ))
    }

    async fn journal(&self, entity: &EntityId, from_seq: i64, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        let rows: Vec<(i64, i64, Vec<u8>)> = ask!(self, sqlx::query_as(
            "SELECT j.seq, j.position, j.body FROM journal j
             WHERE j.no = (SELECT no FROM entities WHERE kind = $1 AND id = $2) AND j.seq >= $3 ORDER BY j.seq LIMIT $4",
        )
        .bind(i16::from(entity.kind as u8))
        .bind(&entity.id)
        .bind(from_seq)
        .bind(i64::from(limit)), fetch_all)?;
        Ok(rows
            .into_iter()
            .map(|(seq, position, body)| Recorded { seq, position, body })
            .collect())
    }

    async fn tail(&self, after: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        // Positions are given in the order of the commits (migration 2): what is not visible yet lies behind what is.
        let rows = ask!(
            self,
            sqlx::query(
                "SELECT j.position, e.kind, e.id, j.seq, j.body, e.tenant, e.app, e.\"user\"
             FROM (SELECT * FROM journal WHERE position > $1 ORDER BY position LIMIT $2) j
             JOIN entities e ON e.no = j.no ORDER BY j.position",
            )
            .bind(after)
            .bind(i64::from(limit)),
            fetch_all
        )?;
        rows.iter()
            .map(|row| {
                Ok(TailEntry {
                    position: get(row, 0)?,
                    entity: EntityId {
                        kind: entity_kind(get(row, 1)?)?,
                        id: get(row, 2)?,
                    },
                    seq: get(row, 3)?,
                    body: get(row, 4)?,
                    tenant: get(row, 5)?,
                    app: get(row, 6)?,
                    user: get(row, 7)?,
                })
            })
            .collect()
    }

    async fn tail_end(&self) -> Result<i64, StoreError> {
        ask!(
            self,
            sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM journal"),
            fetch_one
        )
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, StoreError> {
        let mut sql = queries::list("SELECT", query);
        let rows = ask!(self, sql.build(), fetch_all)?;
        rows.iter()
            .map(|row| {
                Ok(Listed {
                    id: get(row, 0)?,
                    listing: Listing {
                        tenant: get(row, 1)?,
                        app: get(row, 2)?,
                        user: get(row, 3)?,
                        status: byte(get(row, 4)?)?,
                        created: Time(get(row, 5)?),
                    },
                    head: get(row, 6)?,
                })
            })
            .collect()
    }

    async fn count_by_status(&self, kind: EntityKind) -> Result<Vec<(u8, u64)>, StoreError> {
        let rows: Vec<(i16, i64)> =
            ask!(self, sqlx::query_as(
            "SELECT status, count(*) FROM entities WHERE kind = $1 AND version > 0 GROUP BY status ORDER BY status",
        )
        .bind(i16::from(kind as u8)), fetch_all)?;
        rows.into_iter()
            .map(|(status, count)| Ok((byte(status)?, count.unsigned_abs())))
            .collect()
    }

    fn shared(&self) -> bool {
        true
    }

    async fn hear(&self) -> Heard {
        self.ear.next().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        ask!(self, sqlx::query("SELECT 1"), execute).map(drop)
    }

    async fn close(&self) {
        // Without a sender left the writer ends once its queue is empty.
        drop(
            self.queue
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .take(),
        );
        self.tasks.close();
        self.tasks.wait().await;
        self.ear.close();
        for pool in [&self.side, &self.writing, &self.pool] {
            // A database that does not answer is not waited for.
            drop(tokio::time::timeout(self.patience, pool.close()).await);
        }
    }
}

fn get<'r, T: sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>>(
    row: &'r PgRow,
    index: usize,
) -> Result<T, StoreError> {
    row.try_get(index)
        .map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn byte(number: i16) -> Result<u8, StoreError> {
    u8::try_from(number).map_err(|_| StoreError::Corrupt(format!("{number} is no kind or status")))
}

fn entity_kind(number: i16) -> Result<EntityKind, StoreError> {
    EntityKind::from_number(byte(number)?).ok_or_else(|| StoreError::Corrupt(format!("no entity kind {number}")))
}
