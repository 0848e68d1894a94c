//! Filling in templates, and building requests of them.

use serde_json::{Map, Value, json};
use tape_guest::{Effect, Failure, Obligation, Request, invalid, payload, segment};

use crate::config::{Config, RequestTemplate};

/// What the holes of a template see.
pub fn scope(effect: &Effect) -> Result<Value, Failure> {
    let payload: Value = payload(&effect.payload)?;
    Ok(json!({
        "payload": payload, "idempotency_key": effect.idempotency_key, "business_key": effect.business_key,
        "run_id": effect.run_id, "tenant": effect.tenant, "app": effect.app, "attempt": effect.attempt,
    }))
}

/// The same for a compensation.
pub fn obligation_scope(obligation: &Obligation) -> Result<Value, Failure> {
    let mut scope = scope(&obligation.effect)?;
    scope["idempotency_key"] = obligation.idempotency_key.as_str().into();
    scope["obligation"] = payload(&obligation.payload)?;
    if let Some(receipt) = &obligation.receipt {
        let response: Value = serde_json::from_str(&receipt.response).unwrap_or_default();
        scope["receipt"] = json!({"external_ref": receipt.external_ref, "response": response});
    }
    Ok(scope)
}

/// The request of `template`.
///
/// # Errors
/// A failure that names the hole for which there is nothing.
pub fn request(config: &Config, template: &RequestTemplate, scope: &Value) -> Result<Request, Failure> {
    let path = text(&template.path, scope, &segment)?;
    let url = format!("{}{path}", config.base_url.trim_end_matches('/'));
    let mut request = Request::new(&template.method, url);
    for (name, value) in &template.query {
        request = request.query(name, &text(value, scope, &plain)?);
    }
    for (name, value) in config.headers.iter().chain(&template.headers) {
        request = request.header(name, text(value, scope, &plain)?);
    }
    if let Some(body) = &template.json {
        request = request.json(&value(body, scope)?);
    }
    if let Some(form) = &template.form {
        let fields: Vec<(String, String)> = form
            .iter()
            .map(|(name, value)| Ok((name.clone(), text(value, scope, &plain)?)))
            .collect::<Result<_, Failure>>()?;
        request = request.form(fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    }
    request.timeout_ms = template.timeout_ms;
    Ok(request)
}

/// `template` with its holes filled in. A key whose value is a hole for which there is null is left out.
pub fn value(template: &Value, scope: &Value) -> Result<Value, Failure> {
    Ok(match template {
        Value::String(text_of) => match hole(text_of) {
            Some(name) => look(name, scope)?,
            None => Value::String(text(text_of, scope, &plain)?),
        },
        Value::Array(items) => Value::Array(items.iter().map(|item| value(item, scope)).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let mut filled = Map::new();
            for (name, template) in fields {
                let value = value(template, scope)?;
                if !value.is_null() || template.is_null() {
                    filled.insert(name.clone(), value);
                }
            }
            Value::Object(filled)
        }
        other => other.clone(),
    })
}

/// The text with its holes filled in, each through `encode`. Secrets stay names: the host fills them in.
fn text(template: &str, scope: &Value, encode: &dyn Fn(&str) -> String) -> Result<String, Failure> {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            break;
        };
        filled.push_str(before);
        if name.starts_with("secret:") {
            filled.push_str(&format!("{{{{{name}}}}}"));
        } else {
            match look(name, scope)? {
                Value::Null => return Err(nothing(name)),
                Value::String(value) => filled.push_str(&encode(&value)),
                value => filled.push_str(&encode(&value.to_string())),
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The name of the hole that the text is alone.
fn hole(text: &str) -> Option<&str> {
    let name = text.strip_prefix("{{")?.strip_suffix("}}")?;
    (!name.contains("{{") && !name.starts_with("secret:")).then_some(name)
}

/// `name?` may be missing; anything else may not.
fn look(name: &str, scope: &Value) -> Result<Value, Failure> {
    let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
    match scope.pointer(&format!("/{name}")) {
        Some(Value::Null) | None if !optional => Err(nothing(name)),
        found => Ok(found.cloned().unwrap_or_default()),
    }
}

fn nothing(name: &str) -> Failure {
    let code = if name.starts_with("payload") {
        "bad-payload"
    } else {
        "nothing-to-fill-in"
    };
    invalid(
        code,
        format!(
            "the template names `{name}`, and there is none; write {{{{{name}?}}}} if it may be missing from a JSON body"
        ),
    )
}

fn plain(text: &str) -> String {
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tape_guest::testing::effect;

    fn template(json: Value) -> RequestTemplate {
        serde_json::from_value(json).unwrap()
    }

    fn config() -> Config {
        serde_json::from_value(json!({
            "base_url": "https://api.example.com/v1/", "headers": {"authorization": "Bearer {{secret:token}}"},
            "operations": {}
        }))
        .unwrap()
    }

    #[test]
    fn every_part_of_a_request_is_filled_in() {
        let scope = scope(&effect("make", &json!({"who": "a/b", "n": 3}))).unwrap();
        let template = template(json!({
            "method": "POST", "path": "/people/{{payload/who}}/x", "query": {"q": "{{payload/who}}"},
            "headers": {"idempotency-key": "{{idempotency_key}}"},
            "json": {"n": "{{payload/n}}", "memo": "{{payload/memo?}}", "text": "for {{payload/who}}"}
        }));
        let request = request(&config(), &template, &scope).unwrap();
        assert_eq!(request.url, "https://api.example.com/v1/people/a%2Fb/x?q=a%2Fb");
        assert_eq!(request.headers[0].1, "Bearer {{secret:token}}");
        assert_eq!(request.headers[1].1, "r-1/d-0/tool/0");
        assert_eq!(request.body.unwrap(), br#"{"n":3,"text":"for a/b"}"#);
    }

    #[test]
    fn a_hole_without_a_value_is_named() {
        let scope = scope(&effect("make", &json!({}))).unwrap();
        let template = template(json!({"method": "GET", "path": "/{{payload/who}}"}));
        let failure = request(&config(), &template, &scope).unwrap_err();
        assert!(
            failure.code == "bad-payload" && failure.message.contains("`payload/who`"),
            "{failure:?}"
        );
    }
}
