//! The driver: runs one reactor until shutdown.
//!
//! Rows are handled at once, up to a bound, so that a slow upstream does not hold up the rest. A row that could not be
//! handled cools down before it is tried again: one bad row is not tried in a loop and does not hide the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tape_core::{RowKey, RunId};
use tape_port::{DueItem, DueWork, Tape, TapeError};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::measure;
use crate::reactor::Reactor;
use crate::report::ReportBoard;

/// How a driver runs its reactor.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// Rows handled at once.
    pub concurrency: usize,
    /// The fallback: work is looked for at least this often, woken or not.
    pub interval: Duration,
}

impl Default for DriverConfig {
    fn default() -> Self {
        Self {
            concurrency: 32,
            interval: Duration::from_secs(5),
        }
    }
}

/// First rest of a row that could not be handled; doubles up to [`COOL_MAX`].
const COOL_FIRST: Duration = Duration::from_millis(500);
const COOL_MAX: Duration = Duration::from_secs(60);
/// Rows whose rest is remembered; beyond that the oldest are simply tried again.
const COOLING_MAX: usize = 10_000;
/// Timers late by less than this are not worth a wake-up of their own.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// Runs one reactor.
pub struct Driver {
    tape: Arc<dyn Tape>,
    reactor: Arc<dyn Reactor>,
    config: DriverConfig,
    board: Arc<ReportBoard>,
    rows: Arc<Rows>,
    permits: Arc<Semaphore>,
}

type Key = (RunId, RowKey);

/// Rows that are being handled, or rest.
#[derive(Default)]
struct Rows {
    state: Mutex<HashMap<Key, RowState>>,
}

#[derive(Clone, Copy)]
struct RowState {
    in_hand: bool,
    /// Not to be tried before this.
    until: Instant,
    /// How long it rests after its next failure.
    next_rest: Duration,
}

impl Driver {
    /// A driver for `reactor`.
    #[must_use]
    pub fn new(tape: Arc<dyn Tape>, reactor: Arc<dyn Reactor>, config: DriverConfig, board: Arc<ReportBoard>) -> Self {
        let permits = Arc::new(Semaphore::new(config.concurrency));
        Self {
            tape,
            reactor,
            config,
            board,
            rows: Arc::default(),
            permits,
        }
    }

    /// Runs until `shutdown`: then it takes no more work and waits for what is in hand.
    pub async fn run(self, shutdown: CancellationToken) {
        let kind = self.reactor.kind();
        self.board.enabled(kind);
        let tasks = TaskTracker::new();
        while !shutdown.is_cancelled() {
            let work = self.reactor.work();
            let more = match self.look(&work, &tasks, &shutdown).await {
                Ok(more) => {
                    measure::passed(kind);
                    self.board.passed(kind, self.tape.now());
                    more
                }
                Err(error) => {
                    tracing::warn!(reactor = kind.reactor(), %error, "pass");
                    measure::failed(kind);
                    self.board.failed(kind, &error);
                    false
                }
            };
            if !more {
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = self.reactor.woken(&work) => {}
                    () = self.a_worker_came() => {}
                    () = self.rest() => {}
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Looks for what is due, and for what rests for want of a worker if one has come. Returns whether there may be more.
    async fn look(&self, work: &DueWork, tasks: &TaskTracker, shutdown: &CancellationToken) -> Result<bool, TapeError> {
        if let Some(newcomers) = self.reactor.newcomers()
            && let Some(rested) = newcomers.rested(work)
            && let Err(error) = self.pass(&rested, tasks, shutdown).await
        {
            newcomers.again();
            return Err(error);
        }
        self.pass(work, tasks, shutdown).await
    }

    /// Hands out what is due. Returns whether there may be more.
    async fn pass(&self, work: &DueWork, tasks: &TaskTracker, shutdown: &CancellationToken) -> Result<bool, TapeError> {
        let due = self.tape.due(work).await?;
        let full = due.len() == work.limit as usize;
        let mut taken = false;
        for item in due {
            let key = (item.run.clone(), item.key.clone());
            if !self.rows.take(&key) {
                continue;
            }
            taken = true;
            let permit = tokio::select! {
                permit = self.permits.clone().acquire_owned() => permit,
                () = shutdown.cancelled() => { self.rows.handled(&key); return Ok(false) }
            };
            let Ok(permit) = permit else { return Ok(false) };
            let (reactor, rows, board) = (self.reactor.clone(), self.rows.clone(), self.board.clone());
            tasks.spawn(async move {
                // For the log: what is said on the way names the run and its tenant.
                let about = tracing::info_span!(target: "row", "row", reactor = reactor.kind().reactor(), run = %item.run, tenant = item.tenant);
                handle(reactor.as_ref(), &rows, &board, &item, &key).instrument(about).await;
                drop(permit);
            });
        }
        Ok(full && taken)
    }

    async fn a_worker_came(&self) {
        match self.reactor.newcomers() {
            Some(newcomers) => newcomers.come().await,
            None => std::future::pending().await,
        }
    }

    /// Sleeps until the next row falls due, but no longer than the fallback's interval.
    async fn rest(&self) {
        let until_due = match self.tape.next_due(self.reactor.kind()).await {
            Ok(Some(at)) => {
                let ms = at.since(self.tape.now()) - self.reactor.lead_ms();
                Duration::from_millis(u64::try_from(ms).unwrap_or_default())
            }
            // Nothing waits, or the store does not answer: the fallback looks again.
            Ok(None) | Err(_) => Duration::MAX,
        };
        // What is due already and was not taken is in hand, whose end wakes us, or it rests.
        let until = until_due.min(self.rows.rest_ends());
        tokio::time::sleep(until.clamp(SLEEP_MIN, self.config.interval)).await;
    }
}

async fn handle(reactor: &dyn Reactor, rows: &Rows, board: &ReportBoard, item: &DueItem, key: &Key) {
    match reactor.handle(item).await {
        Err(error) if !error.is_lost() => {
            tracing::warn!(row = ?item.key, %error, "row");
            measure::failed(reactor.kind());
            board.failed(reactor.kind(), &error);
            rows.rest(key);
        }
        Err(_) => {
            measure::conflict(reactor.kind());
            rows.handled(key);
        }
        Ok(()) => rows.handled(key),
    }
}

impl Rows {
    /// Takes a row in hand, unless it is, or rests.
    fn take(&self, key: &Key) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        let row = state.entry(key.clone()).or_insert(RowState {
            in_hand: false,
            until: now,
            next_rest: COOL_FIRST,
        });
        if row.in_hand || row.until > now {
            return false;
        }
        row.in_hand = true;
        true
    }

    fn handled(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn rest(&self, key: &Key) {
        let mut state = self.lock();
        if state.len() >= COOLING_MAX {
            state.retain(|_, row| row.in_hand);
        }
        if let Some(row) = state.get_mut(key) {
            row.in_hand = false;
            row.until = Instant::now() + row.next_rest;
            row.next_rest = (row.next_rest * 2).min(COOL_MAX);
        }
    }

    /// How long until the first resting row may be tried again.
    fn rest_ends(&self) -> Duration {
        let now = Instant::now();
        let resting = self.lock();
        let ends = resting
            .values()
            .filter(|row| !row.in_hand)
            .map(|row| row.until.saturating_duration_since(now));
        ends.min().unwrap_or(Duration::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, RowState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
