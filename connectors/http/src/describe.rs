//! Who this connector is: what its configuration makes of it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::config::{Config, RequestTemplate};

pub fn description(config: &Config) -> Value {
    let operations: Vec<Value> = config
        .operations
        .iter()
        .map(|(name, operation)| {
            json!({
                "name": name, "summary": operation.summary, "semantics": operation.semantics,
                "payload_schema": operation.payload_schema,
            })
        })
        .collect();
    json!({
        "name": "http",
        "version": env!("CARGO_PKG_VERSION"),
        "contract": "1.0.0",
        "summary": "Any JSON API, by configuration alone",
        "operations": operations,
        "supports": {
            "observe": config.operations.values().any(|one| one.observe.is_some()),
            "status_check": config.operations.values().any(|one| one.status_check.is_some()),
            "compensate": config.operations.values().any(|one| one.compensate.is_some()),
        },
        "config_schema": {
            "type": "object",
            "required": ["base_url", "operations"],
            "additionalProperties": false,
            "properties": {
                "base_url": {"type": "string", "description": "origin and common path of all requests"},
                "headers": {"type": "object", "description": "headers of every request; values may name secrets"},
                "operations": {"type": "object", "description": "operation to how it is asked, read, looked up and undone: see the README"}
            }
        },
        "asks": {
            "hosts": [{"host": "config:base_url", "methods": methods(config), "why": "the API"}],
            "secrets": secrets(config).iter().map(|name| json!({"name": name, "why": "named in the configuration"})).collect::<Vec<_>>()
        }
    })
}

fn requests(config: &Config) -> impl Iterator<Item = &RequestTemplate> {
    config.operations.values().flat_map(|operation| {
        let compensate = operation.compensate.as_ref();
        let requests = [
            Some(&operation.request),
            operation.observe.as_ref().map(|one| &one.request),
            operation.status_check.as_ref().map(|one| &one.request),
            compensate.map(|one| &one.request),
            compensate.and_then(|one| one.look.as_ref()).map(|one| &one.request),
        ];
        requests.into_iter().flatten()
    })
}

/// The methods by which the API is asked.
fn methods(config: &Config) -> BTreeSet<String> {
    requests(config)
        .map(|request| request.method.to_ascii_uppercase())
        .collect()
}

/// The secrets that headers, queries and bodies name.
fn secrets(config: &Config) -> Vec<String> {
    let mut texts: Vec<String> = config.headers.values().cloned().collect();
    for request in requests(config) {
        texts.extend(request.headers.values().cloned());
        texts.extend(request.form.iter().flat_map(|form| form.values().cloned()));
        texts.extend(request.json.as_ref().map(Value::to_string));
    }
    let mut names: Vec<String> = texts
        .iter()
        .flat_map(|text| text.split("{{secret:").skip(1))
        .filter_map(|rest| Some(rest.split_once("}}")?.0.to_owned()))
        .collect();
    names.sort();
    names.dedup();
    names
}
