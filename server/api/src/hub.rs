//! The workers that are attached: app processes, each with one stream, that drive runs and answer for their functions.
//!
//! ```text
//! reactor ──redrive, status_check, compensate, timer──▶ hub ──call (id)──▶ stream ──▶ worker
//!         ◀──────────────── answer, refusal, or lost ───┘ ◀──answer (id)── stream ◀──┘
//! ```
//!
//! A stream that breaks tells at once what its lease would tell in two minutes: the runs that its worker drove are given
//! free, and the recovery reactor finds them another. The hub remembers nothing that the store does not know better; it
//! is empty after a restart and fills as workers come back.

mod attachment;
mod call;
mod living;
mod worker;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tape_core::run::Run;
use tape_core::{RunId, Time};
use tape_engine::Engine;
use tape_proto::v1 as pb;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use attachment::attach;
pub(crate) use living::ConnectorCall;
pub(crate) use worker::Answer;
use worker::Worker;

/// How long the hub waits for what.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// How often a worker says that it lives. One that is silent for three of these is detached.
    pub heartbeat: Duration,
    /// For the first message of a stream.
    pub hello_within: Duration,
    /// For a worker to take a run.
    pub accept_within: Duration,
    /// For a function of the app to answer.
    pub answer_within: Duration,
    /// For workers to finish what they drive when the server goes away.
    pub drain_within: Duration,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            hello_within: Duration::from_secs(10),
            accept_within: Duration::from_secs(5),
            answer_within: Duration::from_secs(30),
            drain_within: Duration::from_secs(30),
        }
    }
}

/// One attached worker, for people.
#[derive(Clone, Debug)]
pub struct WorkerInfo {
    /// Its id: also the lease owner under which it drives.
    pub id: String,
    /// Tenant.
    pub tenant: String,
    /// App.
    pub app: String,
    /// Name and version of its SDK.
    pub sdk: String,
    /// Since when.
    pub attached_at: Time,
    /// When it was last heard of.
    pub last_heartbeat_at: Time,
    /// Runs that it drives.
    pub running: usize,
}

/// The workers of one server. Implements [`tape_port::Workers`], through which reactors reach them.
pub struct WorkerHub {
    engine: Arc<Engine>,
    config: HubConfig,
    workers: Mutex<HashMap<String, Arc<Worker>>>,
    /// How many times a worker has attached.
    attachments: watch::Sender<u64>,
    /// How many times a worker has attached or gone.
    roster: watch::Sender<u64>,
    /// A worker has gone.
    left: Notify,
    calls: AtomicU64,
    turns: AtomicUsize,
    streams: TaskTracker,
    /// The server is about to go away: workers finish what they drive, and no more of them come.
    draining: CancellationToken,
    /// The server goes away: streams of all services end.
    pub(crate) closing: CancellationToken,
}

impl WorkerHub {
    /// A hub without workers.
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Self {
        Self::with_config(engine, HubConfig::default())
    }

    /// The same with its own patience.
    #[must_use]
    pub fn with_config(engine: Arc<Engine>, config: HubConfig) -> Self {
        Self {
            engine,
            config,
            workers: Mutex::default(),
            attachments: watch::Sender::new(0),
            roster: watch::Sender::new(0),
            left: Notify::new(),
            calls: AtomicU64::new(0),
            turns: AtomicUsize::new(0),
            streams: TaskTracker::new(),
            draining: CancellationToken::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Everybody who is attached, by app and id.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let mut all: Vec<_> = self.lock().values().map(|worker| worker.info()).collect();
        all.sort_by(|a, b| (&a.app, &a.id).cmp(&(&b.app, &b.id)));
        all
    }

    /// Tells whoever drives `run` that it was cancelled. Its next write would be refused anyway.
    pub fn cancel(&self, run: &RunId, reason: &str) {
        for worker in self.all().iter().filter(|worker| worker.drives(run)) {
            worker.tell(
                self.next_call_id(),
                pb::worker_call::Call::Cancel(pb::CancelCall {
                    run_id: run.0.clone(),
                    reason: reason.to_owned(),
                }),
            );
            worker.drop_run(run);
        }
    }

    /// Ends all streams, those of the workers and those of subscribers; returns when the workers' are ended. Call it
    /// before the listener stops.
    ///
    /// Workers are asked to finish what they drive, for [`HubConfig::drain_within`] at most; none may attach meanwhile. Whoever does not is sent
    /// back to the next server with its leases as they are: a server that goes away says nothing about its workers.
    pub async fn drain(&self) {
        self.draining.cancel();
        for worker in self.all() {
            worker.tell(self.next_call_id(), pb::worker_call::Call::Drain(pb::Drain {}));
        }
        // Running out of time is as good as being done.
        drop(tokio::time::timeout(self.config.drain_within, self.empty()).await);
        self.closing.cancel();
        self.streams.close();
        self.streams.wait().await;
    }

    /// Changes whenever a worker attaches or leaves, from now on.
    pub(crate) fn watch_roster(&self) -> watch::Receiver<u64> {
        self.roster.subscribe()
    }

    async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Notes that an owner has taken the lease of a run; if it is a worker here, its death frees the run.
    pub(crate) fn drives(&self, owner: &str, run: &Run) {
        // An owner of another tenant only has the same name.
        if let Some(worker) = self
            .lock()
            .get(owner)
            .filter(|worker| worker.tenant == run.identity.tenant)
        {
            worker.add_run(&run.id);
        }
    }

    /// Notes that nobody drives a run any more.
    pub(crate) fn dropped(&self, run: &RunId) {
        for worker in self.lock().values() {
            worker.drop_run(run);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Worker>>> {
        // Nothing panics while it is held: inserts, removes and looks.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Vec<Arc<Worker>> {
        self.lock().values().cloned().collect()
    }

    fn of_app(&self, tenant: &str, app: &str) -> Vec<Arc<Worker>> {
        let mut workers = self.all();
        workers.retain(|worker| worker.tenant == tenant && worker.app == app);
        workers.sort_by(|a, b| a.id.cmp(&b.id));
        workers
    }

    fn next_call_id(&self) -> String {
        format!("c-{}", self.calls.fetch_add(1, Ordering::Relaxed))
    }
}
