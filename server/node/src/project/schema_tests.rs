//! The published JSON Schema knows the keys that the parser knows, and no others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const SCHEMA: &str = include_str!("../../../../docs/tape.schema.json");
/// Nothing is near it: the parser then lists all keys that it knows.
const UNKNOWN: &str = "zzzzzzzzzzzzzzzzzzzz";

/// Every closed section of the schema: its path and its keys.
fn sections(schema: &Value, node: &Value, path: &[String], found: &mut Vec<(Vec<String>, BTreeSet<String>)>) {
    let node = match node["$ref"].as_str() {
        Some(reference) => schema.pointer(reference.trim_start_matches('#')).expect("a definition"),
        None => node,
    };
    let below = |name: &str| [path, &[name.to_owned()]].concat();
    let properties = node["properties"].as_object();
    if node["additionalProperties"] == json!(false) {
        let keys = properties.expect("its keys").keys().cloned().collect();
        found.push((path.to_vec(), keys));
    }
    for (name, inner) in properties.into_iter().flatten() {
        sections(schema, inner, &below(name), found);
    }
    if node["additionalProperties"].is_object() {
        sections(schema, &node["additionalProperties"], &below("one"), found);
    }
}

/// A project with an unknown key at `path`, and what is needed on the way there.
fn with_unknown(path: &[String]) -> String {
    let mut project = json!({ "apiVersion": "tape.dev/v1", "kind": "TapeProject", "project": { "name": "p" } });
    let mut place = &mut project;
    let mut with_source = false;
    for name in path {
        place = &mut place[name];
        if place.is_null() {
            *place = json!({});
        }
        // Only a connector has a source, and needs it; the other names are those of its secrets.
        if name == "one" && path[1] == "connectors" && !with_source {
            place["source"] = json!("bank.wasm");
            with_source = true;
        }
    }
    place[UNKNOWN] = json!(1);
    project.to_string()
}

#[test]
fn the_schema_and_the_parser_know_the_same_keys() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut found = Vec::new();
    sections(&schema, &schema, &[], &mut found);
    assert!(found.len() >= 14, "{found:?}");
    for (path, keys) in found {
        let error = Project::parse(&with_unknown(&path), Path::new("/p"), &|_| None).unwrap_err();
        let said = error.to_string();
        let (_, listed) = said
            .split_once("Known here: ")
            .unwrap_or_else(|| panic!("{path:?}: {said}"));
        let listed: BTreeSet<String> = listed.trim_end_matches('.').split(", ").map(str::to_owned).collect();
        assert_eq!(listed, keys, "{path:?}");
    }
}
