//! `cases/upstream.yaml`: what every case has in common, and a model of the upstream.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::fake::Route;

/// The surroundings of a connector in its tests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The configuration. `{{upstream}}` stands for the fake upstream's origin, `http://127.0.0.1:PORT`.
    #[serde(default)]
    pub config: Value,
    /// Secrets and their values, which travel to the fake upstream alone.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Paths at which even POST only reads; granted as such.
    #[serde(default)]
    pub read_only_paths: Vec<String>,
    /// The effect that the facts are tried on, and that every case begins with.
    pub effect: EffectSpec,
    /// How it is undone.
    #[serde(default)]
    pub obligation: ObligationSpec,
    /// What a status comes to where this connector rightly differs from the rule: `{409: confirmed}`.
    #[serde(default)]
    pub statuses: BTreeMap<u16, String>,
    /// The upstream: what it answers, and what it writes into its books. Empty for a connector that needs none.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// The part of an effect that matters to a connector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EffectSpec {
    /// Which operation.
    pub operation: String,
    /// Its payload.
    #[serde(default)]
    pub payload: Value,
    /// What the upstream's books know it by.
    #[serde(default)]
    pub business_key: Option<String>,
    /// Default `r-1/d-0/tool/0`.
    #[serde(default = "default_key")]
    pub idempotency_key: String,
    /// Default 1.
    #[serde(default = "first")]
    pub attempt: u32,
}

/// The part of an obligation that matters to a connector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObligationSpec {
    /// How, in the connector's words.
    pub kind: String,
    /// What it needs beyond the receipt.
    pub payload: Value,
}

fn default_key() -> String {
    "r-1/d-0/tool/0".to_owned()
}

const fn first() -> u32 {
    1
}
