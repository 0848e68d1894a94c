//! The writer: takes the commits that wait, writes them with one statement, which is a transaction, and answers them then.
//! While one batch becomes durable the next is carried out: see [`lanes`](crate::lanes).

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use sqlx::postgres::PgPool;
use tape_core::EntityId;
use tape_store::{Commit, StoreError, measure};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::batch::Batch;
use crate::bell::News;
use crate::error::{failed, is_transient, silent, unavailable};
use crate::lanes::Lanes;

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
    /// How long the database may take for one batch.
    pub(crate) patience: Duration,
    /// Where other servers are told; none = they poll.
    pub(crate) news: Option<mpsc::Sender<News>>,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(crate) async fn run(self, mut queue: mpsc::Receiver<Waiting>, batch_max: usize) {
        let (mut lanes, mut under_way) = (Lanes::default(), FuturesUnordered::new());
        let (mut arrived, mut open) = (Vec::with_capacity(batch_max), true);
        loop {
            while let Some(batch) = lanes.next(batch_max) {
                under_way.push(self.write_all(batch));
            }
            if !open && lanes.rest() {
                return;
            }
            tokio::select! {
                Some(entities) = under_way.next() => lanes.done(&entities),
                count = queue.recv_many(&mut arrived, batch_max), if open && lanes.waiting() < batch_max => {
                    open = count > 0;
                    lanes.add(arrived.drain(..));
                }
            }
        }
    }

    /// Writes a batch and answers it. Whose changes they were.
    async fn write_all(&self, batch: Vec<Waiting>) -> Vec<EntityId> {
        let commits: Vec<&Commit> = batch.iter().map(|waiting| &waiting.commit).collect();
        let began = Instant::now();
        let answers = self.write(&commits).await;
        let written = !answers
            .iter()
            .any(|answer| matches!(answer, Err(StoreError::Unavailable(_) | StoreError::InDoubt(_))));
        measure::batch("postgres", commits.len(), began.elapsed(), written);
        let mut entities = Vec::with_capacity(batch.len());
        for (waiting, answer) in batch.into_iter().zip(answers) {
            if let (Some(news), Ok(_), Some(told)) = (&self.news, &answer, News::of(&waiting.commit)) {
                // With the queue full the others find it by polling.
                drop(news.try_send(told));
            }
            // A caller that is gone does not need to know; the commit stands.
            drop(waiting.answer.send(answer));
            entities.push(waiting.commit.entity);
        }
        entities
    }

    /// Writes all commits whose guard holds. One answer for each, and its end told.
    async fn write(&self, commits: &[&Commit]) -> Answers {
        let mut answers: Vec<Option<Result<u64, StoreError>>> = vec![None; commits.len()];
        // Usually all of them go with the first statement. Whatever does not follow on a commit before it waits for its end.
        while answers.iter().any(Option::is_none) {
            let mut batch = Batch::default();
            for (index, commit) in commits.iter().enumerate() {
                if answers[index].is_some() {
                    continue;
                }
                if commit.chain.has_fallen() {
                    answers[index] = Some(Err(refused(commit, 0)));
                } else {
                    // One that does not fit stays without an answer: it is looked at again.
                    batch.take(index, commit);
                }
            }
            self.write_batch(commits, &batch, &mut answers).await;
        }
        answers.into_iter().flatten().collect()
    }

    async fn write_batch(
        &self,
        commits: &[&Commit],
        batch: &Batch<'_>,
        answers: &mut [Option<Result<u64, StoreError>>],
    ) {
        if batch.groups.is_empty() {
            return;
        }
        let written = self.attempts(batch).await;
        if let Err(error) = &written {
            // Those that were put off are not tried: they would find the same.
            for (commit, answer) in commits
                .iter()
                .zip(answers.iter_mut())
                .filter(|(_, answer)| answer.is_none())
            {
                *answer = Some(Err(fallen(commit, error.clone())));
            }
        }
        let mut found = None;
        for (number, (entity, group)) in batch.groups.iter().enumerate() {
            match &written {
                Ok(written) if written[number] => {
                    for (version, index) in (group.expected + 1..).zip(&group.commits) {
                        commits[*index].chain.own.stand();
                        answers[*index] = Some(Ok(version));
                    }
                }
                Ok(written) => {
                    let found = match &found {
                        Some(found) => found,
                        None => found.insert(self.versions(batch, written).await),
                    };
                    // The first has fallen; those behind it were decided on it, or find out for themselves.
                    if let Some(index) = group.commits.first() {
                        let known = found
                            .as_ref()
                            .map(|found| found.get(entity).copied().unwrap_or_default());
                        answers[*index] = Some(Err(match known {
                            Ok(found) => refused(commits[*index], found),
                            Err(error) => fallen(commits[*index], error.clone()),
                        }));
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Writes a batch, again where another server's batch pushed it aside. Says of each group whether it was written.
    async fn attempts(&self, batch: &Batch<'_>) -> Result<Vec<bool>, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut connection = self.pool.acquire().await.map_err(unavailable)?;
            match timeout(self.patience, batch.query().fetch_all(&mut *connection)).await {
                Ok(Ok(answer)) => return batch.written(&answer).map_err(failed),
                Ok(Err(error)) if is_transient(&error) && tries < TRIES_MAX => {
                    tracing::debug!(%error, tries, "the batch is written again");
                }
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => {
                    // Hung up on, so that its place in the pool is free again.
                    drop(connection.detach());
                    return Err(StoreError::InDoubt(format!(
                        "the database did not answer within {} ms",
                        self.patience.as_millis()
                    )));
                }
            }
        }
    }

    /// At which version the entities are whose groups were not written: for whoever is told of the conflict.
    async fn versions(&self, batch: &Batch<'_>, written: &[bool]) -> Result<HashMap<EntityId, u64>, StoreError> {
        let refused = batch.groups.keys().zip(written).filter(|(_, written)| !**written);
        let entities: Vec<&EntityId> = refused.map(|(entity, _)| *entity).collect();
        let (kinds, ids): (Vec<i16>, Vec<&str>) = entities
            .iter()
            .map(|e| (i16::from(e.kind as u8), e.id.as_str()))
            .unzip();
        let mut connection = self.pool.acquire().await.map_err(unavailable)?;
        let asked = sqlx::query_as::<_, (i64, i64)>(
            "SELECT g.n, e.version FROM unnest($1::smallint[], $2::text[]) WITH ORDINALITY AS g (kind, id, n)
             JOIN entities e ON e.kind = g.kind AND e.id = g.id",
        )
        .bind(kinds)
        .bind(ids)
        .fetch_all(&mut *connection);
        let found = match timeout(self.patience, asked).await {
            Ok(found) => found.map_err(unavailable)?,
            Err(_) => {
                drop(connection.detach());
                return Err(silent(self.patience));
            }
        };
        let of = |(number, version): (i64, i64)| {
            let entity = usize::try_from(number - 1).ok().and_then(|index| entities.get(index))?;
            Some(((*entity).clone(), version.unsigned_abs()))
        };
        Ok(found.into_iter().filter_map(of).collect())
    }
}

/// A commit that its entity has moved on from, or that was decided on one that fell.
fn refused(commit: &Commit, found: u64) -> StoreError {
    let expected = commit.expected;
    fallen(commit, StoreError::Conflict { expected, found })
}

/// A commit that was not written, or of which nobody knows.
fn fallen(commit: &Commit, error: StoreError) -> StoreError {
    commit.chain.own.fall();
    error
}
