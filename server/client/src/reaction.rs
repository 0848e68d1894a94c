//! Reactions, their tasks, and the events that they are made of.

use futures_util::stream::{Stream, TryStreamExt};
use tape_proto::v1 as pb;

use crate::client::TapeClient;
use crate::error::ClientError;
use crate::model::reaction::{Event, EventFilter, Reaction, Task, TaskStatus};

/// The pattern of all subjects.
const EVERYTHING: &str = "/tape/**";

impl TapeClient {
    /// Events of all runs from a cursor on (0 = from the beginning), and then live. Never ends by itself.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a filter that makes no sense. The stream's own error, if it has one, is its last item;
    /// subscribe again after the last cursor seen.
    pub async fn events(
        &self,
        filter: EventFilter,
        from: i64,
    ) -> Result<impl Stream<Item = Result<Event, ClientError>> + Send + Unpin + use<>, ClientError> {
        let mut tape = self.tape();
        let events = if filter.predicate_cel.is_empty() {
            let request = pb::SubscribeEventsRequest {
                kind: filter.kind,
                subject_pattern: filter.subject_pattern,
                from_global_seq: from,
                ..pb::SubscribeEventsRequest::default()
            };
            tape.subscribe_events(request).await?.into_inner()
        } else {
            let request = pb::SubscribeBySubjectRequest {
                subject_pattern: if filter.subject_pattern.is_empty() {
                    EVERYTHING.to_owned()
                } else {
                    filter.subject_pattern
                },
                predicate_cel: if filter.kind.is_empty() {
                    filter.predicate_cel
                } else {
                    format!("kind == {:?} && ({})", filter.kind, filter.predicate_cel)
                },
                from_global_seq: from,
            };
            tape.subscribe_by_subject(request).await?.into_inner()
        };
        Ok(events.map_ok(Event::from).map_err(ClientError::from))
    }

    /// All reactions, those that were taken back too.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub async fn reactions(&self) -> Result<Vec<Reaction>, ClientError> {
        let request = pb::ListReactionsRequest::default();
        let answer = self.tape().list_reactions(request).await?.into_inner();
        Ok(answer.reactions.into_iter().map(Reaction::from).collect())
    }

    /// Tasks of a reaction with a status (none = any), at most `limit`.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn tasks(
        &self,
        reaction_id: &str,
        status: Option<TaskStatus>,
        limit: i32,
    ) -> Result<Vec<Task>, ClientError> {
        let request = pb::ListTasksRequest {
            reaction_id: reaction_id.to_owned(),
            status: status.map_or(0, TaskStatus::number),
            limit,
        };
        let answer = self.tape().list_tasks(request).await?.into_inner();
        Ok(answer.tasks.into_iter().map(Task::from).collect())
    }

    /// Opens a dead letter again, with all its attempts; makes a task due now that waits.
    ///
    /// # Errors
    /// NOT_FOUND; FAILED_PRECONDITION for one that is claimed or done.
    pub async fn retry_task(&self, task_id: &str) -> Result<Task, ClientError> {
        let request = pb::RetryTaskRequest {
            task_id: task_id.to_owned(),
        };
        Ok(self.admin().retry_task(request).await?.into_inner().into())
    }
}
