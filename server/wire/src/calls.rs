//! What workers and connectors are asked, and what they answer.

use tape_connector_port::{
    CompensateAnswer, DispatchAnswer, Doubt, EffectCall, Failure, FailureKind, ObligationCall, ObserveAnswer, Receipt,
    StatusAnswer, Supports,
};
use tape_port::{Living, RecoveryTask, TimerTask};
use tape_proto::v1 as pb;

/// An effect as whoever carries it out sees it.
#[must_use]
pub fn effect(call: &EffectCall) -> pb::EffectForConnector {
    pb::EffectForConnector {
        tenant_id: call.tenant.clone(),
        app_name: call.app.clone(),
        run_id: call.run_id.clone(),
        idempotency_key: call.idempotency_key.clone(),
        decision_index: i64::try_from(call.decision_index).unwrap_or(i64::MAX),
        tool_name: call.tool.clone(),
        operation: call.operation.clone(),
        business_key: call.business_key.clone().unwrap_or_default(),
        attempt: i32::try_from(call.attempt).unwrap_or(i32::MAX),
        payload_json: call.payload_json.clone(),
        deadline_ms: call.deadline_ms,
        trace_parent: call.trace_parent.clone().unwrap_or_default(),
        idempotent: call.idempotent,
    }
}

/// The same as it comes back. An attempt that is none is the first.
#[must_use]
pub fn effect_call(effect: pb::EffectForConnector) -> EffectCall {
    EffectCall {
        tenant: effect.tenant_id,
        app: effect.app_name,
        run_id: effect.run_id,
        idempotency_key: effect.idempotency_key,
        decision_index: u64::try_from(effect.decision_index).unwrap_or_default(),
        tool: effect.tool_name,
        operation: effect.operation,
        business_key: named(effect.business_key),
        attempt: u32::try_from(effect.attempt).unwrap_or(1).max(1),
        payload_json: effect.payload_json,
        deadline_ms: effect.deadline_ms,
        trace_parent: named(effect.trace_parent),
        idempotent: effect.idempotent,
    }
}

/// Undo it, by an SDK function `module:attr`.
#[must_use]
pub fn compensate(function: &str, call: &ObligationCall) -> pb::CompensateCall {
    let receipt = call.receipt.clone().unwrap_or_default();
    pb::CompensateCall {
        function: function.to_owned(),
        effect: Some(effect(&call.effect)),
        external_ref: receipt.external_ref,
        response_json: receipt.response_json,
        kind: call.kind.clone(),
        payload_json: call.payload_json.clone(),
        idempotency_key: call.idempotency_key.clone(),
        attempt: i32::try_from(call.attempt).unwrap_or(i32::MAX),
        connector: String::new(),
    }
}

/// Undo it, by a connector that lives in the worker's process.
#[must_use]
pub fn compensate_by(connector: &str, call: &ObligationCall) -> pb::CompensateCall {
    pb::CompensateCall {
        connector: connector.to_owned(),
        ..compensate("", call)
    }
}

/// A dispatch through a connector that lives in a worker.
#[must_use]
pub fn dispatch_by(connector: &str, call: &EffectCall) -> pb::DispatchCall {
    pb::DispatchCall {
        connector: connector.to_owned(),
        effect: Some(effect(call)),
    }
}

/// A look into the books by a connector that lives in a worker.
#[must_use]
pub fn observe_by(connector: &str, call: &EffectCall) -> pb::ObserveCall {
    pb::ObserveCall {
        connector: connector.to_owned(),
        effect: Some(effect(call)),
    }
}

/// A status check by a connector that lives in a worker.
#[must_use]
pub fn status_check_by(connector: &str, call: &EffectCall, reference: &str) -> pb::StatusCheckCall {
    pb::StatusCheckCall {
        function: String::new(),
        effect: Some(effect(call)),
        external_ref: reference.to_owned(),
        connector: connector.to_owned(),
    }
}

/// A connector that lives in a worker's process, as the worker describes it.
#[must_use]
pub fn living(living: &Living) -> pb::WorkerConnector {
    pb::WorkerConnector {
        tenant_id: living.tenant.clone(),
        app_name: living.app.clone(),
        connector: Some(pb::ConnectorInWorker {
            name: living.name.clone(),
            observe: living.supports.observe,
            status_check: living.supports.status_check,
            compensate: living.supports.compensate,
        }),
    }
}

/// The same as it comes back; none if it has no name.
#[must_use]
pub fn living_of(living: pb::WorkerConnector) -> Option<Living> {
    let connector = living.connector.filter(|connector| !connector.name.is_empty())?;
    Some(Living {
        tenant: living.tenant_id,
        app: living.app_name,
        supports: supports(&connector),
        name: connector.name,
    })
}

/// What it can be asked beside `dispatch`.
#[must_use]
pub fn supports(connector: &pb::ConnectorInWorker) -> Supports {
    Supports {
        observe: connector.observe,
        status_check: connector.status_check,
        compensate: connector.compensate,
    }
}

/// Wake the run's app.
#[must_use]
pub fn redrive(task: &RecoveryTask, reason: &str) -> pb::RedriveCall {
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

/// A timer has fired.
#[must_use]
pub fn timer(task: &TimerTask) -> pb::TimerCall {
    pb::TimerCall {
        run_id: task.run.0.clone(),
        timer_id: task.id.clone(),
        kind: task.kind.clone(),
        payload_json: task.payload_json.clone(),
        fire_at_ms: task.fire_at.0,
    }
}

/// An answer without content says nothing.
#[must_use]
pub fn status_answer(answer: pb::StatusAnswer) -> StatusAnswer {
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
#[must_use]
pub fn dispatch_answer(answer: pb::DispatchAnswer) -> DispatchAnswer {
    use pb::dispatch_answer::Answer;
    match answer.answer {
        Some(Answer::Confirmed(receipt)) => DispatchAnswer::Confirmed(self::receipt(receipt)),
        Some(Answer::Failed(failure)) => DispatchAnswer::Failed(self::failure(failure)),
        Some(Answer::Unknown(doubt)) => DispatchAnswer::Unknown(self::doubt(doubt)),
        None => DispatchAnswer::Unknown(Doubt::because("the worker's answer was empty")),
    }
}

/// An answer without content says nothing; a duplicate of nothing is none.
#[must_use]
pub fn observe_answer(answer: pb::ObserveAnswer) -> ObserveAnswer {
    use pb::observe_answer::Answer;
    match answer.answer {
        Some(Answer::Present(receipt)) => ObserveAnswer::Present(self::receipt(receipt)),
        Some(Answer::Absent(pb::Absent {})) => ObserveAnswer::Absent,
        Some(Answer::Duplicate(all)) if !all.receipts.is_empty() => {
            ObserveAnswer::Duplicate(all.receipts.into_iter().map(self::receipt).collect())
        }
        Some(Answer::Inconclusive(doubt)) => ObserveAnswer::Inconclusive(self::doubt(doubt)),
        Some(Answer::Duplicate(_)) | None => {
            ObserveAnswer::Inconclusive(Doubt::because("the worker's answer was empty"))
        }
    }
}

/// An answer without content says nothing.
#[must_use]
pub fn compensate_answer(answer: pb::CompensateAnswer) -> CompensateAnswer {
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

/// A definite no. A kind of a newer contract, or none, is a rejection.
#[must_use]
pub fn failure(failure: pb::Failure) -> Failure {
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

fn named(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_comes_back_as_it_went() {
        let call = EffectCall {
            tenant: "t".into(),
            app: "treasury".into(),
            run_id: "r-1".into(),
            idempotency_key: "r-1/d-3/wire/0".into(),
            decision_index: 3,
            tool: "wire".into(),
            operation: "wire".into(),
            business_key: Some("inv-1".into()),
            attempt: 2,
            payload_json: r#"{"amount":"1.00"}"#.into(),
            deadline_ms: 5,
            trace_parent: None,
            idempotent: true,
        };
        assert_eq!(effect_call(effect(&call)), call);
    }

    #[test]
    fn an_answer_without_content_settles_nothing() {
        assert!(matches!(
            dispatch_answer(pb::DispatchAnswer::default()),
            DispatchAnswer::Unknown(_)
        ));
        assert!(matches!(
            observe_answer(pb::ObserveAnswer::default()),
            ObserveAnswer::Inconclusive(_)
        ));
        assert!(matches!(
            status_answer(pb::StatusAnswer::default()),
            StatusAnswer::Inconclusive(_)
        ));
        assert!(matches!(
            compensate_answer(pb::CompensateAnswer::default()),
            CompensateAnswer::Unknown(_)
        ));
        let of_nothing = pb::observe_answer::Answer::Duplicate(pb::Duplicate::default());
        let answer = pb::ObserveAnswer {
            answer: Some(of_nothing),
        };
        assert!(matches!(observe_answer(answer), ObserveAnswer::Inconclusive(_)));
    }
}
