//! Domain -> connector port: an effect and an obligation as a connector sees them.

use tape_connector_port::{EffectCall, ObligationCall, Receipt};
use tape_core::effect::Effect;
use tape_core::obligation::Obligation;
use tape_core::run::Run;

/// An effect, for the attempt that is under way.
pub(crate) fn effect_call(run: &Run, effect: &Effect) -> EffectCall {
    let intent = &effect.intent;
    EffectCall {
        tenant: run.identity.tenant.clone(),
        app: run.identity.app.clone(),
        run_id: run.id.0.clone(),
        idempotency_key: intent.key.0.clone(),
        decision_index: u64::try_from(intent.decision_index).unwrap_or_default(),
        tool: intent.tool.clone(),
        operation: if intent.operation.is_empty() {
            intent.tool.clone()
        } else {
            intent.operation.clone()
        },
        business_key: (!intent.business_key.is_empty()).then(|| intent.business_key.clone()),
        attempt: effect.attempt().map_or(1, |attempt| attempt.number),
        payload_json: if intent.request_json.is_empty() {
            "null".to_owned()
        } else {
            intent.request_json.clone()
        },
        deadline_ms: intent.deadline.0,
        trace_parent: None,
        idempotent: effect.repeatable(),
    }
}

/// An obligation, for the attempt that is under way.
pub(crate) fn obligation_call(run: &Run, effect: &Effect, obligation: &Obligation) -> ObligationCall {
    let receipt = Receipt {
        external_ref: obligation.external_ref.clone(),
        response_json: or_null(&effect.response_json),
    };
    ObligationCall {
        effect: effect_call(run, effect),
        // Only what was confirmed is undone: there always is a receipt, though an upstream may give no name to it.
        receipt: Some(receipt),
        kind: obligation.handle.kind.clone(),
        payload_json: or_null(&obligation.handle.payload_json),
        idempotency_key: obligation.idempotency_key(),
        attempt: obligation.attempts,
    }
}

/// The version that dispatched an effect: it is asked about it, if it is still there.
pub(crate) fn version(effect: &Effect) -> Option<&str> {
    effect
        .attempts
        .iter()
        .rev()
        .map(|attempt| attempt.version.as_str())
        .find(|version| !version.is_empty())
}

fn or_null(json: &str) -> String {
    if json.is_empty() {
        "null".to_owned()
    } else {
        json.to_owned()
    }
}

/// Milliseconds as the domain counts them.
pub(crate) fn ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
