//! The engine: one way for every change.

use std::sync::Arc;

use tape_connector_port::Connectors;
use tape_core::command::{Command, Reads};
use tape_core::entity::EntityKind;
use tape_core::journal::Trace;
use tape_core::{Changes, Context, Draft, EntityId, Row, RowKey, Snapshot, Time};
use tape_port::{Clock, Luck, TapeError};
use tape_store::{Commit, Listing, Store, StoreError, StoredRow, codec};

use crate::queue::Queues;
use crate::wake::Wakes;

/// How often a command is decided anew because its entity moved on, before the caller is told to try again.
const DECIDE_MAX: u32 = 64;
/// How often a commit without an answer is decided anew. Each may have happened; the record tells.
const IN_DOUBT_MAX: u32 = 3;

/// What an engine is told at its start.
#[derive(Clone, Debug, Default)]
pub struct EngineConfig {
    /// Refuse effects whose connector is not loaded.
    pub strict_connectors: bool,
}

/// Decides and commits; wakes whoever waits for it.
pub struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) luck: Arc<dyn Luck>,
    pub(crate) connectors: Arc<dyn Connectors>,
    pub(crate) config: EngineConfig,
    pub(crate) wakes: Wakes,
    queues: Queues,
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
            wakes: Wakes::new(),
            queues: Queues::new(),
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

    /// Whether the store answers.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`] if it does not.
    pub async fn ping(&self) -> Result<(), TapeError> {
        self.store.ping().await.map_err(store_error)
    }

    /// Decides `command` and commits what it changes. Returns its reply once the change is durable.
    ///
    /// # Errors
    /// The command's refusal; [`TapeError::Unavailable`] if the store does not answer: the caller may repeat the very
    /// same request.
    pub async fn execute<C: Command>(&self, command: &C, trace: Option<Trace>) -> Result<C::Reply, TapeError> {
        let entity = command.entity();
        let reads = command.reads();
        // Commands on one entity wait for each other here, in order, instead of colliding in the store.
        let _turn = self.queues.turn(&entity).await;
        let (mut conflicts, mut doubts) = (0, 0);
        loop {
            let snapshot = self.load(&entity, &reads).await?;
            let expected = snapshot.version;
            let context = Context {
                now: self.clock.now(),
                jitter: self.luck.jitter(),
                trace: trace.clone(),
            };
            let mut draft = Draft::new(snapshot, context);
            let reply = command.decide(&mut draft)?;
            let (changes, _) = draft.finish();
            if changes.is_empty() {
                return Ok(reply);
            }
            match self.store.commit(encode(&entity, expected, &changes)?).await {
                Ok(_) => {
                    self.wakes.committed(&entity, &changes);
                    return Ok(reply);
                }
                Err(StoreError::Conflict { .. }) if conflicts < DECIDE_MAX => conflicts += 1,
                Err(StoreError::InDoubt(reason)) if doubts < IN_DOUBT_MAX => {
                    tracing::warn!(?entity, %reason, "commit in doubt: deciding anew on what is stored");
                    doubts += 1;
                }
                Err(error) => return Err(store_error(error)),
            }
        }
    }

    /// Loads what a command reads.
    pub(crate) async fn load(&self, entity: &EntityId, reads: &Reads) -> Result<Snapshot, TapeError> {
        let loaded = self
            .store
            .load(entity, &reads.rows, &reads.ranges)
            .await
            .map_err(store_error)?;
        let mut snapshot = Snapshot {
            version: loaded.version,
            ..Snapshot::default()
        };
        for (key, body) in loaded.rows {
            snapshot
                .rows
                .insert(key, codec::decode_row(&body).map_err(store_error)?);
        }
        Ok(snapshot)
    }
}

/// Changes as a store takes them.
fn encode(entity: &EntityId, expected: u64, changes: &Changes) -> Result<Commit, TapeError> {
    let mut puts = Vec::with_capacity(changes.puts.len());
    let mut listing = None;
    for (key, row) in &changes.puts {
        if *key == RowKey::Head {
            listing = listing_of(entity, row);
        }
        puts.push(StoredRow {
            key: key.clone(),
            body: codec::encode_row(row).map_err(store_error)?,
            due: row.due(),
        });
    }
    let entries = changes
        .entries
        .iter()
        .map(|entry| Ok((entry.seq, codec::encode_entry(entry).map_err(store_error)?)))
        .collect::<Result<_, TapeError>>()?;
    Ok(Commit {
        entity: entity.clone(),
        expected,
        listing,
        puts,
        deletes: changes.deletes.clone(),
        entries,
    })
}

/// By what an entity is found in listings; follows from its head.
fn listing_of(entity: &EntityId, head: &Row) -> Option<Listing> {
    match (entity.kind, head) {
        (EntityKind::Run, Row::Run(run)) => Some(Listing {
            tenant: run.identity.tenant.clone(),
            app: run.identity.app.clone(),
            user: run.identity.user.clone(),
            status: run.state.number(),
            created: run.started,
        }),
        (EntityKind::Session, Row::Session(session)) => Some(Listing {
            tenant: session.name.tenant.clone(),
            app: session.name.app.clone(),
            user: session.name.user.clone(),
            status: u8::from(session.deleted),
            created: session.created,
        }),
        _ => None,
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
