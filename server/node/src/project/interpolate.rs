//! `${VAR}` and `${VAR:-default}` in the texts of the tree. After YAML was read, so that no value can become structure.

use serde_json::Value;

use super::Environment;
use super::section::{ProjectError, join};

/// Fills in every text under `value`, which stands at `path`.
///
/// # Errors
/// A variable that is not set and has no default, or a `${` that is not closed.
pub fn fill(value: &mut Value, path: &str, env: Environment<'_>) -> Result<(), ProjectError> {
    match value {
        Value::String(text) if text.contains("${") => *text = filled(text, path, env)?,
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                fill(item, &format!("{path}[{at}]"), env)?;
            }
        }
        Value::Object(map) => {
            for (key, item) in map.iter_mut() {
                fill(item, &join(path, key), env)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn filled(text: &str, path: &str, env: Environment<'_>) -> Result<String, ProjectError> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((inside, behind)) = after.split_once('}') else {
            return Err(ProjectError::new(
                path,
                text,
                "has a `${` without its `}`",
                "Close it: ${VAR:-default}.",
            ));
        };
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        // As in a shell, an empty variable counts as none where there is a default.
        let value = match default {
            Some(default) => env(name)
                .filter(|value| !value.is_empty())
                .unwrap_or_else(|| default.to_owned()),
            None => env(name).ok_or_else(|| {
                ProjectError::new(
                    path,
                    text,
                    format!("needs the environment variable {name}, which is not set"),
                    format!("Set it, or give a default: ${{{name}:-default}}."),
                )
            })?,
        };
        result.push_str(before);
        result.push_str(&value);
        rest = behind;
    }
    result.push_str(rest);
    Ok(result)
}
