//! Calling a connector by hand.

use serde_json::{Value, json};
use tape_connector_port::{
    Called, CompensateOutcome, ObligationCall, ObserveAnswer, Outcome, Receipt, StatusAnswer, Unmarked,
};
use tape_core::Refusal;
use tape_core::json::check_payload;
use tape_port::{ConnectorHost, TapeError};
use tape_proto::v1 as pb;

use super::{named, one_version};
use crate::convert::connector as convert;
use crate::services::Cx;

/// How a call by hand ended, as the wire has it.
struct Ended {
    verdict: &'static str,
    answer_json: String,
    evidence_json: String,
    version: String,
    digest: String,
}

impl Ended {
    fn of<T>(called: Called<T>, said: impl FnOnce(T) -> (&'static str, serde_json::Value)) -> Self {
        let (verdict, answer) = said(called.outcome);
        Self {
            verdict,
            answer_json: answer.to_string(),
            evidence_json: serde_json::to_string(&called.evidence).unwrap_or_default(),
            version: called.version,
            digest: called.digest,
        }
    }
}

/// One call by hand, outside any run.
pub(super) async fn call_connector(
    cx: &Cx,
    host: &dyn ConnectorHost,
    asked: pb::CallConnectorRequest,
) -> Result<pb::CallConnectorResponse, TapeError> {
    use pb::call_connector_request::Call;
    let name = named(cx, &asked.tenant_id, asked.name)?;
    // One that is not there is refused by name, and not answered by another.
    let (_, version) = one_version(cx, &name, &asked.version).await?;
    let version = (!asked.version.is_empty()).then_some(version.version.as_str());
    let mut key = String::new();
    let mut effect = |effect: Option<pb::EffectForConnector>| {
        let mut effect = effect.unwrap_or_default();
        if effect.idempotency_key.is_empty() {
            effect.idempotency_key = format!("by-hand-{}", cx.engine.fresh());
        }
        key.clone_from(&effect.idempotency_key);
        check_payload("payload_json", &effect.payload_json)?;
        Ok::<_, Refusal>(convert::call(effect, &name.tenant))
    };
    let (_, mut said) = host.tail(&name, 0);
    let (it, began) = (&cx.connectors, cx.engine.now());
    let ended = match asked.call {
        Some(Call::Dispatch(call)) => {
            let call = effect(Some(call))?;
            let called = it.dispatch(&name.name, version, &call, &Unmarked).await;
            called.map(|called| Ended::of(called, dispatched))
        }
        Some(Call::Observe(call)) => {
            let call = effect(Some(call))?;
            let called = it.observe(&name.name, version, &call).await;
            called.map(|called| Ended::of(called, observed))
        }
        Some(Call::StatusCheck(check)) => {
            let call = effect(check.effect)?;
            let reference = if check.reference.is_empty() {
                call.idempotency_key.clone()
            } else {
                check.reference
            };
            let called = it.status_check(&name.name, version, &call, &reference).await;
            called.map(|called| Ended::of(called, checked))
        }
        Some(Call::Compensate(undo)) => {
            check_payload("payload_json", &undo.payload_json)?;
            let effect = effect(undo.effect)?;
            let call = ObligationCall {
                idempotency_key: if undo.idempotency_key.is_empty() {
                    format!("compensate:{}", effect.idempotency_key)
                } else {
                    undo.idempotency_key
                },
                receipt: undo.receipt.map(|receipt| Receipt {
                    external_ref: receipt.external_ref,
                    response_json: receipt.response_json,
                }),
                kind: undo.kind,
                payload_json: if undo.payload_json.is_empty() {
                    "null".to_owned()
                } else {
                    undo.payload_json
                },
                attempt: undo.attempt.max(1).unsigned_abs(),
                effect,
            };
            let called = it.compensate(&name.name, version, &call, &Unmarked).await;
            called.map(|called| Ended::of(called, undone))
        }
        None => {
            let cure = "Send dispatch, observe, status_check or compensate.";
            return Err(Refusal::invalid("call", "", "The request asks nothing.", cure).into());
        }
    };
    let duration_ms = cx.engine.now().since(began);
    let mut logs = Vec::new();
    while let Ok(line) = said.try_recv() {
        // Others may have been called meanwhile.
        if line.key == key && line.level != "call" {
            logs.push(format!("{} {}", line.level.to_uppercase(), line.message));
        }
    }
    Ok(match ended {
        Ok(ended) => pb::CallConnectorResponse {
            verdict: ended.verdict.to_owned(),
            error: String::new(),
            evidence_json: ended.evidence_json,
            logs,
            duration_ms,
            version: ended.version,
            digest: ended.digest,
            answer_json: ended.answer_json,
        },
        Err(error) => pb::CallConnectorResponse {
            error: format!("{}: {error}", error.code()),
            duration_ms,
            ..pb::CallConnectorResponse::default()
        },
    })
}

fn dispatched(outcome: Outcome) -> (&'static str, Value) {
    match outcome {
        Outcome::Confirmed(receipt) => ("confirmed", json!(receipt)),
        Outcome::Failed(failure) => ("failed", json!(failure)),
        Outcome::Retry { reason, .. } => ("retry", json!({ "reason": reason })),
        Outcome::Unknown(doubt) => ("unknown", json!(doubt)),
    }
}

fn undone(outcome: CompensateOutcome) -> (&'static str, Value) {
    match outcome {
        CompensateOutcome::Resolved(receipt) => ("resolved", json!(receipt)),
        CompensateOutcome::Failed(failure) => ("failed", json!(failure)),
        CompensateOutcome::Retry { reason, .. } => ("retry", json!({ "reason": reason })),
        CompensateOutcome::Unknown(doubt) => ("unknown", json!(doubt)),
    }
}

fn observed(answer: ObserveAnswer) -> (&'static str, Value) {
    match answer {
        ObserveAnswer::Present(receipt) => ("present", json!(receipt)),
        ObserveAnswer::Absent => ("absent", Value::Null),
        ObserveAnswer::Duplicate(receipts) => ("duplicate", json!(receipts)),
        ObserveAnswer::Inconclusive(doubt) => ("inconclusive", json!(doubt)),
    }
}

fn checked(answer: StatusAnswer) -> (&'static str, Value) {
    match answer {
        StatusAnswer::Committed(receipt) => ("committed", json!(receipt)),
        StatusAnswer::NotCommitted => ("not-committed", Value::Null),
        StatusAnswer::InProgress { retry_after_ms } => ("in-progress", json!({ "retry_after_ms": retry_after_ms })),
        StatusAnswer::Inconclusive(doubt) => ("inconclusive", json!(doubt)),
    }
}
