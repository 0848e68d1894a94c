//! A decision: one answer of a model, recorded before anybody acts on it, handed back on replay.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::time::Time;

/// One recorded answer of a model. The first write on (run, index) wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Position among the run's decisions.
    pub index: i64,
    /// Seq of its journal entry.
    pub seq: i64,
    /// Name of the model.
    pub model: String,
    /// What the model was asked, as JSON.
    pub request_json: String,
    /// What it answered, as JSON.
    pub response_json: String,
    /// Why, in the agent's words.
    pub rationale: String,
    /// Version of the policy under which it was taken.
    pub policy_version: String,
    /// When it was recorded.
    pub at: Time,
    /// SHA-256 of the request, once compaction has dropped the request itself.
    #[serde(default)]
    pub dropped_request: Option<[u8; 32]>,
}

impl Decision {
    /// SHA-256 of the recorded request: what tells a driver that it is about to ask something else.
    #[must_use]
    pub fn request_hash(&self) -> [u8; 32] {
        self.dropped_request.unwrap_or_else(|| request_hash(&self.request_json))
    }

    /// Whether `other` says the same, apart from when and where it was recorded.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        self.response_json == other.response_json
            && self.model == other.model
            && (self.request_json == other.request_json || self.request_hash() == other.request_hash())
    }

    /// The hash of the request as text, for messages.
    #[must_use]
    pub fn request_hash_hex(&self) -> String {
        HEXLOWER.encode(&self.request_hash())
    }
}

/// SHA-256 over the bytes of a request.
#[must_use]
pub fn request_hash(request_json: &str) -> [u8; 32] {
    Sha256::digest(request_json.as_bytes()).into()
}
