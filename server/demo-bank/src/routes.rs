//! The bank's HTTP surface.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::ledger::{Ledger, NextAnswer, Order, Refusal, Wire};

/// Marks a response whose connection is to be closed instead.
#[derive(Debug, Clone, Copy)]
pub struct Lost;

type Bank = Arc<Mutex<Ledger>>;

pub fn router() -> Router {
    Router::new()
        .route("/wires", post(book).get(list))
        .route("/wires/{id}/reverse", post(reverse))
        .route("/control", post(control))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(Bank::default())
}

async fn book(State(bank): State<Bank>, order: Result<Json<Order>, JsonRejection>) -> Result<Response, Refusal> {
    let Json(order) = order?;
    let (wire, next_answer) = lock(&bank).book(order)?;
    let mut response = (StatusCode::CREATED, Json(wire)).into_response();
    match next_answer {
        NextAnswer::Give => {}
        NextAnswer::Lose => {
            response.extensions_mut().insert(Lost);
        }
        NextAnswer::Hold { hold_ms } => tokio::time::sleep(Duration::from_millis(hold_ms)).await,
    }
    Ok(response)
}

#[derive(Deserialize)]
struct Filter {
    reference: Option<String>,
}

#[derive(Serialize)]
struct Wires {
    wires: Vec<Wire>,
}

async fn list(State(bank): State<Bank>, Query(filter): Query<Filter>) -> Json<Wires> {
    Json(Wires {
        wires: lock(&bank).wires(filter.reference.as_deref()),
    })
}

async fn reverse(State(bank): State<Bank>, Path(id): Path<String>) -> Result<Json<Wire>, Refusal> {
    lock(&bank).reverse(&id).map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    next_answer: Fault,
    #[serde(default)]
    hold_ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fault {
    Give,
    Lose,
    Hold,
}

async fn control(
    State(bank): State<Bank>,
    control: Result<Json<Control>, JsonRejection>,
) -> Result<StatusCode, Refusal> {
    let Json(Control { next_answer, hold_ms }) = control?;
    lock(&bank).set_next_answer(match next_answer {
        Fault::Give => NextAnswer::Give,
        Fault::Lose => NextAnswer::Lose,
        Fault::Hold => NextAnswer::Hold { hold_ms },
    });
    Ok(StatusCode::NO_CONTENT)
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self {
            status: 400,
            code: "bad-request",
            message: rejection.body_text(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: Error,
        }
        #[derive(Serialize)]
        struct Error {
            code: &'static str,
            message: String,
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (
            status,
            Json(Body {
                error: Error {
                    code: self.code,
                    message: self.message,
                },
            }),
        )
            .into_response()
    }
}

/// A poisoned lock is taken as it is: every change of the ledger is a single push or assignment.
fn lock(bank: &Bank) -> MutexGuard<'_, Ledger> {
    bank.lock().unwrap_or_else(PoisonError::into_inner)
}
