//! What every reactor is: a kind of work, and how one row of it is handled.

use std::time::Duration;

use async_trait::async_trait;
use tape_connector_port::{CircuitState, ConnectorInfo, Connectors};
use tape_core::DueKind;
use tape_port::{DueItem, DueWork, Served, Tape, TapeError};
use tokio_util::sync::CancellationToken;

use crate::newcomers::Newcomers;

/// Who a reactor is, and for how long it holds what it works on.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name as an owner of claims: unique to the process.
    pub owner: String,
    /// How long a claim lasts, in milliseconds. Renewed at a third of it.
    pub claim_ms: i64,
    /// Once it is cancelled, what is in hand is given back instead of finished.
    pub abandon: CancellationToken,
}

impl Identity {
    /// How long a claim lasts.
    pub(crate) fn claim_ttl(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.claim_ms).unwrap_or(1).max(1))
    }
}

/// One of the five.
#[async_trait]
pub trait Reactor: Send + Sync {
    /// Its kind of work.
    fn kind(&self) -> DueKind;

    /// What it looks for in the next pass.
    fn work(&self) -> DueWork;

    /// So many milliseconds before it is due a row is taken in hand: what must be done before it can be acted on is done by
    /// then. [`work`](Self::work) looks as far ahead.
    fn lead_ms(&self) -> i64 {
        0
    }

    /// The workers that have attached, if some of its work rests for want of one.
    fn newcomers(&self) -> Option<&Newcomers> {
        None
    }

    /// Handles one row: claims it, acts, records. Nothing to do is a success.
    ///
    /// # Errors
    /// The row could not be handled; it stays due, and is tried again after a backoff.
    async fn handle(&self, item: &DueItem) -> Result<(), TapeError>;

    /// Waits until there may be work that a look for `looked`, the last one, did not find.
    async fn woken(&self, looked: &DueWork);
}

/// Rows that a pass looks for.
pub(crate) const BATCH: u32 = 200;

/// The connectors that can be called here now. One whose circuit is open is left out: what waits for it stays due, and costs nothing
/// meanwhile.
pub(crate) fn served(connectors: &dyn Connectors) -> Vec<Served> {
    let states = connectors.states();
    let rests = |connector: &ConnectorInfo| {
        let mut its = states
            .iter()
            .filter(|state| state.tenant == connector.tenant && state.name == connector.name)
            .peekable();
        its.peek().is_some() && its.all(|state| state.circuit.state == CircuitState::Open)
    };
    let loaded = connectors.list().into_iter();
    let served = loaded.filter(|connector| !rests(connector)).map(|connector| Served {
        tenant: connector.tenant,
        name: connector.name,
        app: connector.app,
    });
    served.collect()
}

/// How often the connectors are looked at: what waits for a new one waits no longer than this, however it comes.
const CONNECTORS_LOOK: Duration = Duration::from_millis(500);

/// Waits until other connectors can be called here than those that were looked for: one that came meanwhile ends it at once.
pub(crate) async fn loaded_anew(connectors: &dyn Connectors, looked: &DueWork) {
    while looked.served.as_ref() == Some(&served(connectors)) {
        tokio::select! {
            () = connectors.changed() => {}
            () = tokio::time::sleep(CONNECTORS_LOOK) => {}
        }
    }
}

/// Milliseconds as the domain counts them.
pub(crate) fn ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// One pass, row by row: reads what is due and handles it. Returns the errors of the rows that could not be handled.
/// The [`Driver`](crate::Driver) does the same with several rows at once.
///
/// # Errors
/// [`TapeError::Unavailable`] if what is due cannot be read.
pub async fn pass(tape: &dyn Tape, reactor: &dyn Reactor) -> Result<Vec<TapeError>, TapeError> {
    let mut errors = Vec::new();
    let work = reactor.work();
    let mut due = match reactor.newcomers().and_then(|newcomers| newcomers.rested(&work)) {
        Some(rested) => tape.due(&rested).await?,
        None => Vec::new(),
    };
    due.extend(tape.due(&work).await?);
    for item in due {
        match reactor.handle(&item).await {
            Err(error) if !error.is_lost() => errors.push(error),
            // Handled, or somebody else moved it first.
            _ => {}
        }
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use tape_connector_port::NoConnectors;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_changed_while_work_was_looked_for_is_noticed_at_once() {
        let looked = DueWork {
            served: Some(vec![Served {
                tenant: String::new(),
                name: "bank".into(),
                app: None,
            }]),
            ..DueWork::all(DueKind::Outbox, 1)
        };
        // It was there, and has been taken away since: that is seen without waiting for the next change.
        let began = tokio::time::Instant::now();
        loaded_anew(&NoConnectors, &looked).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
