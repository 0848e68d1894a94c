//! Who a connector says it is. It asks; what it gets is the operator's to grant.

use serde::{Deserialize, Serialize};

/// What a connector answered to `describe`, as the host read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The connector's own name; a deployment may call it otherwise.
    pub name: String,
    /// The connector's version, semver.
    pub version: String,
    /// The contract it was built for: `1.0.0`.
    pub contract: String,
    /// One sentence for `tape connector list`.
    #[serde(default)]
    pub summary: String,
    pub operations: Vec<Operation>,
    #[serde(default)]
    pub supports: Supports,
    /// Whether its operations need no request at all, so that "confirmed" is believed without one.
    #[serde(default)]
    pub offline: bool,
    /// JSON Schema of its configuration, as JSON text. The host checks `type` and `required`.
    #[serde(default)]
    pub config_schema: String,
    #[serde(default)]
    pub asks: Asks,
}

/// One thing that a connector can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub name: String,
    #[serde(default)]
    pub summary: String,
    pub semantics: Semantics,
    /// JSON Schema of the operation's payload, as JSON text.
    #[serde(default)]
    pub payload_schema: String,
}

/// What the upstream makes of the same request sent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Semantics {
    /// It happens twice.
    NonIdempotent,
    /// It happens once, by the idempotency key.
    Idempotent,
    /// It changes nothing.
    ObserveOnly,
}

/// Which questions, apart from `dispatch`, the connector can answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Supports {
    pub observe: bool,
    pub status_check: bool,
    pub compensate: bool,
}

/// What the connector asks for. A request, never a grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asks {
    pub hosts: Vec<HostAsk>,
    pub secrets: Vec<SecretAsk>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAsk {
    /// `https://api.example.com`, or `config:base_url` for a host that the configuration names.
    pub host: String,
    /// Methods in upper case; empty means GET and HEAD.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    #[serde(default)]
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretAsk {
    pub name: String,
    #[serde(default)]
    pub why: String,
}

impl Description {
    /// The operation called `name`.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.name == name)
    }
}
