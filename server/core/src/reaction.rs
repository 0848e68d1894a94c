//! A reaction: a standing order to make a task of every event that it wants.
//!
//! The head of the reaction's entity holds how far it has read the journals of all runs. New tasks and the place up to which
//! was read are written in one commit: whatever dies, and however many servers read at once, an event makes one task.
//! The head counts its tasks too, so that the bounds on claims hold over all servers.

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::entity::{EntityId, EntityKind};
use crate::id::RunId;
use crate::row::{Due, DueKind};
use crate::task::{BACKOFF_MAX_MS, TaskPlace};
use crate::time::Time;

/// How long a window is remembered after its end, in milliseconds: an hour.
const WINDOW_KEPT_MS: i64 = 60 * 60 * 1000;

/// Head of a reaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// Which.
    pub name: ReactionName,
    /// What it wants, and how its tasks are handled.
    pub order: Order,
    /// When it was registered first.
    pub created: Time,
    /// It makes no more tasks.
    pub deleted: bool,
    /// How often its order was changed, or it was taken back or renewed: what was matched under another one is void.
    pub generation: u64,
    /// Everything up to this position was read.
    pub cursor: i64,
    /// The most shards it ever had: tasks may be in all of them.
    pub shards_ever: u32,
    /// How many tasks stand where.
    pub counts: Counts,
    /// How many claims may still be admitted now.
    pub bucket: Bucket,
}

/// Names one reaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReactionName {
    /// Tenant; empty where tenants are not separated: then it sees the runs of all.
    pub tenant: String,
    /// Its id: the caller's own, or derived from the order.
    pub id: String,
}

/// What a reaction was registered with, its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// For people.
    pub title: String,
    /// Which subjects.
    pub subject_pattern: String,
    /// Which of their events, as a CEL expression; empty = all.
    pub predicate_cel: String,
    /// Who handles its tasks.
    pub handler: Handler,
    /// Most tasks that are claimed at the same time, over all shards.
    pub max_concurrency: u32,
    /// Most claims per second, over all shards; 0 = no bound.
    pub rate_limit_per_s: u32,
    /// Events with the same subject within this many milliseconds make one task; 0 = each makes its own.
    pub debounce_ms: i64,
    /// Most attempts after the first.
    pub retry_max: u32,
    /// Wait after the first failure, in milliseconds; doubles up to [`BACKOFF_MAX_MS`].
    pub retry_backoff_ms: i64,
    /// Most attempts in all.
    pub dlq_after_n: u32,
    /// Over how many shards tasks are spread.
    pub num_shards: u32,
    /// It began with what came after it was registered.
    pub from_head: bool,
}

/// Who handles a reaction's tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Handler {
    /// The server starts a run of this app for each.
    Agent {
        /// The app.
        app: String,
    },
    /// Whoever claims them.
    Task,
    /// Whoever claims them, and publishes them there.
    Publish {
        /// Where: a name that means something to the publisher.
        target: String,
    },
}

/// How many tasks stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Wait for somebody.
    pub pending: u64,
    /// Are worked on, or their claim ran out and nobody noticed yet.
    pub claimed: u64,
    /// Are done, and still listed.
    pub done: u64,
    /// Are dead letters.
    pub dead: u64,
}

/// A token bucket in thousandths of a claim: it holds one second's worth, and is full at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// What was taken out and has not flowed back, as of `at`.
    taken: i64,
    /// As of when.
    at: Time,
}

/// Events of one subject that make one task: the task, and until when they do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The task's shard.
    pub shard: u32,
    /// The task's position.
    pub position: i64,
    /// When it is over.
    pub ends: Time,
}

impl ReactionName {
    /// The reaction's entity.
    #[must_use]
    pub fn entity(&self) -> EntityId {
        EntityId::named(EntityKind::Reaction, &[&self.tenant, &self.id])
    }
}

impl Order {
    /// The id of a reaction that was given none: the same order is the same reaction.
    #[must_use]
    pub fn derive_id(&self) -> String {
        let handler = match &self.handler {
            Handler::Agent { app } => ["agent", app],
            Handler::Task => ["task", ""],
            Handler::Publish { target } => ["publish", target],
        };
        let texts = [&self.title, &self.subject_pattern, &self.predicate_cel].map(String::as_str);
        let numbers = [
            i64::from(self.max_concurrency),
            i64::from(self.rate_limit_per_s),
            self.debounce_ms,
            i64::from(self.retry_max),
            self.retry_backoff_ms,
            i64::from(self.dlq_after_n),
            i64::from(self.num_shards),
            i64::from(self.from_head),
        ];
        // Part by part: the id must not change when an order gets a new field that nobody set.
        let mut hash = Sha256::new();
        for part in texts.into_iter().chain(handler) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        for number in numbers {
            hash.update(number.to_be_bytes());
        }
        let digest = hash.finalize();
        let mut text = BASE32_NOPAD.encode(&digest[..10]);
        text.make_ascii_lowercase();
        format!("rx-{text}")
    }

    /// The shard of a run's tasks: always the same while the number of shards is.
    #[must_use]
    pub fn shard_of(&self, run: &RunId) -> u32 {
        let digest = Sha256::digest(run.as_str().as_bytes());
        let head = digest.first_chunk::<4>().map_or(0, |head| u32::from_be_bytes(*head));
        head % self.num_shards.max(1)
    }

    /// Attempts after which a task is a dead letter.
    #[must_use]
    pub fn attempts_max(&self) -> u32 {
        self.dlq_after_n.min(self.retry_max.saturating_add(1)).max(1)
    }

    /// The wait after `attempts` failed attempts, in milliseconds.
    #[must_use]
    pub fn wait_ms(&self, attempts: u32) -> i64 {
        let doubled = self
            .retry_backoff_ms
            .saturating_mul(1_i64 << attempts.saturating_sub(1).min(40));
        doubled.min(BACKOFF_MAX_MS.max(self.retry_backoff_ms))
    }
}

impl Reaction {
    /// How many more tasks may be claimed at the same time.
    #[must_use]
    pub fn room(&self) -> u64 {
        u64::from(self.order.max_concurrency).saturating_sub(self.counts.claimed)
    }
}

impl Window {
    /// The task.
    #[must_use]
    pub const fn place(&self) -> TaskPlace {
        TaskPlace {
            shard: self.shard,
            position: self.position,
        }
    }

    /// When the row may go: long after the window is over, because events may be read late.
    #[must_use]
    pub const fn due(&self) -> Due {
        Due {
            kind: DueKind::TaskWindow,
            at: self.ends.after(WINDOW_KEPT_MS),
        }
    }
}

impl Bucket {
    /// Thousandths of a claim.
    const CLAIM: i64 = 1_000;

    /// How many claims may be admitted at `now` under `rate_per_s`.
    #[must_use]
    pub fn admits(&self, rate_per_s: u32, now: Time) -> u64 {
        if rate_per_s == 0 {
            return u64::MAX;
        }
        let level = i64::from(rate_per_s) * Self::CLAIM - self.settled(rate_per_s, now).taken;
        u64::try_from(level / Self::CLAIM).unwrap_or_default()
    }

    /// The bucket after `claims` were admitted at `now`.
    #[must_use]
    pub fn take(&self, claims: u64, rate_per_s: u32, now: Time) -> Self {
        if rate_per_s == 0 {
            return Self::default();
        }
        let mut settled = self.settled(rate_per_s, now);
        let taken = i64::try_from(claims).unwrap_or(i64::MAX).saturating_mul(Self::CLAIM);
        settled.taken = settled.taken.saturating_add(taken);
        settled
    }

    /// As of `now`. A clock that was turned back gives nothing back.
    fn settled(&self, rate_per_s: u32, now: Time) -> Self {
        let passed_ms = now.since(self.at).max(0);
        // Per millisecond as many thousandths flow back as the rate has claims per second.
        let back = passed_ms.saturating_mul(i64::from(rate_per_s));
        Self {
            taken: self.taken.saturating_sub(back).max(0),
            at: now.max(self.at),
        }
    }
}

/// The name of a subject's window: short, whatever the subject.
#[must_use]
pub fn window_of(subject: &str) -> String {
    BASE32_NOPAD.encode(&Sha256::digest(subject.as_bytes())[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            title: String::new(),
            subject_pattern: "/tape/**".into(),
            predicate_cel: String::new(),
            handler: Handler::Task,
            max_concurrency: 1,
            rate_limit_per_s: 0,
            debounce_ms: 0,
            retry_max: 5,
            retry_backoff_ms: 1_000,
            dlq_after_n: 5,
            num_shards: 4,
            from_head: false,
        }
    }

    #[test]
    fn the_bucket_admits_its_rate_and_no_more() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.admits(0, Time(5)), u64::MAX);
        assert_eq!(bucket.admits(10, Time(5)), 10);
        bucket = bucket.take(10, 10, Time(5));
        assert_eq!(bucket.admits(10, Time(5)), 0);
        assert_eq!(bucket.admits(10, Time(104)), 0);
        assert_eq!(bucket.admits(10, Time(105)), 1);
        bucket = bucket.take(1, 10, Time(105));
        assert_eq!(bucket.admits(10, Time(0)), 0, "a clock turned back gives nothing");
        assert_eq!(bucket.take(0, 10, Time(0)).admits(10, Time(105)), 0);
        assert_eq!(bucket.admits(10, Time(1_105)), 10);
        assert_eq!(
            bucket.admits(10, Time(i64::MAX)),
            10,
            "never more than a second's worth"
        );
    }

    #[test]
    fn waits_double_up_to_the_limit() {
        let waits: Vec<i64> = (1..=4).map(|n| order().wait_ms(n)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(order().wait_ms(u32::MAX), BACKOFF_MAX_MS);
        let slow = Order {
            retry_backoff_ms: BACKOFF_MAX_MS * 2,
            ..order()
        };
        assert_eq!(slow.wait_ms(9), BACKOFF_MAX_MS * 2);
    }

    #[test]
    fn whichever_limit_comes_first_holds() {
        for (retry_max, dlq_after_n, attempts) in [(5, 5, 5), (2, 5, 3), (9, 2, 2), (u32::MAX, 9, 9)] {
            let order = Order {
                retry_max,
                dlq_after_n,
                ..order()
            };
            assert_eq!(order.attempts_max(), attempts);
        }
    }

    #[test]
    fn shards_are_stable_and_all_used() {
        let shard = |n: u32| order().shard_of(&RunId(format!("r-{n}")));
        let used: std::collections::BTreeSet<u32> = (0..200).map(shard).collect();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
        // Stored tasks depend on it: it must not change from one version to the next.
        assert_eq!((0..8).map(shard).collect::<Vec<_>>(), [3, 2, 0, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn the_same_order_has_the_same_id() {
        assert_eq!(order().derive_id(), order().derive_id());
        let other = Order {
            predicate_cel: "true".into(),
            ..order()
        };
        assert_ne!(order().derive_id(), other.derive_id());
    }
}
