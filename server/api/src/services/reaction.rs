//! Reactions and their tasks.

use tape_core::subject::SubjectPattern;
use tape_core::{Refusal, Time};
use tape_engine::TaskClaim;
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::reaction::{asked, name, record, status, task};
use crate::convert::{limit, not_negative};

/// Tasks claimed by one request.
const CLAIM_DEFAULT: u32 = 16;
const CLAIM_MAX: u32 = 1_000;
/// Tasks listed by one request.
const LIST_DEFAULT: u32 = 200;
const LIST_MAX: u32 = 1_000;

pub(super) async fn register_reaction(
    cx: &Cx,
    _: &MetadataMap,
    wanted: pb::Reaction,
) -> Result<pb::Reaction, TapeError> {
    let id = wanted.reaction_id.clone();
    let registered = cx
        .engine
        .register_reaction(cx.caller.own().to_owned(), id, asked(wanted)?)
        .await?;
    Ok(record(registered))
}

pub(super) async fn deregister_reaction(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::DeregisterReactionRequest,
) -> Result<pb::DeregisterReactionResponse, TapeError> {
    let deregistered = cx
        .engine
        .deregister_reaction(name(cx.caller.own(), asked.reaction_id))
        .await?;
    Ok(pb::DeregisterReactionResponse { deregistered })
}

pub(super) async fn list_reactions(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListReactionsRequest,
) -> Result<pb::ListReactionsResponse, TapeError> {
    if !asked.subject_pattern.is_empty() {
        // One that nothing can have would be asked for in vain.
        SubjectPattern::parse(&asked.subject_pattern)?;
    }
    let mut reactions = cx.engine.reactions(Some(cx.caller.own()), false).await?;
    reactions
        .retain(|reaction| asked.subject_pattern.is_empty() || reaction.order.subject_pattern == asked.subject_pattern);
    Ok(pb::ListReactionsResponse {
        reactions: reactions.into_iter().map(record).collect(),
    })
}

pub(super) async fn claim_tasks(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ClaimTasksRequest,
) -> Result<pb::ClaimTasksResponse, TapeError> {
    let claim = TaskClaim {
        name: name(cx.caller.own(), asked.reaction_id),
        shard: u32::try_from(asked.shard).ok(),
        owner: asked.owner,
        lease_ms: asked.lease_ms,
        max: limit("max", asked.max.into(), CLAIM_DEFAULT, CLAIM_MAX)?,
        due_until: moment("now_ms", asked.now_ms)?,
    };
    let tasks = cx.engine.claim_tasks(&claim).await?;
    Ok(pb::ClaimTasksResponse {
        tasks: tasks.into_iter().map(task).collect(),
    })
}

pub(super) async fn complete_task(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::CompleteTaskRequest,
) -> Result<pb::CompleteTaskResponse, TapeError> {
    let done = cx
        .engine
        .complete_task(cx.caller.own(), &asked.task_id, asked.owner)
        .await?;
    Ok(pb::CompleteTaskResponse { task: Some(task(done)) })
}

pub(super) async fn nack_task(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::NackTaskRequest,
) -> Result<pb::NackTaskResponse, TapeError> {
    let (owner, error) = (asked.owner, asked.error);
    let nacked = cx
        .engine
        .nack_task(cx.caller.own(), &asked.task_id, owner, error, asked.permanent)
        .await?;
    Ok(pb::NackTaskResponse {
        task: Some(task(nacked)),
    })
}

pub(super) async fn list_tasks(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListTasksRequest,
) -> Result<pb::ListTasksResponse, TapeError> {
    if asked.status() == pb::TaskStatus::Failed {
        // A status that the server never writes.
        cx.engine.reaction(&name(cx.caller.own(), asked.reaction_id)).await?;
        return Ok(pb::ListTasksResponse::default());
    }
    let limit = limit("limit", asked.limit.into(), LIST_DEFAULT, LIST_MAX)?;
    let tasks = cx
        .engine
        .tasks(&name(cx.caller.own(), asked.reaction_id), status(asked.status)?, limit)
        .await?;
    Ok(pb::ListTasksResponse {
        tasks: tasks.into_iter().map(task).collect(),
    })
}

pub(super) async fn retry_task(cx: &Cx, _: &MetadataMap, asked: pb::RetryTaskRequest) -> Result<pb::Task, TapeError> {
    Ok(task(cx.engine.retry_task(cx.caller.own(), &asked.task_id).await?))
}

/// A caller's clock; 0 = the server's.
fn moment(field: &'static str, ms: i64) -> Result<Option<Time>, Refusal> {
    let ms = not_negative(field, ms, "the server's clock")?;
    Ok((ms > 0).then_some(Time(ms)))
}
