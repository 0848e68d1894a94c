//! Reactions and tasks.

use tape_core::Refusal;
use tape_core::command::reaction::{Asked, HandlerKind};
use tape_core::reaction::{Handler, Reaction, ReactionName};
use tape_core::task::{Task, TaskState};
use tape_engine::TaskStatus;
use tape_proto::v1 as pb;

use super::{small, unknown_number};

/// A reaction of the caller's tenant.
pub(crate) fn name(tenant: &str, id: String) -> ReactionName {
    ReactionName {
        tenant: tenant.to_owned(),
        id,
    }
}

/// What a caller registers.
pub(crate) fn asked(reaction: pb::Reaction) -> Result<Asked, Refusal> {
    let handler = match pb::HandlerKind::try_from(reaction.handler_kind) {
        Ok(pb::HandlerKind::Unspecified) => None,
        Ok(pb::HandlerKind::Agent) => Some(HandlerKind::Agent),
        Ok(pb::HandlerKind::Task) => Some(HandlerKind::Task),
        Ok(pb::HandlerKind::Publish) => Some(HandlerKind::Publish),
        Err(_) => {
            let known = "1 (AGENT), 2 (TASK), 3 (PUBLISH)";
            return Err(unknown_number("handler_kind", reaction.handler_kind, known));
        }
    };
    Ok(Asked {
        title: reaction.name,
        subject_pattern: reaction.subject_pattern,
        predicate_cel: reaction.predicate_cel,
        handler,
        agent_app: reaction.agent_app,
        publish_target: reaction.publish_target,
        max_concurrency: reaction.max_concurrency,
        rate_limit_per_s: reaction.rate_limit_per_s,
        debounce_ms: reaction.debounce_ms,
        retry_max: reaction.retry_max,
        retry_backoff_ms: reaction.retry_backoff_ms,
        dlq_after_n: reaction.dlq_after_n,
        num_shards: reaction.num_shards,
        bootstrap_from_head: reaction.bootstrap_from_head,
    })
}

pub(crate) fn record(reaction: Reaction) -> pb::Reaction {
    let order = reaction.order;
    let (kind, agent_app, publish_target) = match order.handler {
        Handler::Agent { app } => (pb::HandlerKind::Agent, app, String::new()),
        Handler::Task => (pb::HandlerKind::Task, String::new(), String::new()),
        Handler::Publish { target } => (pb::HandlerKind::Publish, String::new(), target),
    };
    pb::Reaction {
        reaction_id: reaction.name.id,
        name: order.title,
        subject_pattern: order.subject_pattern,
        predicate_cel: order.predicate_cel,
        handler_kind: kind.into(),
        agent_app,
        publish_target,
        max_concurrency: small(order.max_concurrency),
        rate_limit_per_s: small(order.rate_limit_per_s),
        debounce_ms: small(order.debounce_ms),
        retry_max: small(order.retry_max),
        retry_backoff_ms: small(order.retry_backoff_ms),
        dlq_after_n: small(order.dlq_after_n),
        num_shards: small(order.num_shards),
        created_at_ms: reaction.created.0,
        deleted: reaction.deleted,
        bootstrap_from_head: order.from_head,
    }
}

/// A status that is asked for; none = any. FAILED is not among them: nothing has it.
pub(crate) fn status(number: i32) -> Result<Option<TaskStatus>, Refusal> {
    match pb::TaskStatus::try_from(number) {
        Ok(pb::TaskStatus::Unspecified) => Ok(None),
        Ok(pb::TaskStatus::Pending) => Ok(Some(TaskStatus::Pending)),
        Ok(pb::TaskStatus::Claimed) => Ok(Some(TaskStatus::Claimed)),
        Ok(pb::TaskStatus::Done) => Ok(Some(TaskStatus::Done)),
        Ok(pb::TaskStatus::Dlq) => Ok(Some(TaskStatus::Dead)),
        Ok(pb::TaskStatus::Failed) | Err(_) => {
            let known = "0 (any), 1 (PENDING), 2 (CLAIMED), 3 (DONE), 5 (DLQ)";
            Err(unknown_number("status", number, known))
        }
    }
}

pub(crate) fn task(task: Task) -> pb::Task {
    let id = task.id();
    let (status, next, owner, expires) = match task.state {
        TaskState::Pending { next } => (pb::TaskStatus::Pending, next.0, String::new(), 0),
        TaskState::Claimed(claim) => (pb::TaskStatus::Claimed, 0, claim.owner, claim.expires.0),
        TaskState::Done { owner, .. } => (pb::TaskStatus::Done, 0, owner, 0),
        TaskState::Dead { .. } => (pb::TaskStatus::Dlq, 0, String::new(), 0),
    };
    // The span under which the event was written is the parent of whatever handles it.
    let (trace_id, parent_span_id) = task
        .source
        .trace
        .map_or_else(Default::default, |trace| (trace.trace_id, trace.span_id));
    pb::Task {
        task_id: id,
        reaction_id: task.reaction,
        shard: small(task.place.shard),
        source_run_id: task.source.run.0,
        source_global_seq: task.source.position,
        subject: task.source.subject,
        payload_json: task.source.payload_json,
        status: status.into(),
        attempts: small(task.attempts),
        next_attempt_at_ms: next,
        lease_owner: owner,
        lease_expires_at_ms: expires,
        last_error: task.last_error,
        created_at_ms: task.created.0,
        trace_id,
        parent_span_id,
    }
}
