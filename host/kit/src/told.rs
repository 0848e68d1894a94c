//! What a call came to, as data: one shape for all four questions, so that cases can compare it and people can read it.

use serde_json::{Value, json};
use tape_connector_port::{
    CompensateOutcome, ConnectorError, Doubt, Evidence, Failure, ObserveAnswer, Outcome, Receipt, StatusAnswer,
};

/// The outcome of one call, and what was seen on the way to it.
#[derive(Debug, Clone)]
pub struct Told {
    /// `{"outcome": "confirmed", "external_ref": ..., "response": ...}`.
    pub answer: Value,
    /// The receipt, if there is one; of a duplicate the first.
    pub receipt: Option<Receipt>,
    /// What the host saw leave.
    pub evidence: Evidence,
    /// The connector's log lines, as the host wrote them.
    pub log: String,
    /// How long the call took.
    pub took_ms: u64,
}

impl Told {
    /// `confirmed`, `failed`, `retry`, `unknown`; `committed`, `not-committed`, `in-progress`, `present`, `absent`, `duplicate`, `inconclusive`;
    /// `resolved`; `refused` if the call did not take place.
    #[must_use]
    pub fn outcome(&self) -> &str {
        self.answer["outcome"].as_str().unwrap_or_default()
    }
}

pub(crate) type Answer = (Value, Option<Receipt>);

pub(crate) fn dispatched(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Confirmed(receipt) => received("confirmed", receipt),
        Outcome::Failed(failure) => (failed(&failure), None),
        Outcome::Retry { reason, retry_after_ms } => (retry(&reason, retry_after_ms), None),
        Outcome::Unknown(doubt) => (doubtful("unknown", &doubt), None),
    }
}

pub(crate) fn compensated(outcome: CompensateOutcome) -> Answer {
    match outcome {
        CompensateOutcome::Resolved(receipt) => received("resolved", receipt),
        CompensateOutcome::Failed(failure) => (failed(&failure), None),
        CompensateOutcome::Retry { reason, retry_after_ms } => (retry(&reason, retry_after_ms), None),
        CompensateOutcome::Unknown(doubt) => (doubtful("unknown", &doubt), None),
    }
}

pub(crate) fn observed(answer: ObserveAnswer) -> Answer {
    match answer {
        ObserveAnswer::Present(receipt) => received("present", receipt),
        ObserveAnswer::Absent => (json!({"outcome": "absent"}), None),
        ObserveAnswer::Duplicate(receipts) => {
            let all: Vec<_> = receipts.iter().map(receipt_json).collect();
            (
                json!({"outcome": "duplicate", "receipts": all}),
                receipts.into_iter().next(),
            )
        }
        ObserveAnswer::Inconclusive(doubt) => (doubtful("inconclusive", &doubt), None),
    }
}

pub(crate) fn checked(answer: StatusAnswer) -> Answer {
    match answer {
        StatusAnswer::Committed(receipt) => received("committed", receipt),
        StatusAnswer::NotCommitted => (json!({"outcome": "not-committed"}), None),
        StatusAnswer::InProgress { retry_after_ms } => (
            json!({"outcome": "in-progress", "retry_after_ms": retry_after_ms}),
            None,
        ),
        StatusAnswer::Inconclusive(doubt) => (doubtful("inconclusive", &doubt), None),
    }
}

pub(crate) fn refused(error: &ConnectorError) -> Answer {
    (
        json!({"outcome": "refused", "code": error.code(), "message": error.to_string()}),
        None,
    )
}

fn received(outcome: &str, receipt: Receipt) -> Answer {
    let mut answer = receipt_json(&receipt);
    answer["outcome"] = outcome.into();
    (answer, Some(receipt))
}

fn receipt_json(receipt: &Receipt) -> Value {
    // The host lets only JSON through.
    let response: Value = serde_json::from_str(&receipt.response_json).unwrap_or_default();
    json!({"external_ref": receipt.external_ref, "response": response})
}

fn failed(failure: &Failure) -> Value {
    json!({
        "outcome": "failed", "kind": failure.kind, "code": failure.code, "message": failure.message,
        "retryable": failure.retryable, "retry_after_ms": failure.retry_after_ms,
    })
}

fn retry(reason: &str, retry_after_ms: Option<u64>) -> Value {
    json!({"outcome": "retry", "reason": reason, "retry_after_ms": retry_after_ms})
}

fn doubtful(outcome: &str, doubt: &Doubt) -> Value {
    json!({"outcome": outcome, "reason": doubt.reason, "sent": doubt.sent, "hint": doubt.hint})
}
