//! Telling other servers what was committed, and hearing what they did.
//!
//! Told is after the commit, on a connection of its own, in one statement for all commits that have come together since the
//! last: NOTIFY takes a lock of the whole database when its transaction commits, which must not be the writer's. What is told
//! is a hint. A server that dies before it tells, and one that does not hear, cost the others their poll's pause, no more.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};
use tape_core::{DueKind, EntityId, EntityKind};
use tape_store::{Commit, Heard};
use tokio::sync::{Mutex, mpsc};

const CHANNEL: &str = "tape";
/// Postgres takes 8,000 bytes for one notification.
const PAYLOAD_BYTES_MAX: usize = 7_000;
/// The pause between two tellings: what comes meanwhile is told together.
const PAUSE: Duration = Duration::from_millis(5);
/// After a connection broke.
const RETRY: Duration = Duration::from_millis(500);
/// Commits that wait to be told; more are found by the others' polls.
const QUEUE_MAX: usize = 4096;

/// What is told of one commit.
pub(crate) struct News {
    entity: EntityId,
    due: Vec<DueKind>,
}

impl News {
    /// What others wait for in `commit`; none if there is nothing.
    pub(crate) fn of(commit: &Commit) -> Option<Self> {
        let due: Vec<DueKind> = commit
            .puts
            .iter()
            .filter_map(|row| row.due.map(|due| due.kind))
            .collect();
        let followed = !commit.entries.is_empty() || commit.entity.kind == EntityKind::Value;
        (followed || !due.is_empty()).then(|| Self {
            entity: commit.entity.clone(),
            due,
        })
    }
}

pub(crate) fn queue() -> (mpsc::Sender<News>, mpsc::Receiver<News>) {
    mpsc::channel(QUEUE_MAX)
}

/// Tells what comes until nobody can say anything any more. `own` is this server's name for itself.
pub(crate) async fn tell(pool: PgPool, own: String, mut news: mpsc::Receiver<News>) {
    let mut batch = Vec::new();
    while news.recv_many(&mut batch, QUEUE_MAX).await > 0 {
        let payloads = payloads(&own, &batch);
        batch.clear();
        // Nothing of value is written: its flush is nobody's to wait for.
        let told = sqlx::query(
            "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, p) FROM unnest($2::text[]) AS p",
        )
        .bind(CHANNEL)
        .bind(payloads)
        .execute(&pool);
        if let Ok(Err(error)) = tokio::time::timeout(RETRY, told).await {
            tracing::debug!(%error, "other servers were not told");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `<own>\n<due kinds>\n<kind> <id>\n<kind> <id>...`, as many as it takes.
fn payloads(own: &str, news: &[News]) -> Vec<String> {
    let due: BTreeSet<u8> = news
        .iter()
        .flat_map(|one| one.due.iter().map(|kind| *kind as u8))
        .collect();
    let due = due.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
    let mut entities: Vec<&EntityId> = news.iter().map(|one| &one.entity).collect();
    entities.sort_unstable();
    entities.dedup();
    let mut all = Vec::new();
    let mut payload = format!("{own}\n{due}");
    for entity in entities {
        let line = format!("\n{} {}", entity.kind as u8, entity.id);
        if payload.len() + line.len() > PAYLOAD_BYTES_MAX {
            // Its kinds were told by the first.
            all.push(std::mem::replace(&mut payload, format!("{own}\n")));
        }
        if line.len() < PAYLOAD_BYTES_MAX {
            payload.push_str(&line);
        }
    }
    all.push(payload);
    all
}

/// What `payload` says; none if it is one's own, or of a server that says more than this one understands.
fn read(own: &str, payload: &str) -> Option<Heard> {
    let mut lines = payload.lines();
    if lines.next()? == own {
        return None;
    }
    let numbers = lines.next().unwrap_or_default().split_whitespace();
    let numbers: Vec<u8> = numbers.filter_map(|number| number.parse().ok()).collect();
    let due = DueKind::ALL
        .into_iter()
        .filter(|kind| numbers.contains(&(*kind as u8)))
        .collect();
    let entities = lines.filter_map(|line| {
        let (kind, id) = line.split_once(' ')?;
        Some(EntityId {
            kind: EntityKind::from_number(kind.parse().ok()?)?,
            id: id.to_owned(),
        })
    });
    Some(Heard {
        due,
        entities: entities.collect(),
    })
}

/// Hears what other servers tell.
pub(crate) struct Ear {
    pool: PgPool,
    own: String,
    listener: Mutex<Option<PgListener>>,
}

impl Ear {
    pub(crate) fn new(pool: PgPool, own: String) -> Self {
        Self {
            pool,
            own,
            listener: Mutex::new(None),
        }
    }

    /// The next that another server tells. After a break, that anything may have happened.
    pub(crate) async fn next(&self) -> Heard {
        let mut place = self.listener.lock().await;
        loop {
            let Some(listener) = place.as_mut() else {
                match self.listen().await {
                    Ok(listener) => *place = Some(listener),
                    Err(error) => {
                        tracing::debug!(%error, "other servers are not heard");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
                return Heard::anything();
            };
            match listener.try_recv().await {
                Ok(Some(told)) => {
                    if let Some(heard) = read(&self.own, told.payload()) {
                        return heard;
                    }
                }
                // What was told while the connection was down is lost.
                Ok(None) => return Heard::anything(),
                Err(error) => {
                    tracing::debug!(%error, "other servers are not heard any more");
                    *place = None;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Hears nothing any more.
    pub(crate) fn close(&self) {
        if let Ok(mut place) = self.listener.try_lock() {
            drop(place.take());
        }
    }

    async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(CHANNEL).await?;
        Ok(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(id: &str, due: &[DueKind]) -> News {
        News {
            entity: EntityId {
                kind: EntityKind::Run,
                id: id.to_owned(),
            },
            due: due.to_vec(),
        }
    }

    #[test]
    fn what_is_told_is_heard_by_others_and_not_by_oneself() {
        let told = payloads(
            "me",
            &[
                news("a", &[DueKind::Outbox]),
                news("b", &[]),
                news("a", &[DueKind::Timers]),
            ],
        );
        assert_eq!(told.len(), 1);
        assert!(read("me", &told[0]).is_none());
        let heard = read("you", &told[0]).unwrap();
        assert_eq!(heard.due, [DueKind::Outbox, DueKind::Timers]);
        let ids: Vec<&str> = heard.entities.iter().map(|entity| entity.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn much_news_takes_several_notifications_of_which_none_is_too_long() {
        let all: Vec<News> = (0..1000)
            .map(|n| news(&format!("run-{n:020}"), &[DueKind::Recovery]))
            .collect();
        let told = payloads("me", &all);
        assert!(told.len() > 1 && told.iter().all(|payload| payload.len() <= PAYLOAD_BYTES_MAX));
        let heard: usize = told
            .iter()
            .map(|payload| read("you", payload).unwrap().entities.len())
            .sum();
        assert_eq!(heard, 1000);
    }
}
