//! As much of JSON Schema as a deployment's configuration needs at load: type, required, properties, enum. What else a schema says is the
//! connector's to enforce.

use serde_json::Value;

/// Whether `value` satisfies `schema`.
///
/// # Errors
/// The first thing that is wrong, with its path, in words for people.
pub fn check(schema: &Value, value: &Value) -> Result<(), String> {
    check_at(schema, value, "config")
}

fn check_at(schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else {
        return Ok(());
    };
    if let Some(expected) = schema.get("type").and_then(Value::as_str)
        && !is_a(value, expected)
    {
        return Err(format!("`{path}` must be {expected}"));
    }
    if let Some(options) = schema.get("enum").and_then(Value::as_array)
        && !options.contains(value)
    {
        return Err(format!("`{path}` must be one of {}", Value::from(options.clone())));
    }
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if value.get(name).is_none() {
            return Err(format!("`{path}.{name}` is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, schema) in properties.into_iter().flatten() {
        if let Some(value) = value.get(name) {
            check_at(schema, value, &format!("{path}.{name}"))?;
        }
    }
    if schema.get("additionalProperties") == Some(&Value::Bool(false))
        && let Some(object) = value.as_object()
        && let Some(name) = object
            .keys()
            .find(|name| properties.is_none_or(|known| !known.contains_key(*name)))
    {
        return Err(format!("`{path}.{name}` is not a key of this connector"));
    }
    Ok(())
}

fn is_a(value: &Value, expected: &str) -> bool {
    match expected {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_named() {
        let schema = json!({
            "type": "object", "required": ["base_url"], "additionalProperties": false,
            "properties": {"base_url": {"type": "string"}, "mode": {"enum": ["live", "test"]}}
        });
        let problem = |value| check(&schema, &value).err().unwrap_or_default();
        assert_eq!(problem(json!({"base_url": "http://x", "mode": "live"})), "");
        assert_eq!(problem(json!([])), "`config` must be object");
        assert_eq!(problem(json!({})), "`config.base_url` is missing");
        assert_eq!(problem(json!({"base_url": 1})), "`config.base_url` must be string");
        assert_eq!(
            problem(json!({"base_url": "", "mode": "x"})),
            r#"`config.mode` must be one of ["live","test"]"#
        );
        assert_eq!(
            problem(json!({"base_url": "", "url": ""})),
            "`config.url` is not a key of this connector"
        );
        assert_eq!(check(&Value::Null, &json!({})), Ok(()));
    }
}
