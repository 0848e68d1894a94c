//! Rows -> what a claim gives to do: an effect and an obligation as a connector sees them.

use tape_connector_port::{EffectCall, ObligationCall, Receipt};
use tape_core::effect::Effect;
use tape_core::obligation::Obligation;
use tape_core::run::Run;
use tape_core::timer::Timer;
use tape_core::{RunId, RunIdentity};
use tape_port::{CheckTask, CompensationTask, DispatchTask, RecoveryTask, TimerTask};

pub(crate) fn recovery(run: Run) -> RecoveryTask {
    RecoveryTask {
        run: run.id,
        identity: run.identity,
        input_json: run.input_json,
        new: run.leases == 0,
        tries: run.wake.tries,
    }
}

pub(crate) fn dispatch(run: &Run, effect: &Effect) -> DispatchTask {
    DispatchTask {
        run: run.id.clone(),
        key: effect.intent.key.clone(),
        connector: effect.intent.connector.clone(),
        // The number under which it was claimed; the guest is told of those that reached somebody.
        attempt: effect.attempt().map_or(0, |attempt| attempt.number),
        call: effect_call(&run.id, &run.identity, effect),
    }
}

pub(crate) fn check(run: &Run, effect: &Effect) -> CheckTask {
    CheckTask {
        run: run.id.clone(),
        key: effect.intent.key.clone(),
        connector: effect.intent.connector.clone(),
        version: version(effect),
        function: effect.intent.status_check.clone(),
        external_ref: effect.external_ref.clone(),
        call: effect_call(&run.id, &run.identity, effect),
    }
}

pub(crate) fn compensation(run: &Run, effect: &Effect, obligation: Obligation) -> CompensationTask {
    let receipt = Receipt {
        external_ref: obligation.external_ref.clone(),
        response_json: or_null(&effect.response_json),
    };
    let call = ObligationCall {
        effect: effect_call(&run.id, &run.identity, effect),
        // Only what was confirmed is undone: there always is a receipt, though an upstream may give no name to it.
        receipt: Some(receipt),
        kind: obligation.handle.kind.clone(),
        payload_json: or_null(&obligation.handle.payload_json),
        idempotency_key: obligation.idempotency_key(&effect.external_ref),
        attempt: obligation.attempts,
    };
    let connector = if obligation.handle.connector.is_empty() {
        effect.intent.connector.clone()
    } else {
        obligation.handle.connector
    };
    CompensationTask {
        run: run.id.clone(),
        seq: obligation.seq,
        function: obligation.handle.function,
        connector,
        version: version(effect),
        call,
        in_doubt: obligation.in_doubt,
    }
}

pub(crate) fn timer(run: &RunId, timer: Timer) -> TimerTask {
    TimerTask {
        run: run.clone(),
        id: timer.id,
        kind: timer.kind,
        payload_json: timer.payload_json,
        fire_at: timer.fire_at,
    }
}

/// An effect, for the attempt that is under way.
fn effect_call(run: &RunId, identity: &RunIdentity, effect: &Effect) -> EffectCall {
    let intent = &effect.intent;
    EffectCall {
        tenant: identity.tenant.clone(),
        app: identity.app.clone(),
        run_id: run.0.clone(),
        idempotency_key: intent.key.0.clone(),
        decision_index: u64::try_from(intent.decision_index).unwrap_or_default(),
        tool: intent.tool.clone(),
        operation: if intent.operation.is_empty() {
            intent.tool.clone()
        } else {
            intent.operation.clone()
        },
        business_key: (!intent.business_key.is_empty()).then(|| intent.business_key.clone()),
        attempt: effect.tries().max(1),
        payload_json: or_null(&intent.request_json),
        deadline_ms: intent.deadline.0,
        trace_parent: effect
            .trace
            .as_ref()
            .map(|trace| format!("00-{}-{}-01", trace.trace_id, trace.span_id)),
        idempotent: effect.repeatable(),
    }
}

/// The version that dispatched an effect: it is asked about it, if it is still there.
fn version(effect: &Effect) -> Option<String> {
    effect.dispatched_by().map(|attempt| attempt.version.clone())
}

fn or_null(json: &str) -> String {
    if json.is_empty() {
        "null".to_owned()
    } else {
        json.to_owned()
    }
}
