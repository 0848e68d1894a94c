//! The configuration: which operations there are, and how each one is asked, read, looked up and undone.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Templates see `{{payload/POINTER}}`, `{{idempotency_key}}`, `{{business_key}}`, `{{run_id}}`, `{{tenant}}`, `{{app}}`, `{{attempt}}`; a
/// status check `{{reference}}`; a compensation `{{receipt/external_ref}}`, `{{receipt/response/POINTER}}`, `{{obligation/POINTER}}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Origin, and a path that all requests begin with: `https://api.example.com/v1`.
    pub base_url: String,
    /// Headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub operations: BTreeMap<String, Operation>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    #[serde(default)]
    pub summary: String,
    /// `NON_IDEMPOTENT` unless the API deduplicates by something that the request carries.
    #[serde(default = "non_idempotent")]
    pub semantics: String,
    /// JSON Schema of the payload, for people and editors.
    #[serde(default)]
    pub payload_schema: Value,
    pub request: RequestTemplate,
    #[serde(default)]
    pub success: Success,
    #[serde(default)]
    pub failure: Failing,
    pub observe: Option<Observe>,
    pub status_check: Option<StatusCheck>,
    pub compensate: Option<Compensate>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestTemplate {
    pub method: String,
    /// Below `base_url`. What is filled in is encoded.
    pub path: String,
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A JSON body. A text that is one hole alone keeps the value's type; keys whose value is null are left out.
    pub json: Option<Value>,
    /// A form body.
    pub form: Option<BTreeMap<String, String>>,
    pub timeout_ms: Option<u32>,
}

/// When an answer means that it took hold.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Success {
    /// Empty means every status from 200 to 299.
    pub statuses: Vec<u16>,
    /// JSON pointer to the value that must be there.
    pub when: Map<String, Value>,
    /// JSON pointer to the API's own id. Without one there is no reference.
    pub external_ref: Option<String>,
    /// JSON pointer to what the agent's tool returns. Default: the whole answer.
    pub response: String,
}

/// What a refusal says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Failing {
    /// For APIs that refuse with status 200: JSON pointer to the value that means so.
    pub when: Map<String, Value>,
    /// JSON pointers into the answer.
    pub code: Option<String>,
    pub message: Option<String>,
}

/// How the API's books are asked for a business key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observe {
    pub request: RequestTemplate,
    /// JSON pointer to the list of items. Without one the answer itself is the item.
    pub items: Option<String>,
    /// JSON pointer within an item to the value that makes it ours. Templates.
    #[serde(default, rename = "where")]
    pub filter: Map<String, Value>,
    /// Statuses that mean that there is none.
    #[serde(default = "not_found")]
    pub absent_statuses: Vec<u16>,
    pub external_ref: Option<String>,
    #[serde(default)]
    pub response: String,
}

/// How the API is asked for one request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusCheck {
    pub request: RequestTemplate,
    /// Values that mean that it took hold. Empty: every 2xx answer does.
    #[serde(default)]
    pub committed: Map<String, Value>,
    /// Values that mean that it is still at it.
    #[serde(default)]
    pub in_progress: Map<String, Value>,
    /// Statuses that mean that it did not, and will not.
    #[serde(default = "not_found")]
    pub not_committed_statuses: Vec<u16>,
    pub external_ref: Option<String>,
    #[serde(default)]
    pub response: String,
}

/// How an effect is undone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compensate {
    /// Asked first, so that nothing is undone twice.
    pub look: Option<Look>,
    pub request: RequestTemplate,
    /// Statuses that mean that it is undone already, or was never there.
    #[serde(default)]
    pub done_statuses: Vec<u16>,
    #[serde(default)]
    pub success: Success,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    pub request: RequestTemplate,
    /// Values that mean that it is undone.
    pub undone: Map<String, Value>,
    /// Statuses that mean that there is nothing to undo.
    #[serde(default = "not_found")]
    pub absent_statuses: Vec<u16>,
}

fn non_idempotent() -> String {
    "NON_IDEMPOTENT".to_owned()
}

fn not_found() -> Vec<u16> {
    vec![404]
}

impl Config {
    /// The first thing in it that cannot be, by its path, with what would be right.
    pub fn problem(&self) -> Option<String> {
        if !self.base_url.starts_with("https://") && !self.base_url.starts_with("http://") {
            return Some(format!("`base_url` is {:?}: write https://HOST[/PATH]", self.base_url));
        }
        if self.operations.is_empty() {
            return Some("`operations` is empty: write NAME: {request: {method, path}}".to_owned());
        }
        self.operations
            .iter()
            .find_map(|(name, operation)| operation.problem(&format!("operations.{name}")))
    }
}

impl Operation {
    fn problem(&self, path: &str) -> Option<String> {
        if !matches!(
            self.semantics.as_str(),
            "NON_IDEMPOTENT" | "IDEMPOTENT" | "OBSERVE_ONLY"
        ) {
            return Some(format!(
                "`{path}.semantics` is {:?}: write NON_IDEMPOTENT, IDEMPOTENT or OBSERVE_ONLY",
                self.semantics
            ));
        }
        let requests = [
            ("request", Some(&self.request)),
            ("observe.request", self.observe.as_ref().map(|one| &one.request)),
            (
                "status_check.request",
                self.status_check.as_ref().map(|one| &one.request),
            ),
            ("compensate.request", self.compensate.as_ref().map(|one| &one.request)),
            (
                "compensate.look.request",
                self.compensate
                    .as_ref()
                    .and_then(|one| one.look.as_ref())
                    .map(|one| &one.request),
            ),
        ];
        for (key, request) in requests {
            if let Some(problem) = request.and_then(|request| request.problem(&format!("{path}.{key}"))) {
                return Some(problem);
            }
        }
        self.bad_pointer(path)
    }

    fn bad_pointer(&self, path: &str) -> Option<String> {
        let observe = self.observe.as_ref();
        let pointers = [
            ("success.external_ref", self.success.external_ref.as_deref()),
            ("success.response", Some(self.success.response.as_str())),
            ("failure.code", self.failure.code.as_deref()),
            ("failure.message", self.failure.message.as_deref()),
            ("observe.items", observe.and_then(|one| one.items.as_deref())),
            (
                "observe.external_ref",
                observe.and_then(|one| one.external_ref.as_deref()),
            ),
        ];
        pointers.into_iter().find_map(|(key, pointer)| {
            let pointer = pointer.filter(|pointer| !pointer.is_empty() && !pointer.starts_with('/'))?;
            Some(format!(
                "`{path}.{key}` is {pointer:?}: a JSON pointer begins with `/`, like \"/data/id\""
            ))
        })
    }
}

impl RequestTemplate {
    fn problem(&self, path: &str) -> Option<String> {
        if self.method.is_empty() || !self.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Some(format!(
                "`{path}.method` is {:?}: write it in upper case, like POST",
                self.method
            ));
        }
        if !self.path.starts_with('/') {
            return Some(format!("`{path}.path` is {:?}: it begins with `/`", self.path));
        }
        if self.json.is_some() && self.form.is_some() {
            return Some(format!("`{path}` has both `json` and `form`: a request has one body"));
        }
        None
    }
}
