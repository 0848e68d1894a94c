//! What the upstream remembers: books with entries, and which deduplication keys it has seen.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::route::{Reply, Route};
use super::wire::Received;
use crate::shape::{Caught, fill, fill_string, merge};

/// All books of one upstream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    books: BTreeMap<String, Vec<Value>>,
    /// Deduplication key to the entry's place.
    seen: BTreeMap<(String, String), usize>,
    /// Entries ever written, by book: numbers are not given twice.
    written: BTreeMap<String, usize>,
}

/// A reply whose templates are filled in.
pub(crate) struct Filled {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub kind: &'static str,
    pub body: String,
}

impl Books {
    pub(crate) fn with(books: BTreeMap<String, Vec<Value>>) -> Self {
        let written = books
            .iter()
            .map(|(name, entries)| (name.clone(), entries.len()))
            .collect();
        Self {
            books,
            seen: BTreeMap::new(),
            written,
        }
    }

    /// All entries, by book.
    pub(crate) fn all(&self) -> BTreeMap<String, Vec<Value>> {
        self.books
            .iter()
            .filter(|(_, entries)| !entries.is_empty())
            .map(|(name, entries)| (name.clone(), entries.clone()))
            .collect()
    }

    /// Does what `route` says, and makes its reply.
    pub(crate) fn serve(&mut self, route: &Route, request: &Received, caught: &Caught, origin: &str) -> Filled {
        let mut scope = request.scope();
        scope["path"] = json!(caught);
        scope["upstream"] = origin.into();
        let mut found = self.find(route, &scope);
        if let Some(entry) = &route.adds {
            found = vec![self.add(route, entry, &mut scope)];
        }
        let entries = self.books.entry(route.book.clone()).or_default();
        if let Some(changes) = &route.changes {
            for at in &found {
                let changes = fill(changes, &with_entry(&scope, &entries[*at], &[]));
                merge(&mut entries[*at], &changes);
            }
        }
        let shown: Vec<Value> = found.iter().map(|at| entries[*at].clone()).collect();
        if route.removes {
            // From the end, so that places stay right; deduplication still knows the key.
            for at in found.iter().rev() {
                entries[*at] = Value::Null;
            }
            entries.retain(|entry| !entry.is_null());
        }
        let reply = match &route.otherwise {
            Some(otherwise) if shown.is_empty() => otherwise,
            _ => &route.reply,
        };
        let first = shown.first().cloned().unwrap_or_default();
        filled(reply, &with_entry(&scope, &first, &shown))
    }

    fn find(&self, route: &Route, scope: &Value) -> Vec<usize> {
        let entries = self.books.get(&route.book).map_or(&[][..], Vec::as_slice);
        let wanted: Map<String, Value> = route
            .finds
            .iter()
            .flatten()
            .map(|(pointer, value)| (pointer.clone(), fill(value, scope)))
            .collect();
        let meant = |entry: &Value| {
            wanted
                .iter()
                .all(|(pointer, value)| entry.pointer(pointer) == Some(value))
        };
        (0..entries.len()).filter(|at| meant(&entries[*at])).collect()
    }

    fn add(&mut self, route: &Route, entry: &Value, scope: &mut Value) -> usize {
        let key = route
            .once_by
            .as_ref()
            .map(|key| (route.book.clone(), fill_string(key, scope)));
        if let Some(at) = key.as_ref().and_then(|key| self.seen.get(key)) {
            return *at;
        }
        let written = self.written.entry(route.book.clone()).or_default();
        *written += 1;
        scope["n"] = (*written).into();
        let entries = self.books.entry(route.book.clone()).or_default();
        entries.push(fill(entry, scope));
        let at = entries.len() - 1;
        if let Some(key) = key {
            self.seen.insert(key, at);
        }
        at
    }
}

fn with_entry(scope: &Value, entry: &Value, entries: &[Value]) -> Value {
    let mut scope = scope.clone();
    scope["entry"] = entry.clone();
    scope["entries"] = entries.into();
    scope["count"] = entries.len().into();
    scope
}

fn filled(reply: &Reply, scope: &Value) -> Filled {
    let headers = reply
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), fill_string(value, scope)));
    let (kind, body) = match (&reply.json, &reply.text) {
        (Some(json), _) => ("application/json", fill(json, scope).to_string()),
        (None, Some(text)) => ("text/plain", fill_string(text, scope)),
        (None, None) => ("", String::new()),
    };
    Filled {
        status: reply.status,
        headers: headers.collect(),
        kind,
        body,
    }
}
