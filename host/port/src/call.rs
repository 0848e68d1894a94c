//! What a connector is asked about: one effect, or one obligation to undo an effect.

use serde::{Deserialize, Serialize};

use crate::Receipt;

/// One attempt at one effect, as every connector sees it. The same record is given to `dispatch`, `status-check` and
/// `observe`, so that a question about an effect always carries everything that its dispatch carried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectCall {
    /// The tenant that owns the run; also selects whose connector of that name is meant.
    pub tenant: String,
    /// The agent application that the run belongs to.
    pub app: String,
    pub run_id: String,
    /// Stable over all attempts of this effect. At most 512 bytes.
    pub idempotency_key: String,
    /// The decision of the run that asked for this effect, from 0.
    pub decision_index: u64,
    /// The agent's tool, for people who read logs.
    pub tool: String,
    /// Which of the connector's operations is meant.
    pub operation: String,
    /// What the upstream's own books know this effect by, if it has such a key.
    pub business_key: Option<String>,
    /// Counts dispatches of this effect, from 1.
    pub attempt: u32,
    /// The operation's payload: JSON text, at most 4 MiB.
    pub payload_json: String,
    /// Unix milliseconds after which an answer is no longer wanted; 0 leaves the connector's own limit.
    pub deadline_ms: i64,
    /// W3C `traceparent` of the caller's span, put on every outgoing request.
    pub trace_parent: Option<String>,
    /// Whether repeating the dispatch with the same key is harmless (semantics IDEMPOTENT or OBSERVE_ONLY).
    pub idempotent: bool,
}

/// One attempt to undo an effect that took hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObligationCall {
    /// The effect to undo, as it was dispatched.
    pub effect: EffectCall,
    /// What the upstream gave for it. None if the effect was confirmed without one.
    pub receipt: Option<Receipt>,
    /// How it is to be undone, in the connector's words.
    pub kind: String,
    /// What the compensation needs to know beyond the receipt: JSON text.
    pub payload_json: String,
    /// `compensate:<the effect's key>`: stable over all attempts of this obligation.
    pub idempotency_key: String,
    /// Counts attempts at this obligation, from 1.
    pub attempt: u32,
}
