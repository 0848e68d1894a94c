//! Texts with holes, in both directions: `{name}` in a pattern catches, `{{name}}` in a template fills in.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What the holes of a pattern caught.
pub(crate) type Caught = BTreeMap<String, String>;

/// Whether `text` has the shape of `pattern`, in which `{name}` stands for any text, the shortest that fits.
pub(crate) fn catch(pattern: &str, text: &str, caught: &mut Caught) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else {
        return pattern == text;
    };
    let Some((name, after)) = rest.split_once('}') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(before) else {
        return false;
    };
    for (at, _) in text.char_indices().chain([(text.len(), ' ')]) {
        let mut inner = Caught::new();
        if catch(after, &text[at..], &mut inner) {
            caught.insert(name.to_owned(), text[..at].to_owned());
            caught.append(&mut inner);
            return true;
        }
    }
    false
}

/// Whether `actual` holds everything that `expected` names; strings in `expected` are patterns. The first difference, with its path, if not.
pub(crate) fn covers(expected: &Value, actual: &Value, path: &str) -> Result<(), String> {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, expected) in expected {
                let path = format!("{path}.{key}");
                let Some(actual) = actual.get(key) else {
                    return Err(format!("{path} is missing"));
                };
                covers(expected, actual, &path)?;
            }
            Ok(())
        }
        (Value::Array(expected), Value::Array(actual)) => {
            if expected.len() != actual.len() {
                return Err(format!(
                    "{path} has {} items, expected {}",
                    actual.len(),
                    expected.len()
                ));
            }
            for (at, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                covers(expected, actual, &format!("{path}[{at}]"))?;
            }
            Ok(())
        }
        (Value::String(pattern), Value::String(text)) if catch(pattern, text, &mut Caught::new()) => Ok(()),
        _ if expected == actual => Ok(()),
        _ => Err(format!("{path} is {actual}, expected {expected}")),
    }
}

/// `template` with every `{{pointer}}` replaced by what `scope` has there: a text that is one hole alone becomes the value itself, whatever
/// its type. What is not there is null, or nothing inside a longer text.
pub(crate) fn fill(template: &Value, scope: &Value) -> Value {
    match template {
        Value::String(text) => fill_text(text, scope),
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, scope)).collect()),
        Value::Object(fields) => {
            let filled = fields
                .iter()
                .map(|(key, value)| (as_text(&fill_text(key, scope)), fill(value, scope)));
            Value::Object(filled.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// The same for a text that stays one.
pub(crate) fn fill_string(template: &str, scope: &Value) -> String {
    as_text(&fill_text(template, scope))
}

/// `config` with the upstream's origin put in. A configuration's other holes are the connector's own.
pub(crate) fn with_upstream(config: &Value, origin: &str) -> Value {
    match config {
        Value::String(text) => Value::String(text.replace("{{upstream}}", origin)),
        Value::Array(items) => Value::Array(items.iter().map(|item| with_upstream(item, origin)).collect()),
        Value::Object(fields) => {
            let filled = fields
                .iter()
                .map(|(key, value)| (key.clone(), with_upstream(value, origin)));
            Value::Object(filled.collect())
        }
        other => other.clone(),
    }
}

fn fill_text(text: &str, scope: &Value) -> Value {
    let look = |name: &str| scope.pointer(&format!("/{name}")).cloned().unwrap_or_default();
    if let Some(name) = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"))
        && !name.contains("{{")
        && !name.starts_with("secret:")
    {
        return look(name);
    }
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        filled.push_str(before);
        // A secret's name is the host's to fill in.
        if name.starts_with("secret:") {
            filled.push_str(&format!("{{{{{name}}}}}"));
        } else {
            filled.push_str(&as_text(&look(name)));
        }
        rest = after;
    }
    filled.push_str(rest);
    Value::String(filled)
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `over` laid over `base`: objects key by key, everything else replaced; null takes a key away.
pub(crate) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pattern_catches_what_is_in_its_holes() {
        let mut caught = Caught::new();
        assert!(catch("/v1/{kind}/{id}:undo", "/v1/wires/w-1:undo", &mut caught));
        assert_eq!((caught["kind"].as_str(), caught["id"].as_str()), ("wires", "w-1"));
        assert!(catch(
            "metadata['key']:'{key}'",
            "metadata['key']:'a b'",
            &mut Caught::new()
        ));
        assert!(!catch("/v1/{id}/x", "/v1/a/y", &mut Caught::new()));
        assert!(catch("{}grün{}", "immer grün, ja", &mut Caught::new()));
    }

    #[test]
    fn a_template_keeps_the_type_of_what_stands_alone() {
        let scope = json!({"body": {"n": 2, "who": "ann"}, "entries": [1]});
        let template = json!({"n": "{{body/n}}", "text": "n={{body/n}} {{body/who}}{{nobody}}", "all": "{{entries}}", "s": "{{secret:x}}"});
        assert_eq!(
            fill(&template, &scope),
            json!({"n": 2, "text": "n=2 ann", "all": [1], "s": "{{secret:x}}"})
        );
    }

    #[test]
    fn only_what_is_expected_is_compared() {
        let actual = json!({"outcome": "failed", "code": "no-funds", "more": {"a": [1, 2]}});
        assert_eq!(covers(&json!({"code": "no-{}"}), &actual, "it"), Ok(()));
        assert_eq!(
            covers(&json!({"more": {"a": [1, 3]}}), &actual, "it").unwrap_err(),
            "it.more.a[1] is 2, expected 3"
        );
        assert_eq!(
            covers(&json!({"kind": "x"}), &actual, "it").unwrap_err(),
            "it.kind is missing"
        );
    }

    #[test]
    fn laying_over_replaces_and_takes_away() {
        let mut base = json!({"a": {"b": 1, "c": 2}, "d": 3});
        merge(&mut base, &json!({"a": {"b": 9, "c": null}, "e": 4}));
        assert_eq!(base, json!({"a": {"b": 9}, "d": 3, "e": 4}));
    }
}
