//! Runs.

use tape_core::command::begin_run::LeaseRequest;
use tape_core::json::check_optional_name;
use tape_core::run::{Caller, CompensationPolicy, Run, RunState};
use tape_core::{Refusal, RunIdentity};
use tape_proto::v1 as pb;

use super::{moment, signed, unknown_number};

pub(crate) fn identity(asked: &pb::BeginRunRequest, tenant: String) -> RunIdentity {
    RunIdentity {
        tenant,
        app: asked.app_name.clone(),
        user: asked.user_id.clone(),
        session: asked.session_id.clone(),
        invocation: asked.invocation_id.clone(),
    }
}

/// Most labels of a run.
const LABELS_MAX: usize = 64;

pub(crate) fn caller(asked: &pb::BeginRunRequest) -> Result<Caller, Refusal> {
    for scope in &asked.scopes {
        check_optional_name("scopes", scope)?;
    }
    Ok(Caller {
        actor: asked.actor.clone(),
        subject: asked.subject.clone(),
        agent_id: asked.agent_id.clone(),
        aiplex_instance_id: asked.aiplex_instance_id.clone(),
        gateway_route: asked.gateway_route.clone(),
        scopes: asked.scopes.clone(),
        labels: labels(asked.labels.clone())?,
    })
}

/// Labels, if they are not too many.
pub(crate) fn labels<M>(asked: M) -> Result<std::collections::BTreeMap<String, String>, Refusal>
where
    M: IntoIterator<Item = (String, String)>,
{
    let labels: std::collections::BTreeMap<_, _> = asked.into_iter().collect();
    if labels.len() > LABELS_MAX {
        return Err(Refusal::invalid(
            "labels",
            &labels.len().to_string(),
            format!("A run has {} labels; at most {LABELS_MAX} fit.", labels.len()),
            "Keep the rest in the run's input.",
        )
        .coded("TAPE-V003"));
    }
    for name in labels.keys() {
        check_optional_name("labels", name)?;
    }
    Ok(labels)
}

pub(crate) fn lease(owner: &str, ttl_ms: i64, fenced: bool) -> LeaseRequest {
    LeaseRequest {
        owner: owner.to_owned(),
        ttl_ms,
        fenced,
    }
}

pub(crate) fn status(state: &RunState) -> pb::RunStatus {
    match state {
        RunState::Runnable => pb::RunStatus::Runnable,
        RunState::Running(_) => pb::RunStatus::Running,
        RunState::Waiting { .. } => pb::RunStatus::Waiting,
        RunState::Terminal => pb::RunStatus::Terminal,
        RunState::Failed => pb::RunStatus::Failed,
        RunState::Compensating { .. } => pb::RunStatus::Compensating,
        RunState::Stuck => pb::RunStatus::Stuck,
        RunState::Cancelled => pb::RunStatus::Cancelled,
    }
}

/// The number of a status in listings: the same as on the wire.
pub(crate) fn status_number(field: &'static str, number: i32) -> Result<u8, Refusal> {
    match u8::try_from(number) {
        Ok(number @ 1..=8) => Ok(number),
        _ => Err(unknown_number(
            field,
            number,
            "RUNNABLE (1), RUNNING (2), WAITING (3), TERMINAL (4), FAILED (5), COMPENSATING (6), STUCK (7), CANCELLED (8)",
        )),
    }
}

pub(crate) fn policy(number: i32) -> Result<CompensationPolicy, Refusal> {
    match pb::CompensatePolicy::try_from(number) {
        Ok(pb::CompensatePolicy::Unspecified | pb::CompensatePolicy::StopAtStuck) => {
            Ok(CompensationPolicy::StopAtStuck)
        }
        Ok(pb::CompensatePolicy::GoOn) => Ok(CompensationPolicy::GoOn),
        Err(_) => Err(unknown_number("policy", number, "STOP_AT_STUCK (1), GO_ON (2)")),
    }
}

pub(crate) fn state(run: Run) -> pb::RunState {
    let (lease_owner, lease_expires_at_ms) = match &run.state {
        RunState::Running(lease) => (lease.owner.clone(), lease.expires.0),
        _ => (String::new(), 0),
    };
    let waiting_on_gate = match &run.state {
        RunState::Waiting { gate, .. } => gate.clone(),
        _ => String::new(),
    };
    let last_error = run
        .cancelled
        .filter(|_| run.last_error.is_empty())
        .unwrap_or(run.last_error);
    pb::RunState {
        run_id: run.id.0,
        app_name: run.identity.app,
        user_id: run.identity.user,
        session_id: run.identity.session,
        invocation_id: run.identity.invocation,
        status: status(&run.state).into(),
        seq_cursor: run.seq,
        lease_owner,
        lease_expires_at_ms,
        started_at_ms: run.started.0,
        ended_at_ms: moment(run.ended),
        waiting_on_gate,
        tenant_id: run.identity.tenant,
        actor: run.caller.actor,
        subject: run.caller.subject,
        agent_id: run.caller.agent_id,
        aiplex_instance_id: run.caller.aiplex_instance_id,
        gateway_route: run.caller.gateway_route,
        scopes: run.caller.scopes,
        attributes: run.caller.labels.clone().into_iter().collect(),
        labels: run.caller.labels.into_iter().collect(),
        fence: signed(run.fence),
        detail_json: run.detail_json,
        parent_run_id: run.parent.map(|id| id.0).unwrap_or_default(),
        predecessor_run_id: run.predecessor.map(|id| id.0).unwrap_or_default(),
        decisions: run.decisions,
        effects: run.effects,
        input_json: run.input_json,
        last_error,
        next_decision_index: run.next_decision_index,
    }
}
