//! The one writer: takes the commits that wait, writes them in one transaction, answers them after its COMMIT.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{AssertSqlSafe, QueryBuilder, Row as _, Sqlite, SqliteConnection};
use tape_core::{EntityId, Time};
use tape_store::{Commit, Listing, StoreError, measure};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::batch::{Answers, Batch};
use crate::error::failed;
use crate::places::{Place, Places};
use crate::statements;

/// One commit and where its answer goes.
pub(crate) struct Waiting {
    pub(crate) commit: Commit,
    pub(crate) answer: oneshot::Sender<Result<u64, StoreError>>,
}

/// Entities asked for by one statement.
const ASKED_MAX: usize = 256;

/// Runs until the queue is closed and empty.
pub(crate) async fn run(
    connection: SqliteConnection,
    mut queue: mpsc::Receiver<Waiting>,
    batch_max: usize,
    failing: Arc<AtomicBool>,
) {
    let mut writer = Writer {
        connection,
        places: Places::default(),
        next_no: None,
    };
    let mut waiting = Vec::with_capacity(batch_max);
    while queue.recv_many(&mut waiting, batch_max).await > 0 {
        let endings: Vec<_> = waiting.iter().map(|waiting| waiting.commit.chain.own.clone()).collect();
        let (commits, answers): (Vec<_>, Vec<_>) = waiting
            .drain(..)
            .map(|waiting| (waiting.commit, waiting.answer))
            .unzip();
        let (count, began) = (commits.len(), Instant::now());
        let written = writer.write(commits).await;
        measure::batch("sqlite", count, began.elapsed(), written.is_ok());
        failing.store(written.is_err(), Ordering::Relaxed);
        for (index, answer) in answers.into_iter().enumerate() {
            let told = match &written {
                Ok(told) => {
                    if told[index].is_ok() {
                        endings[index].stand();
                    }
                    told[index].clone()
                }
                Err(error) => {
                    endings[index].fall();
                    Err(error.clone())
                }
            };
            // A caller that is gone does not need to know; the commit stands.
            drop(answer.send(told));
        }
    }
    if let Err(error) = sqlx::Connection::close(writer.connection).await {
        tracing::warn!(%error, "closing the database");
    }
}

struct Writer {
    connection: SqliteConnection,
    places: Places,
    /// The number of the next new entity; none = to be asked for.
    next_no: Option<i64>,
}

impl Writer {
    /// Writes a batch: all commits whose guard holds, in one transaction. One answer for each.
    async fn write(&mut self, commits: Vec<Commit>) -> Result<Answers, StoreError> {
        let written = self.try_write(commits).await;
        if let Err(error) = &written {
            tracing::debug!(%error, "rolling back");
            // SQLite may have rolled back by itself: then there is nothing to do.
            drop(sqlx::query("ROLLBACK").execute(&mut self.connection).await);
            self.places.forget();
            self.next_no = None;
        }
        written.map_err(failed)
    }

    async fn try_write(&mut self, commits: Vec<Commit>) -> Result<Answers, sqlx::Error> {
        self.places.age();
        self.find(&commits).await?;
        let mut next_no = match self.next_no {
            Some(no) => no,
            None => {
                sqlx::query_scalar("SELECT coalesce(max(no), 0) + 1 FROM entities")
                    .fetch_one(&mut self.connection)
                    .await?
            }
        };
        let mut batch = Batch::default();
        let answers = commits
            .into_iter()
            .map(|commit| batch.add(commit, &mut self.places, &mut next_no))
            .collect();
        for text in statements::transaction(batch)? {
            sqlx::query_with(AssertSqlSafe(text.sql), text.arguments)
                .execute(&mut self.connection)
                .await?;
        }
        self.next_no = Some(next_no);
        Ok(answers)
    }

    /// Asks the file for the entities of a batch that are not remembered.
    async fn find(&mut self, commits: &[Commit]) -> Result<(), sqlx::Error> {
        let mut unknown: Vec<&EntityId> = commits
            .iter()
            .map(|commit| &commit.entity)
            .filter(|entity| !self.places.knows(entity))
            .collect();
        unknown.sort();
        unknown.dedup();
        for chunk in unknown.chunks(ASKED_MAX) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "SELECT kind, id, no, version, tenant, app, \"user\", status, created FROM entities WHERE (kind, id) IN (",
            );
            query.push_values(chunk, |mut row, entity| {
                row.push_bind(entity.kind as u8).push_bind(&entity.id);
            });
            query.push(")");
            for row in query.build().fetch_all(&mut self.connection).await? {
                let (kind, id): (u8, String) = (row.try_get(0)?, row.try_get(1)?);
                let Some(entity) = chunk.iter().find(|entity| entity.kind as u8 == kind && entity.id == id) else {
                    continue;
                };
                let place = Place {
                    no: row.try_get(2)?,
                    version: row.try_get::<i64, _>(3)?.unsigned_abs(),
                    listing: Listing {
                        tenant: row.try_get(4)?,
                        app: row.try_get(5)?,
                        user: row.try_get(6)?,
                        status: row.try_get(7)?,
                        created: Time(row.try_get(8)?),
                    },
                    head_hint: None,
                };
                self.places.put((*entity).clone(), place);
            }
        }
        Ok(())
    }
}
