//! `/healthz`: the process lives. `/readyz`: the store answers. `/metrics`: for Prometheus.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tape_api::{Verify, bearer};
use tape_engine::Engine;

use crate::telemetry;

/// A store that takes longer than this does not answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// The routes. Probes are open; the metrics are for whoever has a token, where the server asks for one.
pub(crate) fn router(engine: Arc<Engine>, verify: Option<Arc<dyn Verify>>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/readyz", get(ready))
        .route("/metrics", get(move |headers| metrics(verify.clone(), headers)))
        .with_state(engine)
}

#[allow(clippy::unused_async, reason = "a handler is a future")]
async fn metrics(verify: Option<Arc<dyn Verify>>, headers: HeaderMap) -> Response {
    let known = |verify: &Arc<dyn Verify>| bearer(&headers).is_some_and(|token| verify.verify(token).is_some());
    if verify.as_ref().is_some_and(|verify| !known(verify)) {
        let text = "TAPE-P001: send the header `authorization: Bearer TOKEN`\n";
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response();
    }
    match telemetry::prometheus_text() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(problem) => (StatusCode::INTERNAL_SERVER_ERROR, problem).into_response(),
    }
}

async fn ready(State(engine): State<Arc<Engine>>) -> (StatusCode, Json<Value>) {
    let problem = match tokio::time::timeout(READY_TIMEOUT, engine.ping()).await {
        // What is a person's to see to takes no traffic away: calls are answered as ever.
        Ok(Ok(())) => {
            let mut said = json!({ "status": "ready" });
            if let Some(concern) = engine.concern() {
                said["concern"] = concern.into();
            }
            return (StatusCode::OK, Json(said));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the store did not answer within {} s", READY_TIMEOUT.as_secs()),
    };
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(json!({ "status": "not ready", "problem": problem })),
    )
}
