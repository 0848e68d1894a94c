//! What workers are asked and answer.

use tape_connector_port::{
    CompensateAnswer, Doubt, EffectCall, Failure, FailureKind, ObligationCall, Receipt, StatusAnswer,
};
use tape_port::{RecoveryTask, TimerTask};
use tape_proto::v1 as pb;

use super::{signed, small};

pub(crate) fn effect(call: &EffectCall) -> pb::EffectForConnector {
    pb::EffectForConnector {
        tenant_id: call.tenant.clone(),
        app_name: call.app.clone(),
        run_id: call.run_id.clone(),
        idempotency_key: call.idempotency_key.clone(),
        decision_index: signed(call.decision_index),
        tool_name: call.tool.clone(),
        operation: call.operation.clone(),
        business_key: call.business_key.clone().unwrap_or_default(),
        attempt: small(call.attempt),
        payload_json: call.payload_json.clone(),
        deadline_ms: call.deadline_ms,
        trace_parent: call.trace_parent.clone().unwrap_or_default(),
        idempotent: call.idempotent,
    }
}

pub(crate) fn compensate(function: &str, call: &ObligationCall) -> pb::CompensateCall {
    let receipt = call.receipt.clone().unwrap_or_default();
    pb::CompensateCall {
        function: function.to_owned(),
        effect: Some(effect(&call.effect)),
        external_ref: receipt.external_ref,
        response_json: receipt.response_json,
        kind: call.kind.clone(),
        payload_json: call.payload_json.clone(),
        idempotency_key: call.idempotency_key.clone(),
        attempt: small(call.attempt),
    }
}

pub(crate) fn redrive(task: &RecoveryTask, reason: &str) -> pb::RedriveCall {
    pb::RedriveCall {
        run_id: task.run.0.clone(),
        app_name: task.identity.app.clone(),
        user_id: task.identity.user.clone(),
        session_id: task.identity.session.clone(),
        invocation_id: task.identity.invocation.clone(),
        input_json: task.input_json.clone(),
        reason: reason.to_owned(),
        tenant_id: task.identity.tenant.clone(),
    }
}

pub(crate) fn timer(task: &TimerTask) -> pb::TimerCall {
    pb::TimerCall {
        run_id: task.run.0.clone(),
        timer_id: task.id.clone(),
        kind: task.kind.clone(),
        payload_json: task.payload_json.clone(),
        fire_at_ms: task.fire_at.0,
    }
}

/// An answer without content says nothing.
pub(crate) fn status_answer(answer: pb::StatusAnswer) -> StatusAnswer {
    use pb::status_answer::Answer;
    match answer.answer {
        Some(Answer::Committed(receipt)) => StatusAnswer::Committed(self::receipt(receipt)),
        Some(Answer::NotCommitted(pb::NotCommitted {})) => StatusAnswer::NotCommitted,
        Some(Answer::InProgress(progress)) => StatusAnswer::InProgress {
            retry_after_ms: u64::try_from(progress.retry_after_ms).unwrap_or_default(),
        },
        Some(Answer::Inconclusive(doubt)) => StatusAnswer::Inconclusive(self::doubt(doubt)),
        None => StatusAnswer::Inconclusive(Doubt::because("the worker's answer was empty")),
    }
}

/// An answer without content says nothing.
pub(crate) fn compensate_answer(answer: pb::CompensateAnswer) -> CompensateAnswer {
    use pb::compensate_answer::Answer;
    match answer.answer {
        Some(Answer::Resolved(receipt)) => CompensateAnswer::Resolved(self::receipt(receipt)),
        Some(Answer::Failed(failure)) => CompensateAnswer::Failed(self::failure(failure)),
        Some(Answer::Unknown(doubt)) => CompensateAnswer::Unknown(self::doubt(doubt)),
        None => CompensateAnswer::Unknown(Doubt::because("the worker's answer was empty")),
    }
}

fn receipt(receipt: pb::Receipt) -> Receipt {
    Receipt {
        external_ref: receipt.external_ref,
        response_json: receipt.response_json,
    }
}

fn doubt(doubt: pb::Doubt) -> Doubt {
    Doubt {
        reason: doubt.reason,
        sent: doubt.sent,
        hint: doubt.hint,
    }
}

pub(crate) fn failure(failure: pb::Failure) -> Failure {
    let kind = match failure.kind() {
        pb::FailureKind::Unspecified | pb::FailureKind::Rejected => FailureKind::Rejected,
        pb::FailureKind::Unauthorized => FailureKind::Unauthorized,
        pb::FailureKind::RateLimited => FailureKind::RateLimited,
        pb::FailureKind::Unavailable => FailureKind::Unavailable,
        pb::FailureKind::Invalid => FailureKind::Invalid,
    };
    Failure {
        kind,
        code: failure.code,
        message: failure.message,
        retryable: failure.retryable,
        retry_after_ms: u64::try_from(failure.retry_after_ms).ok().filter(|ms| *ms > 0),
    }
}
