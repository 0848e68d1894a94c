//! Work for reactors in other processes: what is claimed, what there is to do, and what came of it.

use tape_connector_port::EffectCall;
use tape_core::command::dispatch::Outcome;
use tape_core::command::obligation::Undone;
use tape_core::command::observe::{Booking, Observation};
use tape_core::json::check_name;
use tape_core::{DueKind, EffectKey, Refusal, RowKey, RunId};
use tape_port::{CheckTask, CompensationTask, DispatchTask, DueItem, RecoveryTask, Served, TimerTask};
use tape_proto::v1 as pb;
use tape_wire::calls;

use super::{small, unknown_number};

/// One piece of work, as a request names it.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) run: RunId,
    pub(crate) about: About,
}

/// What the work is about.
#[derive(Clone, Debug)]
pub(crate) enum About {
    Recovery,
    Outbox(EffectKey),
    Reconcile(EffectKey),
    Timer(String),
    /// None = of a run that is being compensated, the obligation whose turn it is.
    Compensation(Option<i64>),
}

pub(crate) fn kind(number: i32) -> Result<DueKind, Refusal> {
    match pb::WorkKind::try_from(number) {
        Ok(pb::WorkKind::Recovery) => Ok(DueKind::Recovery),
        Ok(pb::WorkKind::Outbox) => Ok(DueKind::Outbox),
        Ok(pb::WorkKind::Reconcile) => Ok(DueKind::Reconcile),
        Ok(pb::WorkKind::Timer) => Ok(DueKind::Timers),
        Ok(pb::WorkKind::Compensation) => Ok(DueKind::Compensation),
        Ok(pb::WorkKind::Unspecified) | Err(_) => Err(unknown_number(
            "kind",
            number,
            "RECOVERY (1), OUTBOX (2), RECONCILE (3), TIMER (4), COMPENSATION (5)",
        )),
    }
}

pub(crate) fn kind_number(kind: DueKind) -> pb::WorkKind {
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

pub(crate) fn work(asked: Option<pb::Work>) -> Result<Work, Refusal> {
    let asked = asked.unwrap_or_default();
    let kind = kind(asked.kind)?;
    let run = super::run_id(&asked.run_id)?;
    let about = match kind {
        DueKind::Outbox => About::Outbox(super::effect_key("work.key", &asked.key)?),
        DueKind::Reconcile => About::Reconcile(super::effect_key("work.key", &asked.key)?),
        DueKind::Timers => {
            check_name("work.key", &asked.key)?;
            About::Timer(asked.key)
        }
        DueKind::Compensation if asked.key.is_empty() => About::Compensation(None),
        DueKind::Compensation => About::Compensation(Some(seq(&asked.key)?)),
        // The kinds that a request can name are the five.
        _ => About::Recovery,
    };
    Ok(Work { run, about })
}

fn seq(text: &str) -> Result<i64, Refusal> {
    text.parse().map_err(|_| {
        Refusal::invalid(
            "work.key",
            text,
            "The key of a compensation is not an obligation's seq.",
            "Send the seq in decimal, or nothing for a run that is being compensated.",
        )
    })
}

/// Work that waits; none for a row that is no reactor's.
pub(crate) fn item(kind: DueKind, item: DueItem) -> Option<pb::DueItem> {
    let key = match (kind, item.key) {
        (DueKind::Recovery | DueKind::Compensation, RowKey::Head) => String::new(),
        (DueKind::Outbox | DueKind::Reconcile, RowKey::Effect(key)) => key.0,
        (DueKind::Timers, RowKey::Timer(id)) => id,
        (DueKind::Compensation, RowKey::Obligation(seq)) => seq.to_string(),
        _ => return None,
    };
    Some(pb::DueItem {
        work: Some(named(kind, &item.run, key)),
        tenant_id: item.tenant,
        app_name: item.app,
        due_at_ms: item.at.0,
    })
}

pub(crate) fn named(kind: DueKind, run: &RunId, key: String) -> pb::Work {
    pb::Work {
        kind: kind_number(kind).into(),
        run_id: run.0.clone(),
        key,
    }
}

pub(crate) fn served(asked: Option<pb::ServedConnectors>) -> Option<Vec<Served>> {
    let served = asked?.connectors.into_iter().map(|connector| Served {
        tenant: connector.tenant_id,
        name: connector.name,
        app: (!connector.app_name.is_empty()).then_some(connector.app_name),
    });
    Some(served.collect())
}

pub(crate) fn recovery(task: &RecoveryTask) -> pb::RecoveryTask {
    pb::RecoveryTask {
        call: Some(calls::redrive(task, if task.new { "start" } else { "recover" })),
        tries: small(task.tries),
        new: task.new,
    }
}

pub(crate) fn dispatch(task: &DispatchTask) -> pb::DispatchTask {
    pb::DispatchTask {
        connector: task.connector.clone(),
        call: effect(&task.call),
    }
}

pub(crate) fn check(task: &CheckTask) -> pb::ReconcileTask {
    pb::ReconcileTask {
        connector: task.connector.clone(),
        connector_version: task.version.clone().unwrap_or_default(),
        function: task.function.clone(),
        external_ref: task.external_ref.clone(),
        call: effect(&task.call),
    }
}

pub(crate) fn compensation(task: &CompensationTask) -> pb::CompensationTask {
    pb::CompensationTask {
        obligation_seq: task.seq,
        connector: task.connector.clone(),
        connector_version: task.version.clone().unwrap_or_default(),
        call: Some(calls::compensate(&task.function, &task.call)),
        in_doubt: task.in_doubt,
    }
}

pub(crate) fn timer(task: &TimerTask) -> pb::TimerTask {
    pb::TimerTask {
        call: Some(calls::timer(task)),
    }
}

fn effect(call: &EffectCall) -> Option<pb::EffectForConnector> {
    Some(calls::effect(call))
}

/// What a dispatch came to; none if it says nothing.
pub(crate) fn dispatched(outcome: pb::DispatchOutcome) -> Option<Outcome> {
    use pb::dispatch_outcome::Outcome as Said;
    Some(match outcome.outcome? {
        Said::Confirmed(receipt) => Outcome::Confirmed {
            external_ref: receipt.external_ref,
            response_json: receipt.response_json,
        },
        Said::Failed(failure) => {
            let failure = calls::failure(failure);
            Outcome::Failed {
                error_json: serde_json::json!({
                    "kind": failure.kind, "code": failure.code, "message": failure.message,
                })
                .to_string(),
                retryable: failure.retryable,
                retry_after_ms: wish(failure.retry_after_ms),
            }
        }
        Said::Unknown(doubt) => Outcome::Unknown { reason: doubt.reason },
        Said::NotSent(not_sent) => Outcome::NothingSent {
            reason: not_sent.reason,
            retry_after_ms: positive(not_sent.retry_after_ms),
        },
        Said::Nobody(not_sent) => Outcome::Nobody {
            reason: not_sent.reason,
            retry_after_ms: positive(not_sent.retry_after_ms),
        },
    })
}

/// What a compensation came to; none if it says nothing.
pub(crate) fn undone(outcome: pb::CompensateOutcome) -> Option<Undone> {
    use pb::compensate_outcome::Outcome as Said;
    Some(match outcome.outcome? {
        Said::Resolved(receipt) => Undone::Compensated {
            result_json: receipt.response_json,
        },
        Said::Failed(failure) if !failure.retryable => Undone::Stuck { error: failure.message },
        Said::Failed(failure) => Undone::TryAgain {
            error: failure.message,
            in_doubt: false,
            next_ms: positive(failure.retry_after_ms),
        },
        Said::Unknown(doubt) => Undone::TryAgain {
            error: doubt.reason,
            in_doubt: true,
            next_ms: None,
        },
        Said::Nobody(not_sent) => Undone::Nobody { error: not_sent.reason },
        Said::NotSent(not_sent) => Undone::TryAgain {
            error: not_sent.reason,
            in_doubt: false,
            next_ms: positive(not_sent.retry_after_ms),
        },
    })
}

/// What a status check came to; none if it says nothing.
pub(crate) fn checked(answer: pb::StatusAnswer) -> Option<Observation> {
    use pb::status_answer::Answer;
    Some(match answer.answer? {
        Answer::Committed(receipt) => Observation::Present(booking(receipt)),
        Answer::NotCommitted(pb::NotCommitted {}) => Observation::Absent,
        Answer::InProgress(progress) => Observation::Inconclusive {
            reason: "the upstream is still at work on it".to_owned(),
            retry_after_ms: positive(progress.retry_after_ms),
        },
        Answer::Inconclusive(doubt) => inconclusive(doubt),
    })
}

/// What an observation came to; none if it says nothing.
pub(crate) fn observed(answer: pb::ObserveAnswer) -> Option<Observation> {
    use pb::observe_answer::Answer;
    Some(match answer.answer? {
        Answer::Present(receipt) => Observation::Present(booking(receipt)),
        Answer::Absent(pb::Absent {}) => Observation::Absent,
        Answer::Duplicate(duplicate) => Observation::Duplicate(duplicate.receipts.into_iter().map(booking).collect()),
        Answer::Inconclusive(doubt) => inconclusive(doubt),
    })
}

fn inconclusive(doubt: pb::Doubt) -> Observation {
    Observation::Inconclusive {
        reason: doubt.reason,
        retry_after_ms: None,
    }
}

fn booking(receipt: pb::Receipt) -> Booking {
    Booking {
        external_ref: receipt.external_ref,
        response_json: receipt.response_json,
    }
}

fn positive(ms: i64) -> Option<i64> {
    (ms > 0).then_some(ms)
}

fn wish(ms: Option<u64>) -> Option<i64> {
    ms.and_then(|ms| i64::try_from(ms).ok())
}
