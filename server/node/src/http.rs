//! `/healthz`: the process lives. `/readyz`: the store answers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tape_engine::Engine;

/// A store that takes longer than this does not answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/readyz", get(ready))
        .with_state(engine)
}

async fn ready(State(engine): State<Arc<Engine>>) -> (StatusCode, Json<Value>) {
    let problem = match tokio::time::timeout(READY_TIMEOUT, engine.ping()).await {
        Ok(Ok(())) => return (StatusCode::OK, Json(json!({ "status": "ready" }))),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("the store did not answer within {} s", READY_TIMEOUT.as_secs()),
    };
    (
        StatusCode::SERVICE_UNAVAILABLE,
        Json(json!({ "status": "not ready", "problem": problem })),
    )
}
