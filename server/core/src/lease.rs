//! The lease of a driver on its run, and the fence that shuts a former driver out.
//!
//! One holder at a time. Each take-over raises the run's fence, a number that only grows; a driver that declared itself
//! `fenced` sends it with every write, so that a write which was on its way when the lease was lost is refused.

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// How long a driver's lease lasts when it does not say.
pub const RUN_LEASE_MS: i64 = 120_000;
/// How long a reactor's claim on an effect, an obligation, a timer or a task lasts when it does not say.
pub const CLAIM_MS: i64 = 60_000;

/// A driver's hold on its run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Who drives.
    pub owner: String,
    /// The number of this take-over.
    pub fence: u64,
    /// Until when nobody else may drive.
    pub expires: Time,
    /// The driver will send its fence: writes without it are refused.
    pub fenced: bool,
}

impl Lease {
    /// Whether the lease still holds.
    #[must_use]
    pub fn lives(&self, now: Time) -> bool {
        now < self.expires
    }
}

/// A reactor's hold on one row: the same idea, for work that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who works on it.
    pub owner: String,
    /// Until when nobody else may.
    pub expires: Time,
}

impl Claim {
    /// Whether the claim still holds.
    #[must_use]
    pub fn lives(&self, now: Time) -> bool {
        now < self.expires
    }
}

/// What a driver says about itself with a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// The fence it got when it took the lease; none from a plain client.
    pub fence: Option<u64>,
    /// The owner's name, if it says it.
    pub owner: Option<String>,
}
