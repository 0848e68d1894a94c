//! The store trait over SQLite.

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row as _, Sqlite};
use tape_core::command::Range;
use tape_core::row::RowKind;
use tape_core::{DueKind, EntityId, EntityKind, RowKey, Time};
use tape_store::{
    Commit, Committing, DueQuery, DueRow, ListQuery, Listed, Listing, Loaded, QueueQuery, Recorded, Schema, Store,
    StoreError, TailEntry, codec,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::condition::Condition;
use crate::config::SqliteConfig;
use crate::error::unavailable;
use crate::{driver, queries, writer};

/// Names of which one statement takes the oldest each: SQLite joins 500 selects at most.
const BY_MAX: usize = 400;

/// A store in one SQLite file.
pub struct SqliteStore {
    readers: SqlitePool,
    queue: std::sync::Mutex<Option<mpsc::Sender<writer::Waiting>>>,
    tasks: TaskTracker,
    /// Held as long as the store is open.
    lock: std::sync::Mutex<Option<std::fs::File>>,
    /// The last batch could not be written.
    condition: Arc<Condition>,
    config: SqliteConfig,
}

impl SqliteStore {
    /// Opens the file, creates it if it is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be opened, or belongs to a newer server.
    pub async fn open(config: &SqliteConfig) -> Result<Self, StoreError> {
        let lock = driver::lock(config)?;
        driver::migrate(config).await?;
        let connection = driver::writer(config)?;
        let readers = driver::readers(config).await?;
        let (queue, waiting) = mpsc::channel(config.queue_max);
        let tasks = TaskTracker::new();
        let condition = Arc::new(Condition::default());
        let (batch_max, kept, running) = (config.batch_max, condition.clone(), tasks.token());
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || {
                writer::run(connection, waiting, batch_max, kept);
                // Closing waits for this.
                drop(running);
            })
            .map_err(|error| StoreError::Unavailable(format!("no thread for the writer: {error}")))?;
        Ok(Self {
            readers,
            queue: std::sync::Mutex::new(Some(queue)),
            tasks,
            lock: std::sync::Mutex::new(Some(lock)),
            condition,
            config: config.clone(),
        })
    }

    /// How far the schema of a file is; changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it cannot be read.
    pub async fn schema(config: &SqliteConfig) -> Result<Schema, StoreError> {
        driver::look(config).await
    }

    /// `journal_mode` and `synchronous` as SQLite reports them: what durable means here.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if the store does not answer.
    pub async fn durability(&self) -> Result<(String, i64), StoreError> {
        let mut connection = self.readers.acquire().await.map_err(unavailable)?;
        let mode = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&mut *connection)
            .await
            .map_err(unavailable)?;
        let synchronous = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&mut *connection)
            .await
            .map_err(unavailable)?;
        Ok((mode, synchronous))
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
impl Store for SqliteStore {
    async fn load(&self, entity: &EntityId, rows: &[RowKey], ranges: &[Range]) -> Result<Loaded, StoreError> {
        // One statement is one moment: the version and the rows belong together.
        let mut query = QueryBuilder::<Sqlite>::new("WITH e AS (SELECT no, version FROM entities WHERE kind = ");
        query
            .push_bind(entity.kind as u8)
            .push(" AND id = ")
            .push_bind(&entity.id);
        query.push(
            ") SELECT e.version, r.kind, r.key, r.body FROM e LEFT JOIN rows r ON r.no = e.no AND (r.kind, r.key) IN (",
        );
        let keys: Vec<(u8, Vec<u8>)> = rows.iter().chain([&RowKey::Head]).map(codec::encode_key).collect();
        query.push_values(&keys, |mut row, (kind, key)| {
            row.push_bind(*kind).push_bind(key.as_slice());
        });
        query.push(")");
        for range in ranges {
            query.push(
                " UNION SELECT * FROM (SELECT e.version, r.kind, r.key, r.body FROM e JOIN rows r ON r.no = e.no AND r.kind = ",
            );
            query.push_bind(range.kind as u8);
            query
                .push(" ORDER BY r.key DESC LIMIT ")
                .push_bind(range.last.map_or(-1, i64::from))
                .push(")");
        }
        let mut loaded = Loaded::default();
        for row in query.build().fetch_all(&self.readers).await.map_err(unavailable)? {
            loaded.version = get::<i64>(&row, 0)?.unsigned_abs();
            if let Some(kind) = get::<Option<u8>>(&row, 1)? {
                loaded
                    .rows
                    .push((codec::decode_key(kind, &get::<Vec<u8>>(&row, 2)?)?, get(&row, 3)?));
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
        let mut found = Vec::new();
        let looked_for = match &query.by {
            None => vec![None],
            Some(by) => {
                let all: Vec<&str> = [""].into_iter().chain(by.iter().map(String::as_str)).collect();
                all.chunks(BY_MAX).map(|chunk| Some(chunk.to_vec())).collect()
            }
        };
        for by in looked_for {
            let mut sql = queries::due("SELECT", query, by.as_deref());
            let rows = sql.build().fetch_all(&self.readers).await.map_err(unavailable)?;
            for row in &rows {
                found.push(DueRow {
                    entity: EntityId {
                        kind: entity_kind(get(row, 0)?)?,
                        id: get(row, 1)?,
                    },
                    key: codec::decode_key(get(row, 2)?, &get::<Vec<u8>>(row, 3)?)?,
                    at: Time(get(row, 4)?),
                    tenant: get(row, 5)?,
                    app: get(row, 6)?,
                });
            }
        }
        found.sort_by(|a, b| (a.at, &a.entity).cmp(&(b.at, &b.entity)));
        found.truncate(query.limit as usize);
        Ok(found)
    }

    async fn next_due(&self, kind: DueKind, after: Time) -> Result<Option<Time>, StoreError> {
        let at: Option<i64> = queries::next_due("SELECT", kind, after.0)
            .build_query_scalar()
            .fetch_one(&self.readers)
            .await
            .map_err(unavailable)?;
        Ok(at.map(Time))
    }

    async fn tasks_due(&self, query: &QueueQuery) -> Result<Vec<RowKey>, StoreError> {
        let mut sql = queries::tasks_due("SELECT", query);
        let rows = sql.build().fetch_all(&self.readers).await.map_err(unavailable)?;
        rows.iter()
            .map(|row| codec::decode_key(RowKind::Task as u8, &get::<Vec<u8>>(row, 0)?))
            .collect()
    }

    async fn count_due(&self, kind: DueKind, now: Time) -> Result<(u64, Option<Time>), StoreError> {
        let row = queries::count_due("SELECT", kind, now.0)
            .build()
            .fetch_one(&self.readers)
            .await
            .map_err(unavailable)?;
        Ok((
            get::<i64>(&row, 0)?.unsigned_abs(),
            get::<Option<i64>>(&row, 1)?.map(Time),
        ))
    }

    async fn journal(&self, entity: &EntityId, from_seq: i64, limit: u32) -> Result<Vec<Recorded>, StoreError> {
        let rows: Vec<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT j.seq, j.position, j.body FROM journal j
             WHERE j.no = (SELECT no FROM entities WHERE kind = ? AND id = ?) AND j.seq >= ? ORDER BY j.seq LIMIT ?",
        )
        .bind(entity.kind as u8)
        .bind(&entity.id)
        .bind(from_seq)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(unavailable)?;
        Ok(rows
            .into_iter()
            .map(|(seq, position, body)| Recorded { seq, position, body })
            .collect())
    }

    async fn tail(&self, after: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        // There is one writer: positions are given in the order of the commits.
        let rows = sqlx::query(
            "SELECT j.position, e.kind, e.id, j.seq, j.body, e.tenant, e.app, e.\"user\" FROM journal j JOIN entities e ON e.no = j.no
             WHERE j.position > ? ORDER BY j.position LIMIT ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(unavailable)?;
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
        sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM journal")
            .fetch_one(&self.readers)
            .await
            .map_err(unavailable)
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, StoreError> {
        let mut sql = queries::list("SELECT", query);
        let rows = sql.build().fetch_all(&self.readers).await.map_err(unavailable)?;
        rows.iter()
            .map(|row| {
                Ok(Listed {
                    id: get(row, 0)?,
                    listing: Listing {
                        tenant: get(row, 1)?,
                        app: get(row, 2)?,
                        user: get(row, 3)?,
                        status: get(row, 4)?,
                        created: Time(get(row, 5)?),
                    },
                    head: get(row, 6)?,
                })
            })
            .collect()
    }

    async fn count_by_status(&self, kind: EntityKind) -> Result<Vec<(u8, u64)>, StoreError> {
        let rows: Vec<(u8, i64)> =
            sqlx::query_as("SELECT status, count(*) FROM entities WHERE kind = ? GROUP BY status ORDER BY status")
                .bind(kind as u8)
                .fetch_all(&self.readers)
                .await
                .map_err(unavailable)?;
        Ok(rows
            .into_iter()
            .map(|(status, count)| (status, count.unsigned_abs()))
            .collect())
    }

    fn shared(&self) -> bool {
        false
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // After a failure the file is tried: a server that is sent no writes would not find out that they succeed again.
        if self.condition.failing() {
            driver::try_write(&self.config).await?;
            self.condition.set_failing(false);
        }
        sqlx::query("SELECT 1")
            .execute(&self.readers)
            .await
            .map(drop)
            .map_err(unavailable)
    }

    fn concern(&self) -> Option<String> {
        let text = "the log cannot be written back into the database file: nothing is lost, but the log grows until the server is started \
                    again; see to the disk, then start it again";
        self.condition.grows().then(|| text.to_owned())
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
        self.readers.close().await;
        let lock = self
            .lock
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        // Said, and not left to the file's end: a process that is being started at this moment still has it open.
        if let Some(Err(error)) = lock.map(|file| file.unlock()) {
            tracing::warn!(%error, "the lock beside the database is held until this process ends");
        }
    }
}

fn get<'r, T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>>(
    row: &'r SqliteRow,
    index: usize,
) -> Result<T, StoreError> {
    row.try_get(index)
        .map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn entity_kind(number: u8) -> Result<EntityKind, StoreError> {
    EntityKind::from_number(number).ok_or_else(|| StoreError::Corrupt(format!("no entity kind {number}")))
}
