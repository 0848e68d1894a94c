//! Wire <-> what reactors work with, once, here.

use pb::settle_request::Outcome as Settled;
use tape_connector_port::{FailureKind, ObligationCall, Receipt};
use tape_core::command::dispatch::Outcome;
use tape_core::command::obligation::Undone;
use tape_core::command::observe::{Booking, Observation};
use tape_core::{DueKind, EffectKey, RowKey, RunId, RunIdentity, Time};
use tape_port::{CheckTask, CompensationTask, DispatchTask, DueItem, RecoveryTask, Served, TimerTask};
use tape_proto::v1 as pb;
use tape_wire::calls::effect_call;

pub(super) fn kind_number(kind: DueKind) -> pb::WorkKind {
    match kind {
        DueKind::Recovery => pb::WorkKind::Recovery,
        DueKind::Outbox => pb::WorkKind::Outbox,
        DueKind::Reconcile => pb::WorkKind::Reconcile,
        DueKind::Timers => pb::WorkKind::Timer,
        DueKind::Compensation => pb::WorkKind::Compensation,
        // No reactor's.
        DueKind::Task
        | DueKind::TaskClaim
        | DueKind::TaskDone
        | DueKind::TaskDead
        | DueKind::TaskWindow
        | DueKind::Retention
        | DueKind::Request => pb::WorkKind::Unspecified,
    }
}

/// None for a kind of a newer server.
pub(super) fn kind_of(number: i32) -> Option<DueKind> {
    match pb::WorkKind::try_from(number).ok()? {
        pb::WorkKind::Unspecified => None,
        pb::WorkKind::Recovery => Some(DueKind::Recovery),
        pb::WorkKind::Outbox => Some(DueKind::Outbox),
        pb::WorkKind::Reconcile => Some(DueKind::Reconcile),
        pb::WorkKind::Timer => Some(DueKind::Timers),
        pb::WorkKind::Compensation => Some(DueKind::Compensation),
    }
}

pub(super) fn work(kind: DueKind, run: &RunId, key: String) -> pb::Work {
    pb::Work {
        kind: kind_number(kind).into(),
        run_id: run.0.clone(),
        key,
    }
}

pub(super) fn item(item: pb::DueItem) -> Option<DueItem> {
    let work = item.work?;
    let key = match kind_of(work.kind)? {
        DueKind::Outbox | DueKind::Reconcile => RowKey::Effect(EffectKey(work.key)),
        DueKind::Timers => RowKey::Timer(work.key),
        DueKind::Compensation if !work.key.is_empty() => RowKey::Obligation(work.key.parse().ok()?),
        _ => RowKey::Head,
    };
    Some(DueItem {
        run: RunId(work.run_id),
        key,
        at: Time(item.due_at_ms),
        app: item.app_name,
        tenant: item.tenant_id,
    })
}

pub(super) fn served(served: &[Served]) -> pb::ServedConnectors {
    let connectors = served.iter().map(|one| pb::ServedConnector {
        tenant_id: one.tenant.clone(),
        name: one.name.clone(),
        app_name: one.app.clone().unwrap_or_default(),
    });
    pb::ServedConnectors {
        connectors: connectors.collect(),
    }
}

pub(super) fn recovery(task: pb::RecoveryTask) -> Option<RecoveryTask> {
    let call = task.call?;
    Some(RecoveryTask {
        run: RunId(call.run_id),
        identity: RunIdentity {
            tenant: call.tenant_id,
            app: call.app_name,
            user: call.user_id,
            session: call.session_id,
            invocation: call.invocation_id,
        },
        input_json: call.input_json,
        new: task.new,
        tries: u32::try_from(task.tries).unwrap_or_default(),
    })
}

pub(super) fn dispatch(run: RunId, key: EffectKey, attempt: u32, task: pb::DispatchTask) -> Option<DispatchTask> {
    Some(DispatchTask {
        run,
        key,
        connector: task.connector,
        attempt,
        call: effect_call(task.call?),
    })
}

pub(super) fn check(run: RunId, key: EffectKey, task: pb::ReconcileTask) -> Option<CheckTask> {
    Some(CheckTask {
        run,
        key,
        connector: task.connector,
        version: named(task.connector_version),
        function: task.function,
        external_ref: task.external_ref,
        call: effect_call(task.call?),
    })
}

pub(super) fn compensation(run: RunId, task: pb::CompensationTask) -> Option<CompensationTask> {
    let call = task.call?;
    Some(CompensationTask {
        run,
        seq: task.obligation_seq,
        connector: task.connector,
        version: named(task.connector_version),
        call: ObligationCall {
            effect: effect_call(call.effect?),
            receipt: Some(Receipt {
                external_ref: call.external_ref,
                response_json: call.response_json,
            }),
            kind: call.kind,
            payload_json: call.payload_json,
            idempotency_key: call.idempotency_key,
            attempt: u32::try_from(call.attempt).unwrap_or(1),
        },
        function: call.function,
        in_doubt: task.in_doubt,
    })
}

pub(super) fn timer(call: pb::TimerCall) -> TimerTask {
    TimerTask {
        run: RunId(call.run_id),
        id: call.timer_id,
        kind: call.kind,
        payload_json: call.payload_json,
        fire_at: Time(call.fire_at_ms),
    }
}

pub(super) fn dispatched(outcome: Outcome) -> pb::DispatchOutcome {
    use pb::dispatch_outcome::Outcome as Said;
    let said = match outcome {
        Outcome::Confirmed {
            external_ref,
            response_json,
        } => Said::Confirmed(pb::Receipt {
            external_ref,
            response_json,
        }),
        Outcome::Failed {
            error_json,
            retryable,
            retry_after_ms,
        } => Said::Failed(failure(&error_json, retryable, retry_after_ms)),
        Outcome::NothingSent { reason, retry_after_ms } => Said::NotSent(not_sent(reason, retry_after_ms)),
        Outcome::Nobody { reason, retry_after_ms } => Said::Nobody(not_sent(reason, retry_after_ms)),
        Outcome::Unknown { reason } => Said::Unknown(doubt(reason)),
    };
    pb::DispatchOutcome { outcome: Some(said) }
}

/// A failure from the JSON that reactors make of it: `{"kind", "code", "message"}`.
fn failure(error_json: &str, retryable: bool, retry_after_ms: Option<i64>) -> pb::Failure {
    #[derive(Default, serde::Deserialize)]
    struct Error {
        kind: Option<FailureKind>,
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let error: Error = serde_json::from_str(error_json).unwrap_or_else(|_| Error {
        message: error_json.to_owned(),
        ..Error::default()
    });
    let kind = match error.kind.unwrap_or(FailureKind::Rejected) {
        FailureKind::Rejected => pb::FailureKind::Rejected,
        FailureKind::Unauthorized => pb::FailureKind::Unauthorized,
        FailureKind::RateLimited => pb::FailureKind::RateLimited,
        FailureKind::Unavailable => pb::FailureKind::Unavailable,
        FailureKind::Invalid => pb::FailureKind::Invalid,
    };
    pb::Failure {
        kind: kind.into(),
        code: error.code,
        message: error.message,
        retryable,
        retry_after_ms: retry_after_ms.unwrap_or_default(),
    }
}

pub(super) fn observation(observation: Observation) -> Settled {
    use pb::observe_answer::Answer;
    let answer = match observation {
        Observation::Present(booking) => Answer::Present(receipt(booking)),
        // A failure that is known is an absence that is known: its text is not kept.
        Observation::Absent | Observation::Failed { .. } => Answer::Absent(pb::Absent {}),
        Observation::Duplicate(bookings) => Answer::Duplicate(pb::Duplicate {
            receipts: bookings.into_iter().map(receipt).collect(),
        }),
        Observation::Inconclusive {
            retry_after_ms: Some(retry_after_ms),
            ..
        } => {
            // The upstream asks for patience: that is a status check's answer.
            let progress = pb::InProgress { retry_after_ms };
            return Settled::Status(pb::StatusAnswer {
                answer: Some(pb::status_answer::Answer::InProgress(progress)),
            });
        }
        Observation::Inconclusive { reason, .. } => Answer::Inconclusive(doubt(reason)),
    };
    Settled::Observe(pb::ObserveAnswer { answer: Some(answer) })
}

pub(super) fn undone(undone: Undone) -> pb::CompensateOutcome {
    use pb::compensate_outcome::Outcome as Said;
    let said = match undone {
        Undone::Compensated { result_json } => Said::Resolved(pb::Receipt {
            external_ref: String::new(),
            response_json: result_json,
        }),
        Undone::TryAgain {
            error, in_doubt: true, ..
        } => Said::Unknown(doubt(error)),
        Undone::TryAgain { error, next_ms, .. } => Said::NotSent(not_sent(error, next_ms)),
        Undone::Nobody { error } => Said::Nobody(not_sent(error, None)),
        Undone::Stuck { error } => Said::Failed(pb::Failure {
            message: error,
            ..pb::Failure::default()
        }),
    };
    pb::CompensateOutcome { outcome: Some(said) }
}

fn not_sent(reason: String, retry_after_ms: Option<i64>) -> pb::NotSent {
    pb::NotSent {
        reason,
        retry_after_ms: retry_after_ms.unwrap_or_default(),
    }
}

fn doubt(reason: String) -> pb::Doubt {
    pb::Doubt {
        reason,
        ..pb::Doubt::default()
    }
}

fn receipt(booking: Booking) -> pb::Receipt {
    pb::Receipt {
        external_ref: booking.external_ref,
        response_json: booking.response_json,
    }
}

fn named(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_words_on_the_wire() {
        let error = r#"{"kind":"rate-limited","code":"429","message":"slow down"}"#;
        let sent = failure(error, true, Some(7));
        assert_eq!(sent.kind(), pb::FailureKind::RateLimited);
        assert_eq!((sent.code.as_str(), sent.message.as_str()), ("429", "slow down"));
        assert_eq!((sent.retryable, sent.retry_after_ms), (true, 7));
        assert_eq!(failure("no JSON", false, None).message, "no JSON");
    }

    #[test]
    fn every_kind_of_work_has_its_number() {
        for kind in DueKind::ALL {
            assert_eq!(kind_of(kind_number(kind).into()), Some(kind));
        }
        assert_eq!(kind_of(99), None);
    }

    #[test]
    fn a_doubt_about_an_undoing_stays_one() {
        let undoing = Undone::TryAgain {
            error: "no answer".into(),
            in_doubt: true,
            next_ms: None,
        };
        let sent = undone(undoing).outcome;
        assert!(matches!(sent, Some(pb::compensate_outcome::Outcome::Unknown(doubt)) if doubt.reason == "no answer"));
    }
}
