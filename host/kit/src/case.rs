//! One case: what is asked, what the upstream does meanwhile, and what must come of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fake::{Fault, Route};

/// A case as it stands in `cases/*.yaml`: a list of these per file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A fact, as a sentence.
    pub case: String,
    /// Laid over the effect of `upstream.yaml`; null takes a key away.
    #[serde(default)]
    pub effect: Value,
    /// Laid over the configuration of `upstream.yaml`.
    #[serde(default)]
    pub config: Value,
    /// The requests that must come, in this order, and what is answered. Without it the model of `upstream.yaml` answers.
    #[serde(default)]
    pub upstream: Option<Vec<Route>>,
    /// What is in the books at the beginning: book to entries.
    #[serde(default)]
    pub books: BTreeMap<String, Vec<Value>>,
    /// What is asked, one after the other.
    pub steps: Vec<Step>,
}

/// One question.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Which one.
    pub call: Call,
    /// What goes wrong with the first request that could change something.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// For `status-check`: default is the last receipt's reference, else the idempotency key.
    #[serde(default)]
    pub reference: Option<String>,
    /// For `compensate`: the receipt's external reference. Default is the last receipt of this case; empty means none.
    #[serde(default)]
    pub receipt: Option<String>,
    /// What must come of it: `outcome`, and whatever else of the answer matters. `{}` in a text stands for any text.
    pub expect: Value,
    /// The requests that the upstream must have seen in this step: `POST /wires`.
    #[serde(default)]
    pub requests: Option<Vec<String>>,
}

/// The four questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Do it.
    Dispatch,
    /// Did this very request commit?
    StatusCheck,
    /// What do the books say?
    Observe,
    /// Undo it.
    Compensate,
}
