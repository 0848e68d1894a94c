//! The store trait. Every store implements just this, and `tests/store` says whether it does.

use std::pin::Pin;

use async_trait::async_trait;
use tape_core::command::Range;
use tape_core::{DueKind, EntityId, EntityKind, RowKey, Time};

use crate::chain::Chain;
use crate::error::StoreError;

/// A change that was accepted: ends once it is durable, or has failed.
pub type Committing = Pin<Box<dyn Future<Output = Result<u64, StoreError>> + Send>>;

/// A durable place for entities.
///
/// Cost: [`load`](Store::load) and [`journal`](Store::journal) read no more than they are asked for;
/// [`submit`](Store::submit) is one durable write, shared with the commits that arrive with it. Nothing is acknowledged
/// before it is durable.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads the entity's version, its head, `rows` and `ranges`, all as of one moment.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: repeat later. [`StoreError::Corrupt`]: a person must look.
    async fn load(&self, entity: &EntityId, rows: &[RowKey], ranges: &[Range]) -> Result<Loaded, StoreError>;

    /// Accepts a change of one entity, to be written after all changes of it that were accepted before: all of it or none, if the entity is then at `commit.expected`. What is returned ends, with the new version, once the change is
    /// durable. Commits that arrive together are written together; a conflict fails its own commit alone.
    ///
    /// Whoever accepts the next change of the same entity need not wait for this one: it names the version that this one
    /// will make, and hangs on it by its [`chain`](Commit::chain): it is refused if this one is, even if somebody else has
    /// made that version meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Conflict`]: load and decide again. [`StoreError::InDoubt`]: the same, the answer was lost.
    /// [`StoreError::Unavailable`]: nothing was written.
    async fn submit(&self, commit: Commit) -> Committing;

    /// [`submit`](Store::submit), and wait until it is durable.
    ///
    /// # Errors
    /// As there.
    async fn commit(&self, commit: Commit) -> Result<u64, StoreError> {
        self.submit(commit).await.await
    }

    /// Names work that waits, oldest first. Hints: `load` decides.
    ///
    /// # Errors
    /// As [`Store::load`].
    async fn due(&self, query: &DueQuery) -> Result<Vec<DueRow>, StoreError>;

    /// When the next work of a kind falls due after `after`, if there is any.
    ///
    /// # Errors
    /// As [`Store::load`].
    async fn next_due(&self, kind: DueKind, after: Time) -> Result<Option<Time>, StoreError>;

    /// Names tasks of one entity, those that were due first first. Hints: `load` decides.
    ///
    /// Cost: reads no more than what it names, however many tasks the entity has.
    ///
    /// # Errors
    /// As [`Store::load`].
    async fn tasks_due(&self, query: &QueueQuery) -> Result<Vec<RowKey>, StoreError>;

    /// How many rows are due for a kind at `now`, and since when the oldest is.
    ///
    /// # Errors
    /// As [`Store::load`].
    async fn count_due(&self, kind: DueKind, now: Time) -> Result<(u64, Option<Time>), StoreError>;

    /// Entries of an entity's journal from `from_seq` on, in order, at most `limit`.
    ///
    /// # Errors
    /// As [`Store::load`].
    async fn journal(&self, entity: &EntityId, from_seq: i64, limit: u32) -> Result<Vec<Recorded>, StoreError>;

    /// Entries of all journals after a place, in commit order, at most `limit`; 0 = from the beginning.
    ///
    /// The position of the last one is where the next call goes on. Whoever reads on like that sees every entry once: none
    /// becomes readable at a position before one that was already read, however many servers write. So the entries of
    /// one entity come by rising seq. Positions rise, and may have gaps.
    ///
    /// # Errors
    /// As [`Store::load`].
    async fn tail(&self, after: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError>;

    /// The position of the last entry that can be read by [`tail`](Store::tail) now; 0 if there is none. What is
    /// committed from now on comes after it.
    ///
    /// # Errors
    /// As [`Store::load`].
    async fn tail_end(&self) -> Result<i64, StoreError>;

    /// Entities of a kind, newest first, with their heads.
    ///
    /// # Errors
    /// As [`Store::load`].
    async fn list(&self, query: &ListQuery) -> Result<Vec<Listed>, StoreError>;

    /// How many entities of a kind have each status.
    ///
    /// # Errors
    /// As [`Store::load`].
    async fn count_by_status(&self, kind: EntityKind) -> Result<Vec<(u8, u64)>, StoreError>;

    /// Whether other servers may write to it: then what was read is only as fresh as the reading.
    fn shared(&self) -> bool;

    /// Waits until another server tells of its commits: what may have changed. A hint that may get lost: whoever waits for a
    /// change looks now and then. Never ends for a store of one server.
    async fn hear(&self) -> Heard {
        std::future::pending().await
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it does not.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What a person has to see to although the store answers: what is wrong, and what to do.
    fn concern(&self) -> Option<String> {
        None
    }

    /// Finishes what was accepted, and lets go of the store.
    async fn close(&self);
}

/// What another server told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Work was written that is or will be due for these.
    pub due: Vec<DueKind>,
    /// Their journals grew, or they are values with a new version.
    pub entities: Vec<EntityId>,
}

impl Heard {
    /// What was told may have been lost: look.
    #[must_use]
    pub fn anything() -> Self {
        Self {
            due: DueKind::ALL.to_vec(),
            entities: Vec::new(),
        }
    }
}

/// What [`Store::load`] found.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Version of the entity; 0 if it does not exist.
    pub version: u64,
    /// The rows that exist, each once.
    pub rows: Vec<(RowKey, Vec<u8>)>,
}

/// An entry of one journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its number there.
    pub seq: i64,
    /// Its place in the order of all commits; see [`TailEntry`].
    pub position: i64,
    /// The entry as it was committed.
    pub body: Vec<u8>,
}

/// An entry among those of all journals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailEntry {
    /// Its place in the order of all commits, from 1.
    pub position: i64,
    /// To whose journal it belongs.
    pub entity: EntityId,
    /// Its number there.
    pub seq: i64,
    /// The entry as it was committed.
    pub body: Vec<u8>,
    /// Tenant of the entity.
    pub tenant: String,
    /// App of the entity.
    pub app: String,
    /// User of the entity.
    pub user: String,
}

/// A change of one entity.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Which.
    pub entity: EntityId,
    /// The version that it was decided on; 0 = it must not exist.
    pub expected: u64,
    /// By what it is listed from now on; none = as before.
    pub listing: Option<Listing>,
    /// Rows to write, whole.
    pub puts: Vec<StoredRow>,
    /// Rows to take away.
    pub deletes: Vec<RowKey>,
    /// Entries to append: seq and bytes.
    pub entries: Vec<(i64, Vec<u8>)>,
    /// What it hangs on.
    pub chain: Chain,
}

impl Commit {
    /// Whether it may be written to an entity at version `found`. If not, it has fallen, and whatever was decided on it.
    /// A store asks once the commits before this one are decided, and [tells](crate::Ending) the end of each, whether or not
    /// its maker still waits for it.
    #[must_use]
    pub fn fits(&self, found: u64) -> bool {
        let fits = found == self.expected && !self.chain.has_fallen();
        if !fits {
            self.chain.own.fall();
        }
        fits
    }
}

/// A row as a store sees it.
#[derive(Clone, Debug)]
pub struct StoredRow {
    /// Key within the entity.
    pub key: RowKey,
    /// Content.
    pub body: Vec<u8>,
    /// For whom and from when it is work that waits; none = for nobody.
    pub due: Option<tape_core::Due>,
    /// Without whom that work cannot be done: by this, work is found among much that others have to do. Empty = anybody
    /// can do it; none = all work of this kind is anybody's.
    pub by: Option<String>,
}

impl StoredRow {
    /// Whom the row's work waits for; none if it is no work.
    #[must_use]
    pub fn waits_for(&self) -> Option<&str> {
        self.by.as_deref().filter(|_| self.due.is_some())
    }
}

/// By what an entity can be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Tenant.
    pub tenant: String,
    /// App.
    pub app: String,
    /// User.
    pub user: String,
    /// Status: its number on the wire; 0 where the kind has none.
    pub status: u8,
    /// When it was created.
    pub created: Time,
}

/// Work that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRow {
    /// Entity.
    pub entity: EntityId,
    /// Row within it.
    pub key: RowKey,
    /// Since when.
    pub at: Time,
    /// Tenant of the entity.
    pub tenant: String,
    /// App of the entity.
    pub app: String,
}

/// Which work.
#[derive(Clone, Debug)]
pub struct DueQuery {
    /// Of this kind.
    pub kind: DueKind,
    /// Due at this time or before.
    pub until: Time,
    /// Of these tenants; none = of all.
    pub tenants: Option<Vec<String>>,
    /// Of these apps; none = of all.
    pub apps: Option<Vec<String>>,
    /// Work that anybody can do, or one of these; none = whoever can. Cost: does not grow with the work that others have
    /// to do. Kinds of work that are anybody's are not found by this.
    pub by: Option<Vec<String>>,
    /// At most so many.
    pub limit: u32,
}

/// Which tasks.
#[derive(Clone, Debug)]
pub struct QueueQuery {
    /// Of this entity.
    pub entity: EntityId,
    /// In this queue.
    pub kind: DueKind,
    /// Due at this time or before.
    pub until: Time,
    /// Of this shard; none = of all.
    pub shard: Option<u32>,
    /// At most so many.
    pub limit: u32,
}

/// Which entities.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Of this kind.
    pub kind: EntityKind,
    /// Of this tenant; none = of all.
    pub tenant: Option<String>,
    /// Of this app; none = of all.
    pub app: Option<String>,
    /// Of this user; none = of all.
    pub user: Option<String>,
    /// With one of these statuses; empty = with any.
    pub statuses: Vec<u8>,
    /// Created at this time or before; none = at any time.
    pub created_until: Option<Time>,
    /// After the last of the former page.
    pub after: Option<Position>,
    /// At most so many.
    pub limit: u32,
}

impl ListQuery {
    /// All entities of a kind.
    #[must_use]
    pub const fn all(kind: EntityKind, limit: u32) -> Self {
        Self {
            kind,
            tenant: None,
            app: None,
            user: None,
            statuses: Vec::new(),
            created_until: None,
            after: None,
            limit,
        }
    }
}

/// A place in a listing: strictly descending by creation, then by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Creation of the last entity.
    pub created: Time,
    /// Its id.
    pub id: String,
}

/// One listed entity.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Id within its kind.
    pub id: String,
    /// By what it was found.
    pub listing: Listing,
    /// Its head.
    pub head: Vec<u8>,
}
