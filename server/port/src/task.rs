//! What a claim gives to do: everything that a reactor needs to know, so that it asks nothing more.

use tape_connector_port::{EffectCall, ObligationCall};
use tape_core::timer::{KIND_GATE_TIMEOUT, KIND_RECONCILE, KIND_REDRIVE};
use tape_core::{EffectKey, RunId, RunIdentity, Time};

/// Wake the run's app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryTask {
    /// Run.
    pub run: RunId,
    /// Whose it is.
    pub identity: RunIdentity,
    /// What it was started with, as JSON.
    pub input_json: String,
    /// Nobody has driven it yet.
    pub new: bool,
    /// How many times its app was woken since somebody last took the lease, this time included.
    pub tries: u32,
}

/// Dispatch an effect, at most once. The attempt is counted already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchTask {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Connector that dispatches it.
    pub connector: String,
    /// The effect as a connector sees it.
    pub call: EffectCall,
    /// The attempt: also the fence of the claim.
    pub attempt: u32,
}

/// Find out about an effect in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckTask {
    /// Run.
    pub run: RunId,
    /// Effect.
    pub key: EffectKey,
    /// Connector that can be asked; empty = none.
    pub connector: String,
    /// The version that dispatched it, if that is known.
    pub version: Option<String>,
    /// `module:attr` of an SDK function that can be asked; empty = none.
    pub function: String,
    /// What the upstream called it; empty = it never said.
    pub external_ref: String,
    /// The effect as a connector sees it.
    pub call: EffectCall,
}

/// Undo an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompensationTask {
    /// Run.
    pub run: RunId,
    /// Obligation.
    pub seq: i64,
    /// `module:attr` of the SDK function that undoes it; empty = a connector does.
    pub function: String,
    /// The connector that undoes it, unless a function does.
    pub connector: String,
    /// The version that dispatched the effect, if that is known.
    pub version: Option<String>,
    /// The obligation as a connector sees it.
    pub call: ObligationCall,
    /// An earlier attempt may have undone it without an answer: ask before it is repeated.
    pub in_doubt: bool,
}

/// Act on a timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerTask {
    /// Run.
    pub run: RunId,
    /// Name, unique within the run.
    pub id: String,
    /// `gate_timeout`, `redrive`, `reconcile`, or the user's own.
    pub kind: String,
    /// Payload, as JSON.
    pub payload_json: String,
    /// When it was to fire.
    pub fire_at: Time,
}

impl TimerTask {
    /// Whether marking it fired is all there is to do: the server acts in the same commit.
    #[must_use]
    pub fn built_in(&self) -> bool {
        [KIND_GATE_TIMEOUT, KIND_REDRIVE, KIND_RECONCILE].contains(&self.kind.as_str())
    }
}
