//! The writer: takes the commits that wait, writes them in one transaction, answers them after its COMMIT.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sqlx::postgres::PgPool;
use sqlx::{Connection as _, PgConnection, Postgres, Row as _, Transaction};
use tape_core::EntityId;
use tape_store::{Commit, Listing, StoreError, StoredRow, codec, measure};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::bell::News;
use crate::error::{in_doubt, is_transient, silent, unavailable};

/// One commit and where its answer goes.
pub(crate) struct Waiting {
    pub(crate) commit: Commit,
    pub(crate) answer: oneshot::Sender<Result<u64, StoreError>>,
}

type Answers = Vec<Result<u64, StoreError>>;

/// How often a batch that another server's batch pushed aside is written again.
const TRIES_MAX: u32 = 5;

/// What writes.
pub(crate) struct Writer {
    pub(crate) pool: PgPool,
    /// How long the database may take for one batch, and once more for its COMMIT.
    pub(crate) patience: Duration,
    /// Where other servers are told; none = they poll.
    pub(crate) news: Option<mpsc::Sender<News>>,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(crate) async fn run(self, mut queue: mpsc::Receiver<Waiting>, batch_max: usize) {
        let mut batch = Vec::with_capacity(batch_max);
        while queue.recv_many(&mut batch, batch_max).await > 0 {
            let commits: Vec<&Commit> = batch.iter().map(|waiting| &waiting.commit).collect();
            let began = Instant::now();
            let written = self.write(&commits).await;
            measure::batch("postgres", commits.len(), began.elapsed(), written.is_ok());
            for (index, waiting) in batch.drain(..).enumerate() {
                let answer = match &written {
                    Ok(answers) => {
                        if answers[index].is_ok() {
                            waiting.commit.chain.own.stand();
                        }
                        answers[index].clone()
                    }
                    Err(error) => {
                        waiting.commit.chain.own.fall();
                        Err(error.clone())
                    }
                };
                if let (Some(news), Ok(_), Some(told)) = (&self.news, &answer, News::of(&waiting.commit)) {
                    // With the queue full the others find it by polling.
                    drop(news.try_send(told));
                }
                // A caller that is gone does not need to know; the commit stands.
                drop(waiting.answer.send(answer));
            }
        }
    }

    /// Writes a batch: all commits whose guard holds, in one transaction. One answer for each.
    async fn write(&self, commits: &[&Commit]) -> Result<Answers, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut connection = self.pool.acquire().await.map_err(unavailable)?;
            let outcome = self.attempt(&mut connection, commits).await;
            match outcome {
                Attempt::Answered(answers) => return Ok(answers),
                Attempt::Failed(error) if is_transient(&error) && tries < TRIES_MAX => {
                    tracing::debug!(%error, tries, "the batch is written again");
                }
                Attempt::Failed(error) => return Err(unavailable(error)),
                Attempt::InDoubt(error) => return Err(in_doubt(&error)),
                // Hung up on, so that its place in the pool is free again.
                Attempt::Silent { committing } => {
                    drop(connection.detach());
                    return Err(if committing {
                        StoreError::InDoubt(format!(
                            "the database did not confirm within {} ms",
                            self.patience.as_millis()
                        ))
                    } else {
                        silent(self.patience)
                    });
                }
            }
        }
    }

    async fn attempt(&self, connection: &mut PgConnection, commits: &[&Commit]) -> Attempt {
        let filled = timeout(self.patience, async {
            let mut transaction = connection.begin().await?;
            let answers = fill(&mut transaction, commits).await?;
            Ok((transaction, answers))
        });
        let (transaction, answers) = match filled.await {
            Ok(Ok(filled)) => filled,
            Ok(Err(error)) => return Attempt::Failed(error),
            Err(_) => return Attempt::Silent { committing: false },
        };
        match timeout(self.patience, transaction.commit()).await {
            Ok(Ok(())) => Attempt::Answered(answers),
            Ok(Err(error)) => Attempt::InDoubt(error),
            Err(_) => Attempt::Silent { committing: true },
        }
    }
}

/// How an attempt to write a batch ended.
enum Attempt {
    Answered(Answers),
    /// Nothing was written.
    Failed(sqlx::Error),
    /// The answer to COMMIT was an error: it may have happened.
    InDoubt(sqlx::Error),
    /// No answer came within reason.
    Silent {
        committing: bool,
    },
}

/// An entity within a batch.
struct Place {
    no: i64,
    version: u64,
}

async fn fill(transaction: &mut Transaction<'_, Postgres>, commits: &[&Commit]) -> Result<Answers, sqlx::Error> {
    let mut places = places(transaction, commits).await?;
    let mut answers = Vec::with_capacity(commits.len());
    // The last state of each row counts: one row written twice in a batch is one row in the statement.
    let mut versions: BTreeMap<i64, u64> = BTreeMap::new();
    let mut listings: BTreeMap<i64, &Listing> = BTreeMap::new();
    let mut puts: HashMap<(i64, i16, Vec<u8>), Option<&StoredRow>> = HashMap::new();
    let mut entries: Vec<(i64, i64, &[u8])> = Vec::new();
    for &commit in commits {
        let place = places.get_mut(&commit.entity);
        let found = place.as_ref().map_or(0, |place| place.version);
        let Some(place) = place.filter(|_| commit.fits(found)) else {
            answers.push(Err(StoreError::Conflict {
                expected: commit.expected,
                found,
            }));
            continue;
        };
        place.version += 1;
        let no = place.no;
        answers.push(Ok(place.version));
        versions.insert(no, place.version);
        if let Some(listing) = &commit.listing {
            listings.insert(no, listing);
        }
        for key in &commit.deletes {
            let (kind, bytes) = codec::encode_key(key);
            puts.insert((no, i16::from(kind), bytes), None);
        }
        for row in &commit.puts {
            let (kind, bytes) = codec::encode_key(&row.key);
            puts.insert((no, i16::from(kind), bytes), Some(row));
        }
        entries.extend(commit.entries.iter().map(|(seq, body)| (no, *seq, body.as_slice())));
    }
    write_entities(transaction, &versions, &listings).await?;
    write_rows(transaction, puts).await?;
    write_journal(transaction, &entries).await?;
    Ok(answers)
}

/// The entities of the batch, locked in one order; those that a commit creates are there from now on, at version 0.
async fn places(
    transaction: &mut Transaction<'_, Postgres>,
    commits: &[&Commit],
) -> Result<HashMap<EntityId, Place>, sqlx::Error> {
    let mut wanted: Vec<(&EntityId, bool)> = commits
        .iter()
        .map(|commit| (&commit.entity, commit.expected == 0))
        .collect();
    wanted.sort();
    let created: Vec<&EntityId> = wanted
        .iter()
        .filter(|(_, new)| *new)
        .map(|(entity, _)| *entity)
        .collect();
    if !created.is_empty() {
        let (kinds, ids): (Vec<i16>, Vec<&str>) =
            created.iter().map(|e| (i16::from(e.kind as u8), e.id.as_str())).unzip();
        sqlx::query(
            "INSERT INTO entities (kind, id, version, tenant, app, \"user\", status, created)
             SELECT DISTINCT kind, id, 0, '', '', '', 0, 0 FROM unnest($1::smallint[], $2::text[]) AS t (kind, id)
             ORDER BY kind, id ON CONFLICT (kind, id) DO NOTHING",
        )
        .bind(kinds)
        .bind(ids)
        .execute(&mut **transaction)
        .await?;
    }
    let (kinds, ids): (Vec<i16>, Vec<&str>) = wanted
        .iter()
        .map(|(e, _)| (i16::from(e.kind as u8), e.id.as_str()))
        .unzip();
    let rows = sqlx::query(
        "SELECT e.kind, e.id, e.no, e.version FROM entities e
         WHERE (e.kind, e.id) IN (SELECT kind, id FROM unnest($1::smallint[], $2::text[]) AS t (kind, id))
         ORDER BY e.kind, e.id FOR NO KEY UPDATE",
    )
    .bind(kinds)
    .bind(ids)
    .fetch_all(&mut **transaction)
    .await?;
    let mut found: HashMap<(i16, String), Place> = HashMap::with_capacity(rows.len());
    for row in rows {
        let place = Place {
            no: row.try_get(2)?,
            version: row.try_get::<i64, _>(3)?.unsigned_abs(),
        };
        found.insert((row.try_get(0)?, row.try_get(1)?), place);
    }
    let mut places = HashMap::with_capacity(found.len());
    for (entity, _) in wanted {
        if let Some(place) = found.remove(&(i16::from(entity.kind as u8), entity.id.clone())) {
            places.insert(entity.clone(), place);
        }
    }
    Ok(places)
}

async fn write_entities(
    transaction: &mut Transaction<'_, Postgres>,
    versions: &BTreeMap<i64, u64>,
    listings: &BTreeMap<i64, &Listing>,
) -> Result<(), sqlx::Error> {
    if versions.is_empty() {
        return Ok(());
    }
    let kept: (Vec<i64>, Vec<i64>) = versions
        .iter()
        .filter(|(no, _)| !listings.contains_key(no))
        .map(|(no, v)| (*no, v.cast_signed()))
        .unzip();
    if !kept.0.is_empty() {
        sqlx::query(
            "UPDATE entities e SET version = t.version FROM unnest($1::bigint[], $2::bigint[]) AS t (no, version) WHERE e.no = t.no",
        )
        .bind(kept.0)
        .bind(kept.1)
        .execute(&mut **transaction)
        .await?;
    }
    if listings.is_empty() {
        return Ok(());
    }
    let version = |no: &i64| versions.get(no).map_or(0, |version| version.cast_signed());
    sqlx::query(
        "UPDATE entities e SET version = t.version, tenant = t.tenant, app = t.app, \"user\" = t.usr, status = t.status, created = t.created
         FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::smallint[], $7::bigint[])
              AS t (no, version, tenant, app, usr, status, created) WHERE e.no = t.no",
    )
    .bind(listings.keys().copied().collect::<Vec<i64>>())
    .bind(listings.keys().map(version).collect::<Vec<i64>>())
    .bind(listings.values().map(|l| l.tenant.as_str()).collect::<Vec<_>>())
    .bind(listings.values().map(|l| l.app.as_str()).collect::<Vec<_>>())
    .bind(listings.values().map(|l| l.user.as_str()).collect::<Vec<_>>())
    .bind(listings.values().map(|l| i16::from(l.status)).collect::<Vec<_>>())
    .bind(listings.values().map(|l| l.created.0).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await
    .map(drop)
}

async fn write_rows(
    transaction: &mut Transaction<'_, Postgres>,
    puts: HashMap<(i64, i16, Vec<u8>), Option<&StoredRow>>,
) -> Result<(), sqlx::Error> {
    let (mut written, mut deleted) = (Vec::new(), Vec::new());
    for (key, row) in puts {
        match row {
            Some(row) => written.push((key, row)),
            None => deleted.push(key),
        }
    }
    if !deleted.is_empty() {
        sqlx::query(
            "DELETE FROM rows r USING unnest($1::bigint[], $2::smallint[], $3::bytea[]) AS t (no, kind, key)
             WHERE r.no = t.no AND r.kind = t.kind AND r.key = t.key",
        )
        .bind(deleted.iter().map(|(no, ..)| *no).collect::<Vec<_>>())
        .bind(deleted.iter().map(|(_, kind, _)| *kind).collect::<Vec<_>>())
        .bind(deleted.iter().map(|(.., key)| key.as_slice()).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await?;
    }
    if written.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO rows (no, kind, key, due_kind, due_at, due_by, body)
         SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bytea[], $4::smallint[], $5::bigint[], $6::text[], $7::bytea[])
         ON CONFLICT (no, kind, key) DO UPDATE
         SET due_kind = excluded.due_kind, due_at = excluded.due_at, due_by = excluded.due_by, body = excluded.body",
    )
    .bind(written.iter().map(|((no, ..), _)| *no).collect::<Vec<_>>())
    .bind(written.iter().map(|((_, kind, _), _)| *kind).collect::<Vec<_>>())
    .bind(written.iter().map(|((.., key), _)| key.as_slice()).collect::<Vec<_>>())
    .bind(
        written
            .iter()
            .map(|(_, row)| row.due.map(|due| i16::from(due.kind as u8)))
            .collect::<Vec<_>>(),
    )
    .bind(
        written
            .iter()
            .map(|(_, row)| row.due.map(|due| due.at.0))
            .collect::<Vec<_>>(),
    )
    .bind(written.iter().map(|(_, row)| row.waits_for()).collect::<Vec<_>>())
    .bind(written.iter().map(|(_, row)| row.body.as_slice()).collect::<Vec<_>>())
    .execute(&mut **transaction)
    .await
    .map(drop)
}

async fn write_journal(
    transaction: &mut Transaction<'_, Postgres>,
    entries: &[(i64, i64, &[u8])],
) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query("INSERT INTO journal (no, seq, body) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[])")
        .bind(entries.iter().map(|(no, ..)| *no).collect::<Vec<_>>())
        .bind(entries.iter().map(|(_, seq, _)| *seq).collect::<Vec<_>>())
        .bind(entries.iter().map(|(.., body)| *body).collect::<Vec<_>>())
        .execute(&mut **transaction)
        .await
        .map(drop)
}
