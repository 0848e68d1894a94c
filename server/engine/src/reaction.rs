//! Reactions and their tasks: register, list, claim, settle.

use tape_core::command::Reads;
use tape_core::command::reaction::{Asked, DeregisterReaction, RegisterReaction, check_reaction_id};
use tape_core::command::task::{ClaimTasks, CompleteTask, NackTask, RetryTask, no_reaction, no_task};
use tape_core::entity::EntityKind;
use tape_core::reaction::{Reaction, ReactionName};
use tape_core::task::{Task, TaskPlace, TaskState};
use tape_core::{DueKind, Row, RowKey, Time};
use tape_port::TapeError;
use tape_store::{ListQuery, Position, QueueQuery, codec};

use crate::engine::{Engine, store_error};

/// Reactions read at once.
const PAGE: u32 = 500;
/// Claims that ran out and are freed by one request.
const LAPSED_MAX: u32 = 64;
/// Tasks read beyond those that are wanted, because others may be claiming the same ones.
const SPARE_MAX: u64 = 64;
/// How often a claim looks again when others took everything that it had found.
const LOOKS_MAX: u32 = 4;

/// Who claims what.
#[derive(Clone, Debug)]
pub struct TaskClaim {
    /// Of which reaction.
    pub name: ReactionName,
    /// Of which shard; none = of any.
    pub shard: Option<u32>,
    /// Who.
    pub owner: String,
    /// For how long, in milliseconds; 0 = a minute.
    pub lease_ms: i64,
    /// At most so many.
    pub max: u32,
    /// Until when a task must be due; none = now.
    pub due_until: Option<Time>,
}

/// Where tasks stand that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// Wait for somebody.
    Pending,
    /// Are worked on.
    Claimed,
    /// Are done, and still listed.
    Done,
    /// Are dead letters.
    Dead,
}

impl TaskStatus {
    const ALL: [Self; 4] = [Self::Pending, Self::Claimed, Self::Dead, Self::Done];

    const fn queue(self) -> DueKind {
        match self {
            Self::Pending => DueKind::Task,
            Self::Claimed => DueKind::TaskClaim,
            Self::Done => DueKind::TaskDone,
            Self::Dead => DueKind::TaskDead,
        }
    }

    const fn has(self, state: &TaskState) -> bool {
        matches!(
            (self, state),
            (Self::Pending, TaskState::Pending { .. })
                | (Self::Claimed, TaskState::Claimed(_))
                | (Self::Done, TaskState::Done { .. })
                | (Self::Dead, TaskState::Dead { .. })
        )
    }
}

impl Engine {
    /// Registers a reaction; without an id the same order is the same reaction. See [`RegisterReaction`].
    ///
    /// # Errors
    /// INVALID_ARGUMENT naming what is wrong with the order.
    pub async fn register_reaction(&self, tenant: String, id: String, asked: Asked) -> Result<Reaction, TapeError> {
        let order = asked.order()?;
        let id = if id.is_empty() { order.derive_id() } else { id };
        check_reaction_id(&id)?;
        // Read before it is registered: what is committed in between comes too.
        let end = if order.from_head {
            self.store.tail_end().await.map_err(store_error)?
        } else {
            0
        };
        let name = ReactionName { tenant, id };
        let reaction = self.execute(&RegisterReaction { name, order, end }, None).await?;
        self.wakes.reactions_changed();
        Ok(reaction)
    }

    /// Takes a reaction back. Returns whether there is such a one.
    ///
    /// # Errors
    /// INVALID_ARGUMENT without an id.
    pub async fn deregister_reaction(&self, name: ReactionName) -> Result<bool, TapeError> {
        check_reaction_id(&name.id)?;
        let known = self.execute(&DeregisterReaction { name }, None).await?;
        self.wakes.reactions_changed();
        Ok(known)
    }

    /// A reaction, taken back or not.
    ///
    /// # Errors
    /// NOT_FOUND, TAPE-Q001.
    pub async fn reaction(&self, name: &ReactionName) -> Result<Reaction, TapeError> {
        check_reaction_id(&name.id)?;
        let mut snapshot = self.load(&name.entity(), &Reads::head()).await?;
        match snapshot.rows.remove(&RowKey::Head) {
            Some(Row::Reaction(reaction)) => Ok(*reaction),
            _ => Err(no_reaction(&name.id).into()),
        }
    }

    /// All reactions, newest first: those that were taken back too, unless only the others are wanted.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn reactions(&self, tenant: Option<&str>, live_only: bool) -> Result<Vec<Reaction>, TapeError> {
        let mut query = ListQuery {
            tenant: tenant.map(str::to_owned),
            statuses: if live_only { vec![0] } else { Vec::new() },
            ..ListQuery::all(EntityKind::Reaction, PAGE)
        };
        let mut reactions = Vec::new();
        loop {
            let listed = self.store.list(&query).await.map_err(store_error)?;
            let full = listed.len() == PAGE as usize;
            for found in listed {
                query.after = Some(Position {
                    created: found.listing.created,
                    id: found.id,
                });
                if let Row::Reaction(reaction) = codec::decode_row(&found.head).map_err(store_error)? {
                    reactions.push(*reaction);
                }
            }
            if !full {
                return Ok(reactions);
            }
        }
    }

    /// Claims tasks, those first that were due first, within the bounds of their reaction. None if there is nothing to do,
    /// or the bounds are reached.
    ///
    /// Cost: reads the head and about as many tasks as it claims, however many there are.
    ///
    /// # Errors
    /// NOT_FOUND, TAPE-Q001, if there is no such reaction; INVALID_ARGUMENT.
    pub async fn claim_tasks(&self, claim: &TaskClaim) -> Result<Vec<Task>, TapeError> {
        let token = self.fresh();
        let mut looks = 0;
        loop {
            looks += 1;
            let command = self.candidates(claim, &token).await?;
            let claimed = self.execute(&command, None).await?;
            if !claimed.beaten || looks >= LOOKS_MAX {
                return Ok(claimed.tasks);
            }
        }
    }

    /// Finds what can be claimed now.
    async fn candidates(&self, claim: &TaskClaim, token: &str) -> Result<ClaimTasks, TapeError> {
        let reaction = self.reaction(&claim.name).await?;
        let now = self.now();
        let lapsed = self
            .places(&claim.name, DueKind::TaskClaim, now, None, LAPSED_MAX)
            .await?;
        let room = reaction.room() + lapsed.len() as u64;
        let admitted = reaction.bucket.admits(reaction.order.rate_limit_per_s, now);
        let wanted = u64::from(claim.max).min(room).min(admitted);
        let due = if wanted == 0 {
            Vec::new()
        } else {
            let limit = u32::try_from(wanted + wanted.min(SPARE_MAX)).unwrap_or(u32::MAX);
            let until = claim.due_until.unwrap_or(now);
            self.places(&claim.name, DueKind::Task, until, claim.shard, limit)
                .await?
        };
        Ok(ClaimTasks {
            name: claim.name.clone(),
            shard: claim.shard,
            owner: claim.owner.clone(),
            lease_ms: claim.lease_ms,
            max: u64::from(claim.max),
            due_until: claim.due_until,
            token: token.to_owned(),
            lapsed,
            due,
        })
    }

    /// Says that a task is done. The same again returns it as it is.
    ///
    /// # Errors
    /// NOT_FOUND, TAPE-Q002; ABORTED, TAPE-Q003, naming who holds it, if that is not `owner`.
    pub async fn complete_task(&self, tenant: &str, id: &str, owner: String) -> Result<Task, TapeError> {
        let (name, place) = parse(tenant, id)?;
        self.settle(id, &CompleteTask { name, place, owner }).await
    }

    /// Gives a task back as failed: again after a backoff, or never. The same again returns it as it is.
    ///
    /// # Errors
    /// As [`complete_task`](Self::complete_task).
    pub async fn nack_task(
        &self,
        tenant: &str,
        id: &str,
        owner: String,
        error: String,
        permanent: bool,
    ) -> Result<Task, TapeError> {
        let (name, place) = parse(tenant, id)?;
        let command = NackTask {
            name,
            place,
            owner,
            error,
            permanent,
        };
        self.settle(id, &command).await
    }

    /// Opens a dead letter again, or makes a waiting task due now.
    ///
    /// # Errors
    /// NOT_FOUND, TAPE-Q002; FAILED_PRECONDITION, TAPE-Q004, for one that is claimed or done.
    pub async fn retry_task(&self, tenant: &str, id: &str) -> Result<Task, TapeError> {
        let (name, place) = parse(tenant, id)?;
        self.settle(id, &RetryTask { name, place }).await
    }

    async fn settle<C: tape_core::Command<Reply = Task>>(&self, id: &str, command: &C) -> Result<Task, TapeError> {
        match self.execute(command, None).await {
            // A task whose reaction is not there is one that is not there.
            Err(TapeError::Refused(refusal)) if refusal.code == "TAPE-Q001" => Err(no_task(id).into()),
            settled => settled,
        }
    }

    /// Tasks of a reaction with a status, those first that were due (or died, or were done) first; with no status those
    /// that wait, then claimed ones, dead letters, and done ones. At most `limit`.
    ///
    /// # Errors
    /// NOT_FOUND, TAPE-Q001.
    pub async fn tasks(
        &self,
        name: &ReactionName,
        status: Option<TaskStatus>,
        limit: u32,
    ) -> Result<Vec<Task>, TapeError> {
        self.reaction(name).await?;
        let statuses = status.map_or(TaskStatus::ALL.to_vec(), |status| vec![status]);
        let mut tasks = Vec::new();
        for status in statuses {
            let left = limit.saturating_sub(u32::try_from(tasks.len()).unwrap_or(u32::MAX));
            if left == 0 {
                break;
            }
            let places = self.places(name, status.queue(), Time::NEVER, None, left).await?;
            let keys = places.iter().map(|place| place.key());
            let mut rows = self.load(&name.entity(), &Reads::rows(keys)).await?.rows;
            for place in places {
                // One that moved on meanwhile is in another queue.
                if let Some(Row::Task(task)) = rows.remove(&place.key())
                    && status.has(&task.state)
                {
                    tasks.push(*task);
                }
            }
        }
        Ok(tasks)
    }

    /// How many tasks of all reactions are dead letters, and since when the oldest is.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn dead_tasks(&self) -> Result<(u64, Option<Time>), TapeError> {
        self.store
            .count_due(DueKind::TaskDead, Time::NEVER)
            .await
            .map_err(store_error)
    }

    async fn places(
        &self,
        name: &ReactionName,
        kind: DueKind,
        until: Time,
        shard: Option<u32>,
        limit: u32,
    ) -> Result<Vec<TaskPlace>, TapeError> {
        let query = QueueQuery {
            entity: name.entity(),
            kind,
            until,
            shard,
            limit,
        };
        let keys = self.store.tasks_due(&query).await.map_err(store_error)?;
        Ok(keys
            .into_iter()
            .filter_map(|key| match key {
                RowKey::Task(shard, position) => Some(TaskPlace { shard, position }),
                _ => None,
            })
            .collect())
    }
}

fn parse(tenant: &str, id: &str) -> Result<(ReactionName, TaskPlace), TapeError> {
    tape_core::json::check_name("task_id", id)?;
    let Some((reaction, place)) = Task::parse_id(id) else {
        return Err(no_task(id).into());
    };
    let name = ReactionName {
        tenant: tenant.to_owned(),
        id: reaction.to_owned(),
    };
    Ok((name, place))
}
