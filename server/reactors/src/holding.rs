//! How long a claim is certainly still ours, by the clock of this process.
//!
//! A process can stand still for any time: suspended, swapped out, starved. It does not notice; its claim runs out all the same, and
//! somebody else finds out what became of the work. What must not happen after that asks here first.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tape_connector_port::MarkRefused;
use tokio::time::Instant;

/// A claim that was granted, and perhaps renewed.
pub(crate) struct Holding {
    ttl: Duration,
    until: Mutex<Instant>,
}

impl Holding {
    /// For a claim that was asked for at `asked`: it may have been granted as early as that.
    pub(crate) fn since(asked: Instant, ttl: Duration) -> Self {
        Self {
            ttl,
            until: Mutex::new(asked + ttl),
        }
    }

    /// The claim was renewed, as asked for at `asked`.
    pub(crate) fn renewed(&self, asked: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = asked + self.ttl;
    }

    /// Whether nobody else can have it.
    pub(crate) fn holds(&self) -> bool {
        Instant::now() < *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request leave while nobody else can have what it is about. Whoever found the claim run out asks the upstream, and
    /// is told that nothing is there: it must stay so.
    ///
    /// # Errors
    /// The claim ran out: nothing may leave.
    pub(crate) fn refusing(&self) -> Result<(), MarkRefused> {
        if self.holds() {
            return Ok(());
        }
        let refused = "the claim ran out before anything left: another may have it, and nothing may leave any more";
        Err(MarkRefused(refused.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const TTL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn it_lasts_from_when_it_was_asked_for() {
        let asked = Instant::now();
        // The answer was long on its way.
        advance(Duration::from_secs(9)).await;
        let holding = Holding::since(asked, TTL);
        assert!(holding.holds());
        advance(Duration::from_secs(1)).await;
        assert!(!holding.holds());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_makes_it_last_from_when_that_was_asked_for() {
        let holding = Holding::since(Instant::now(), TTL);
        advance(Duration::from_secs(5)).await;
        holding.renewed(Instant::now());
        advance(Duration::from_secs(9)).await;
        assert!(holding.holds());
        advance(Duration::from_secs(1)).await;
        assert!(!holding.holds());
    }
}
