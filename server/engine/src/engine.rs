//! The engine: one way for every change.

use std::sync::Arc;

use tape_connector_port::Connectors;
use tape_core::command::{Command, Reads};
use tape_core::journal::Trace;
use tape_core::json::not_found;
use tape_core::{Context, Draft, DueKind, EntityId, Row, RowKey, RunId, Snapshot, Time};
use tape_port::{Clock, Luck, TapeError};
use tape_store::{Commit, Store, StoreError, codec};
use tokio::sync::watch;

use crate::desk::{Accepted, Desk, Desks, Lineage};
use crate::measure;
use crate::wake::{News, Wakes};

/// How often a command is decided anew because its entity moved on, before the caller is told to try again.
const DECIDE_MAX: u32 = 64;
/// How often a commit without an answer is decided anew. Each may have happened; the record tells.
const IN_DOUBT_MAX: u32 = 3;

/// What an engine is told at its start.
#[derive(Clone, Debug, Default)]
pub struct EngineConfig {
    /// Refuse effects whose connector is not loaded.
    pub strict_connectors: bool,
    /// Connectors that live in workers' processes: they are known also while no worker that has them is attached.
    pub connectors_in_workers: Vec<String>,
}

/// Decides and commits; wakes whoever waits for it.
pub struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) luck: Arc<dyn Luck>,
    pub(crate) connectors: Arc<dyn Connectors>,
    pub(crate) config: EngineConfig,
    pub(crate) wakes: Arc<Wakes>,
    desks: Desks,
}

impl Engine {
    /// An engine over a store.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        luck: Arc<dyn Luck>,
        connectors: Arc<dyn Connectors>,
        config: EngineConfig,
    ) -> Self {
        Self {
            store,
            clock,
            luck,
            connectors,
            config,
            wakes: Arc::new(Wakes::new()),
            desks: Desks::new(),
        }
    }

    /// The server's clock.
    #[must_use]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// A fresh name: a UUID.
    #[must_use]
    pub fn fresh(&self) -> String {
        self.luck.fresh()
    }

    /// Changes whenever work of this kind was written, from now on: for reactors in other processes. Carries no data.
    #[must_use]
    pub fn watch_due(&self, kind: DueKind) -> watch::Receiver<u64> {
        self.wakes.watch(kind)
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`] if it does not.
    pub async fn ping(&self) -> Result<(), TapeError> {
        self.store.ping().await.map_err(store_error)
    }

    /// What a person has to see to although the store answers.
    #[must_use]
    pub fn concern(&self) -> Option<String> {
        self.store.concern()
    }

    /// Wakes whoever waits for what other servers commit; runs until it is dropped.
    pub async fn hear(&self) {
        loop {
            let heard = self.store.hear().await;
            self.wakes.heard(heard);
        }
    }

    /// Decides `command` and commits what it changes. Returns its reply once the change is durable.
    ///
    /// # Errors
    /// The command's refusal; [`TapeError::Unavailable`] if the store does not answer: the caller may repeat the very
    /// same request.
    pub async fn execute<C: Command>(&self, command: &C, trace: Option<Trace>) -> Result<C::Reply, TapeError> {
        let entity = command.entity();
        let reads = command.reads();
        let mut tries = Tries::default();
        loop {
            let mut desk = self.desks.turn(&entity).await;
            let snapshot = self.current(&mut desk, &entity, &reads).await?;
            let (expected, lineage) = (snapshot.version, desk.lineage(&entity));
            let context = Context {
                now: self.clock.now(),
                jitter: self.luck.jitter(),
                trace: trace.clone(),
            };
            let mut draft = Draft::new(snapshot, context);
            let decided = command.decide(&mut draft);
            let (changes, after) = draft.finish();
            if decided.is_err() || changes.is_empty() {
                // An answer, but on a state that may not be durable yet.
                let last = desk.last(&entity);
                drop(desk);
                let failed = if !last.durable().await {
                    // It was decided on what did not come about. Nothing of its own was written: no doubt about that.
                    StoreError::Conflict { expected, found: 0 }
                } else if let Some(found) = self.moved(&entity, expected, lineage).await? {
                    StoreError::Conflict { expected, found }
                } else {
                    return Ok(decided?);
                };
                self.desks.turn(&entity).await.forget(&entity, lineage);
                tries.again(failed)?;
                continue;
            }
            let reply = decided?;
            let mut commit = Commit::of(&entity, expected, &changes, tenant_of(&after)).map_err(store_error)?;
            let bytes = commit.puts.iter().map(|row| row.body.len()).sum();
            commit.chain.before = desk.last(&entity).fate();
            let change = Accepted::of(&commit);
            let fate = commit.chain.own.fate();
            let committing = self.store.submit(commit).await;
            desk.accepted(&entity, expected, &changes, bytes, change);
            // The next command is decided on this state while it is on its way to the disk.
            drop(desk);
            let news = News::new(&self.wakes, &entity, changes, fate);
            match committing.await {
                Ok(_) => {
                    news.tell();
                    return Ok(reply);
                }
                Err(error) => {
                    news.never_mind();
                    self.desks.turn(&entity).await.forget(&entity, lineage);
                    if matches!(error, StoreError::InDoubt(_)) && !command.repeatable() {
                        return Err(store_error(error));
                    }
                    tries.again(error)?;
                }
            }
        }
    }

    /// The tenant of a run: from the desk if it is known there, for it never changes.
    pub(crate) async fn tenant(&self, run: &RunId) -> Result<String, TapeError> {
        self.tenant_and_app(run).await.map(|(tenant, _)| tenant)
    }

    /// Whose a run is, and of which app.
    pub(crate) async fn tenant_and_app(&self, run: &RunId) -> Result<(String, String), TapeError> {
        let entity = EntityId::run(run);
        let mut desk = self.desks.turn(&entity).await;
        let snapshot = self.current(&mut desk, &entity, &Reads::default()).await?;
        match snapshot.rows.get(&RowKey::Head) {
            Some(Row::Run(run)) => Ok((run.identity.tenant.clone(), run.identity.app.clone())),
            _ => Err(not_found("TAPE-R001", "run", run.as_str()).into()),
        }
    }

    /// What a command reads: from the desk, or else from the store.
    async fn current(&self, desk: &mut Desk, entity: &EntityId, reads: &Reads) -> Result<Snapshot, TapeError> {
        if let Some(snapshot) = desk.snapshot(entity, reads) {
            return Ok(snapshot);
        }
        // The store does not have yet what is under way.
        if !desk.last(entity).durable().await {
            let failed = desk.lineage(entity);
            desk.forget(entity, failed);
        }
        let (snapshot, bytes) = self.load_sized(entity, reads).await?;
        desk.loaded(entity, reads, &snapshot, bytes);
        Ok(snapshot)
    }

    /// Where other servers may write, a copy may be behind even though nothing is under way here: the version to which
    /// somebody else moved the entity on. What this server's own commits made of it since does not count.
    async fn moved(
        &self,
        entity: &EntityId,
        expected: u64,
        lineage: Option<Lineage>,
    ) -> Result<Option<u64>, TapeError> {
        if !self.store.shared() {
            return Ok(None);
        }
        let found = self.store.load(entity, &[], &[]).await.map_err(store_error)?.version;
        if found == expected {
            return Ok(None);
        }
        let desk = self.desks.turn(entity).await;
        let reached = desk.lineage(entity) == lineage && desk.version(entity).is_some_and(|version| version >= found);
        // A version that is only hoped for here may be another server's there.
        let last = desk.last(entity);
        drop(desk);
        let ours = reached && last.durable().await;
        Ok((!ours).then_some(found))
    }

    /// Loads what a reader wants to see: what is durable.
    pub(crate) async fn load(&self, entity: &EntityId, reads: &Reads) -> Result<Snapshot, TapeError> {
        self.load_sized(entity, reads).await.map(|(snapshot, _)| snapshot)
    }

    async fn load_sized(&self, entity: &EntityId, reads: &Reads) -> Result<(Snapshot, usize), TapeError> {
        let loaded = self
            .store
            .load(entity, &reads.rows, &reads.ranges)
            .await
            .map_err(store_error)?;
        let mut snapshot = Snapshot {
            version: loaded.version,
            ..Snapshot::default()
        };
        let mut bytes = 0;
        for (key, body) in loaded.rows {
            bytes += body.len();
            snapshot
                .rows
                .insert(key, codec::decode_row(&body).map_err(store_error)?);
        }
        Ok((snapshot, bytes))
    }
}

/// How often a command is decided anew.
#[derive(Default)]
struct Tries {
    conflicts: u32,
    doubts: u32,
}

impl Tries {
    /// Whether the command may be decided anew after this error; otherwise what the caller is told.
    fn again(&mut self, error: StoreError) -> Result<(), TapeError> {
        match error {
            StoreError::Conflict { .. } if self.conflicts < DECIDE_MAX => {
                measure::conflict();
                self.conflicts += 1;
            }
            StoreError::InDoubt(reason) if self.doubts < IN_DOUBT_MAX => {
                tracing::debug!(%reason, "commit in doubt: deciding anew on what is stored");
                self.doubts += 1;
            }
            error => return Err(store_error(error)),
        }
        Ok(())
    }
}

/// The tenant of a run, for what is found by its connectors.
fn tenant_of(snapshot: &Snapshot) -> &str {
    match snapshot.rows.get(&RowKey::Head) {
        Some(Row::Run(run)) => &run.identity.tenant,
        _ => "",
    }
}

/// What a store's error means to the caller of an operation.
pub(crate) fn store_error(error: StoreError) -> TapeError {
    match error {
        StoreError::Conflict { .. } => TapeError::Unavailable("Too many writers on one entity at once.".to_owned()),
        StoreError::InDoubt(reason) => TapeError::Unavailable(format!("The store gave no answer: {reason}.")),
        StoreError::Unavailable(reason) => TapeError::Unavailable(format!("The store does not serve: {reason}.")),
        StoreError::Corrupt(reason) => TapeError::Corrupt(format!("The store holds something unreadable: {reason}.")),
    }
}
