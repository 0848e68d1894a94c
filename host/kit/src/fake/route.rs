//! One thing that the upstream answers, and what it does to its books.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fault::Fault;
use super::wire::Received;
use crate::shape::{Caught, catch, covers};

/// A request matcher, what happens, and the reply. Templates see `{{path/NAME}}` (what `{NAME}` in `on` caught), `{{query/NAME}}`,
/// `{{header/NAME}}`, `{{body/POINTER}}`, `{{n}}` (the new entry's number), `{{entry/POINTER}}`, `{{entries}}`, `{{count}}` and `{{upstream}}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `METHOD /path?name=value`: `{name}` in path and values stands for any text; other query parameters are ignored.
    pub on: String,
    /// Headers that must be there, as patterns. Names in lower case.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// What the body must hold at least: JSON, or a form as an object of texts.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// The book that `adds`, `finds`, `changes` and `removes` speak of.
    #[serde(default = "entries", skip_serializing_if = "is_entries")]
    pub book: String,
    /// The entry that is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adds: Option<Value>,
    /// The upstream deduplicates by this: a second request with the same text adds nothing and finds the first entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once_by: Option<String>,
    /// The entries that are meant: JSON pointer to value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finds: Option<Map<String, Value>>,
    /// Laid over every entry found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Value>,
    /// Takes every entry found away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removes: bool,
    /// The answer.
    #[serde(default)]
    pub reply: Reply,
    /// The answer if `finds` finds nothing. Default: `reply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<Reply>,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reply {
    /// Default 200.
    pub status: u16,
    /// Beyond content-type and content-length.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A JSON body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Any other body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What goes wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

impl Route {
    /// What the holes of `on` caught, or why this route does not answer that request.
    pub(crate) fn matches(&self, request: &Received) -> Result<Caught, String> {
        let mut caught = Caught::new();
        let (method, target) = self.on.split_once(' ').unwrap_or(("GET", &self.on));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let other = || format!("expected {}", self.on);
        if method != request.method || !catch(path, &request.path, &mut caught) {
            return Err(other());
        }
        for (name, pattern) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = request.query.get(name).ok_or_else(other)?;
            if !catch(pattern, value, &mut caught) {
                return Err(other());
            }
        }
        for (name, pattern) in &self.headers {
            let value = request.headers.get(name).map_or("", String::as_str);
            if !catch(pattern, value, &mut Caught::new()) {
                return Err(format!("header {name} is {value:?}, expected {pattern:?}"));
            }
        }
        if !self.body.is_null() {
            covers(&self.body, &request.body, "body")?;
        }
        Ok(caught)
    }
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            status: 200,
            headers: BTreeMap::new(),
            json: None,
            text: None,
            fault: None,
        }
    }
}

fn entries() -> String {
    "entries".to_owned()
}

fn is_entries(book: &str) -> bool {
    book == "entries"
}
