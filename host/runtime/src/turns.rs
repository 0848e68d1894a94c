//! Turns: so many at the same time, in the order in which they were asked for.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// A number of turns that may change while some of them are taken.
pub struct Turns {
    free: Semaphore,
    size: Mutex<Size>,
}

struct Size {
    limit: usize,
    taken: usize,
    /// Turns that are taken and will not come back, because the limit became smaller.
    owed: usize,
}

/// One turn; dropping it gives it back.
#[must_use]
pub struct Turn<'a> {
    turns: &'a Turns,
    permit: Option<SemaphorePermit<'a>>,
}

impl Turns {
    /// At least one.
    pub fn new(limit: usize) -> Self {
        let limit = bounded(limit);
        Self {
            free: Semaphore::new(limit),
            size: Mutex::new(Size {
                limit,
                taken: 0,
                owed: 0,
            }),
        }
    }

    /// A turn, if there is one within `wait`.
    pub async fn take(&self, wait: Duration) -> Option<Turn<'_>> {
        let permit = timeout(wait, self.free.acquire()).await.ok()?.ok()?;
        self.lock().taken += 1;
        Some(Turn {
            turns: self,
            permit: Some(permit),
        })
    }

    /// How many are taken, and how many there are.
    pub fn taken(&self) -> (u64, u64) {
        let size = self.lock();
        (size.taken as u64, size.limit as u64)
    }

    /// From now on there are `limit`. Turns that are taken stay taken.
    pub fn resize(&self, limit: usize) {
        let limit = bounded(limit);
        let mut size = self.lock();
        let (more, fewer) = (limit.saturating_sub(size.limit), size.limit.saturating_sub(limit));
        let settled = more.min(size.owed);
        size.owed -= settled;
        self.free.add_permits(more - settled);
        size.owed += fewer - self.free.forget_permits(fewer);
        size.limit = limit;
    }

    fn lock(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bounded(limit: usize) -> usize {
    limit.clamp(1, Semaphore::MAX_PERMITS)
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut size = self.turns.lock();
        size.taken -= 1;
        if size.owed > 0
            && let Some(permit) = self.permit.take()
        {
            size.owed -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn free(turns: &Turns) -> bool {
        turns.take(Duration::ZERO).await.is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_as_many_as_there_are() {
        let turns = Turns::new(2);
        let (one, _two) = (turns.take(Duration::ZERO).await, turns.take(Duration::ZERO).await);
        assert!(turns.take(Duration::from_secs(1)).await.is_none());
        assert_eq!(turns.taken(), (2, 2));
        drop(one);
        assert!(free(&turns).await);
        assert_eq!(turns.taken(), (1, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_smaller_number_holds_once_turns_come_back_and_a_larger_one_at_once() {
        let turns = Turns::new(3);
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(turns.take(Duration::ZERO).await.unwrap());
        }
        turns.resize(1);
        for left in (0..3).rev() {
            assert!(!free(&turns).await);
            taken.pop();
            assert_eq!(turns.taken(), (left, 1));
        }
        let one = turns.take(Duration::ZERO).await.unwrap();
        assert!(!free(&turns).await);
        turns.resize(2);
        assert!(free(&turns).await);
        turns.resize(1);
        assert!(!free(&turns).await);
        drop(one);
        assert!(free(&turns).await);
    }
}
