//! A value of the reactive key-value store: a key whose every version can be watched.
//!
//! The head is the newest version; each version is also kept as a row of its own, so that a watcher reads what it missed
//! from the store, and nobody has to wait for it. The history is bounded: the newest [`VERSIONS_KEPT`] versions can be
//! watched. One more is kept, because it is what the oldest of them replaced.

use serde::{Deserialize, Serialize};

use crate::entity::{EntityId, EntityKind};
use crate::refusal::{Refusal, Status};
use crate::time::Time;

/// So many versions of a key can be watched; older ones are gone.
pub const VERSIONS_KEPT: u64 = 1_000;

/// Names one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ValueName {
    /// Tenant.
    pub tenant: String,
    /// Namespace; may be empty.
    pub namespace: String,
    /// Key within it.
    pub key: String,
}

/// One version of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Which value.
    pub name: ValueName,
    /// 1, 2, 3 ...: one per write and deletion.
    pub version: u64,
    /// The value as JSON; empty for a deletion.
    pub json: String,
    /// When it was written.
    pub at: Time,
    /// Whoever the writer said it was.
    pub writer: String,
    /// Whether this version is a deletion.
    pub deleted: bool,
}

impl ValueName {
    /// The value's entity.
    #[must_use]
    pub fn entity(&self) -> EntityId {
        EntityId::named(EntityKind::Value, &[&self.tenant, &self.namespace, &self.key])
    }
}

impl Value {
    /// The oldest version that can be watched while this one is the newest.
    #[must_use]
    pub const fn oldest_kept(&self) -> u64 {
        self.version.saturating_sub(VERSIONS_KEPT) + 1
    }

    /// What a watcher is told who asks for `version`, which is older than everything that is kept.
    #[must_use]
    pub fn fell_behind(&self, version: u64) -> Refusal {
        let oldest = self.oldest_kept();
        Refusal::new(
            Status::DataLoss,
            "TAPE-K002",
            format!(
                "Version {version} of {:?} is gone: only the newest {VERSIONS_KEPT} versions are kept, the oldest is {oldest}.",
                self.name.key
            ),
            format!("Watch again with from_version {oldest}, or 0 for the value in force."),
        )
        .version(oldest)
    }
}
