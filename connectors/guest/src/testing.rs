//! For native tests of a connector's pure parts: effects and answers as they come.

use crate::{Effect, Response};

/// The first attempt at an effect, with business key `inv-7` and idempotency key `r-1/d-0/tool/0`.
#[must_use]
pub fn effect(operation: &str, payload: &serde_json::Value) -> Effect {
    Effect {
        tenant: "default".to_owned(),
        app: "app".to_owned(),
        run_id: "r-1".to_owned(),
        idempotency_key: "r-1/d-0/tool/0".to_owned(),
        decision_index: 0,
        tool: "tool".to_owned(),
        operation: operation.to_owned(),
        business_key: Some("inv-7".to_owned()),
        attempt: 1,
        payload: payload.to_string(),
        deadline_ms: 0,
        trace_parent: None,
        context: Vec::new(),
    }
}

/// An upstream's answer in JSON.
#[must_use]
pub fn response(status: u16, body: &serde_json::Value) -> Response {
    Response {
        status,
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_string().into_bytes(),
    }
}
