//! What is asked of the API.

use serde::Deserialize;
use serde_json::json;
use tape_guest::{Effect, Failure, Request, config, invalid, payload, segment};

#[derive(Deserialize)]
struct Config {
    base_url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    title: String,
}

/// The request that does it. It carries something by which the API's own books can be searched.
pub fn create(effect: &Effect) -> Result<Request, Failure> {
    if effect.operation != "create" {
        let message = format!("there is no operation `{}`, only `create`", effect.operation);
        return Err(invalid("unknown-operation", message));
    }
    let Item { title } = payload(&effect.payload)?;
    Ok(authorized(Request::post(url("/items")?)).json(&json!({"title": title, "reference": reference(effect)})))
}

/// The question which items carry the effect's reference.
pub fn lookup(effect: &Effect) -> Result<Request, Failure> {
    Ok(authorized(Request::get(url("/items")?)).query("reference", reference(effect)))
}

pub fn delete(id: &str) -> Result<Request, Failure> {
    Ok(authorized(Request::delete(url(&format!("/items/{}", segment(id)))?)))
}

fn reference(effect: &Effect) -> &str {
    effect.business_key.as_deref().unwrap_or(&effect.idempotency_key)
}

/// A secret is named, never held: the host puts its value in on the way out.
fn authorized(request: Request) -> Request {
    request.header("authorization", "Bearer {{secret:api-token}}")
}

fn url(path: &str) -> Result<String, Failure> {
    let Config { base_url } = config()?;
    Ok(format!("{}{path}", base_url.trim_end_matches('/')))
}
