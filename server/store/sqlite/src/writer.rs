//! The one writer: takes the commits that wait, writes them in one transaction, answers them after its COMMIT.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};
use tape_core::EntityId;
use tape_store::{Commit, StoreError, codec, measure};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::error::{in_doubt, unavailable};

/// One commit and where its answer goes.
pub(crate) struct Waiting {
    pub(crate) commit: Commit,
    pub(crate) answer: oneshot::Sender<Result<u64, StoreError>>,
}

/// Variables of one statement: SQLite takes 32,766, and long statements are slow to prepare.
const VARIABLES_MAX: usize = 8_000;

/// Runs until the queue is closed and empty.
pub(crate) async fn run(
    mut connection: SqliteConnection,
    mut queue: mpsc::Receiver<Waiting>,
    batch_max: usize,
    failing: Arc<AtomicBool>,
) {
    let mut batch = Vec::with_capacity(batch_max);
    while queue.recv_many(&mut batch, batch_max).await > 0 {
        let commits: Vec<&Commit> = batch.iter().map(|waiting| &waiting.commit).collect();
        let began = Instant::now();
        let written = write(&mut connection, &commits).await;
        measure::batch("sqlite", commits.len(), began.elapsed(), written.is_ok());
        failing.store(written.is_err(), Ordering::Relaxed);
        for (index, waiting) in batch.drain(..).enumerate() {
            let answer = match &written {
                Ok(answers) => answers[index].clone(),
                Err(error) => {
                    waiting.commit.chain.own.fall();
                    Err(error.clone())
                }
            };
            // A caller that is gone does not need to know; the commit stands.
            drop(waiting.answer.send(answer));
        }
    }
    if let Err(error) = sqlx::Connection::close(connection).await {
        tracing::warn!(%error, "closing the database");
    }
}

/// An entity within a batch.
struct Place {
    no: i64,
    version: u64,
}

/// Writes a batch: all commits whose guard holds, in one transaction. One answer for each.
async fn write(
    connection: &mut SqliteConnection,
    commits: &[&Commit],
) -> Result<Vec<Result<u64, StoreError>>, StoreError> {
    begin(connection).await?;
    match fill(connection, commits).await {
        Ok(answers) => match sqlx::query("COMMIT").execute(&mut *connection).await {
            Ok(_) => Ok(answers),
            Err(error) => {
                rollback(connection).await;
                Err(in_doubt(&error))
            }
        },
        Err(error) => {
            rollback(connection).await;
            Err(unavailable(error))
        }
    }
}

async fn begin(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut *connection)
        .await
        .map(drop)
        .map_err(unavailable)
}

async fn rollback(connection: &mut SqliteConnection) {
    // After a failed COMMIT SQLite may have rolled back by itself: then there is nothing to do.
    if let Err(error) = sqlx::query("ROLLBACK").execute(&mut *connection).await {
        tracing::debug!(%error, "rollback");
    }
}

async fn fill(
    connection: &mut SqliteConnection,
    commits: &[&Commit],
) -> Result<Vec<Result<u64, StoreError>>, sqlx::Error> {
    let mut places = places(connection, commits).await?;
    let mut next_no: i64 = sqlx::query_scalar("SELECT coalesce(max(no), 0) + 1 FROM entities")
        .fetch_one(&mut *connection)
        .await?;

    let mut answers = Vec::with_capacity(commits.len());
    // The last state of each row counts: one row written twice in a batch is one row in the statement.
    let mut entities: HashMap<i64, &Commit> = HashMap::new();
    let mut listings: HashMap<i64, &tape_store::Listing> = HashMap::new();
    let mut puts: HashMap<(i64, u8, Vec<u8>), Option<&tape_store::StoredRow>> = HashMap::new();
    let mut entries: Vec<(i64, i64, &[u8])> = Vec::new();
    for &commit in commits {
        let found = places.get(&commit.entity).map_or(0, |place| place.version);
        if !commit.fits(found) {
            answers.push(Err(StoreError::Conflict {
                expected: commit.expected,
                found,
            }));
            continue;
        }
        let place = places.entry(commit.entity.clone()).or_insert_with(|| {
            next_no += 1;
            Place {
                no: next_no - 1,
                version: 0,
            }
        });
        place.version += 1;
        let no = place.no;
        answers.push(Ok(place.version));
        entities.insert(no, commit);
        if let Some(listing) = &commit.listing {
            listings.insert(no, listing);
        }
        for key in &commit.deletes {
            let (kind, bytes) = codec::encode_key(key);
            puts.insert((no, kind, bytes), None);
        }
        for row in &commit.puts {
            let (kind, bytes) = codec::encode_key(&row.key);
            puts.insert((no, kind, bytes), Some(row));
        }
        entries.extend(commit.entries.iter().map(|(seq, body)| (no, *seq, body.as_slice())));
    }

    write_entities(connection, &entities, &listings, &places).await?;
    write_rows(connection, puts).await?;
    write_journal(connection, &entries).await?;
    Ok(answers)
}

async fn places(
    connection: &mut SqliteConnection,
    commits: &[&Commit],
) -> Result<HashMap<EntityId, Place>, sqlx::Error> {
    let mut wanted: Vec<&EntityId> = commits.iter().map(|commit| &commit.entity).collect();
    wanted.sort();
    wanted.dedup();
    let mut places = HashMap::new();
    for chunk in wanted.chunks(VARIABLES_MAX / 2) {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT kind, id, no, version FROM entities WHERE (kind, id) IN (");
        query.push_values(chunk, |mut row, entity| {
            row.push_bind(entity.kind as u8).push_bind(&entity.id);
        });
        query.push(")");
        for row in query.build().fetch_all(&mut *connection).await? {
            let (kind, id): (u8, String) = (row.try_get(0)?, row.try_get(1)?);
            if let Some(entity) = chunk.iter().find(|entity| entity.kind as u8 == kind && entity.id == id) {
                let place = Place {
                    no: row.try_get(2)?,
                    version: row.try_get::<i64, _>(3)?.unsigned_abs(),
                };
                places.insert((*entity).clone(), place);
            }
        }
    }
    Ok(places)
}

async fn write_entities(
    connection: &mut SqliteConnection,
    entities: &HashMap<i64, &Commit>,
    listings: &HashMap<i64, &tape_store::Listing>,
    places: &HashMap<EntityId, Place>,
) -> Result<(), sqlx::Error> {
    const COLUMNS: usize = 9;
    let none = tape_store::Listing::default();
    // An entity that keeps its listing only moves its version on; the others are written whole.
    let (listed, kept): (Vec<_>, Vec<_>) = entities.iter().partition(|(no, _)| listings.contains_key(no));
    let version = |commit: &Commit| {
        places
            .get(&commit.entity)
            .map_or(0, |place| place.version.cast_signed())
    };
    for (rows, conflict) in [
        (
            listed,
            " ON CONFLICT (no) DO UPDATE SET version = excluded.version, tenant = excluded.tenant, app = excluded.app,
             \"user\" = excluded.\"user\", status = excluded.status, created = excluded.created",
        ),
        (kept, " ON CONFLICT (no) DO UPDATE SET version = excluded.version"),
    ] {
        for chunk in rows.chunks(VARIABLES_MAX / COLUMNS) {
            let mut query = QueryBuilder::<Sqlite>::new(
                "INSERT INTO entities (no, kind, id, version, tenant, app, \"user\", status, created) ",
            );
            query.push_values(chunk, |mut row, (no, commit)| {
                let listing = listings.get(no).copied().unwrap_or(&none);
                row.push_bind(**no)
                    .push_bind(commit.entity.kind as u8)
                    .push_bind(&commit.entity.id)
                    .push_bind(version(commit))
                    .push_bind(&listing.tenant)
                    .push_bind(&listing.app)
                    .push_bind(&listing.user)
                    .push_bind(listing.status)
                    .push_bind(listing.created.0);
            });
            query.push(conflict);
            query.build().execute(&mut *connection).await?;
        }
    }
    Ok(())
}

async fn write_rows(
    connection: &mut SqliteConnection,
    puts: HashMap<(i64, u8, Vec<u8>), Option<&tape_store::StoredRow>>,
) -> Result<(), sqlx::Error> {
    const COLUMNS: usize = 7;
    let mut written = Vec::new();
    let mut deleted = Vec::new();
    for (key, row) in puts {
        match row {
            Some(row) => written.push((key, row)),
            None => deleted.push(key),
        }
    }
    for chunk in deleted.chunks(VARIABLES_MAX / 3) {
        let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM rows WHERE (no, kind, key) IN (");
        query.push_values(chunk, |mut row, (no, kind, key)| {
            row.push_bind(*no).push_bind(*kind).push_bind(key.as_slice());
        });
        query.push(")");
        query.build().execute(&mut *connection).await?;
    }
    for chunk in written.chunks(VARIABLES_MAX / COLUMNS) {
        let mut query =
            QueryBuilder::<Sqlite>::new("INSERT INTO rows (no, kind, key, due_kind, due_at, due_by, body) ");
        query.push_values(chunk, |mut row, ((no, kind, key), stored)| {
            row.push_bind(*no)
                .push_bind(*kind)
                .push_bind(key.as_slice())
                .push_bind(stored.due.map(|due| due.kind as u8))
                .push_bind(stored.due.map(|due| due.at.0))
                .push_bind(stored.waits_for())
                .push_bind(stored.body.as_slice());
        });
        query.push(
            " ON CONFLICT (no, kind, key) DO UPDATE
              SET due_kind = excluded.due_kind, due_at = excluded.due_at, due_by = excluded.due_by, body = excluded.body",
        );
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn write_journal(connection: &mut SqliteConnection, entries: &[(i64, i64, &[u8])]) -> Result<(), sqlx::Error> {
    const COLUMNS: usize = 3;
    for chunk in entries.chunks(VARIABLES_MAX / COLUMNS) {
        let mut query = QueryBuilder::<Sqlite>::new("INSERT INTO journal (no, seq, body) ");
        query.push_values(chunk, |mut row, (no, seq, body)| {
            row.push_bind(*no).push_bind(*seq).push_bind(*body);
        });
        query.build().execute(&mut *connection).await?;
    }
    Ok(())
}
