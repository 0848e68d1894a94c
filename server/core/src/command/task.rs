//! Tasks: claim, complete, give back, open again, forget.

use super::reaction::{check_reaction_id, head};
use super::{Command, Reads};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::json::check_name;
use crate::lease::{CLAIM_MS, Claim};
use crate::reaction::{Reaction, ReactionName};
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey};
use crate::task::{Task, TaskEvent, TaskPlace, TaskState, short_error};
use crate::time::Time;

/// Longest lease on a task, in milliseconds: a day.
pub const LEASE_MS_MAX: i64 = 24 * 60 * 60 * 1000;

/// Claims tasks of a reaction, within its bounds. Frees those whose claim ran out, too.
#[derive(Clone, Debug)]
pub struct ClaimTasks {
    /// Which reaction.
    pub name: ReactionName,
    /// Of this shard; none = of any.
    pub shard: Option<u32>,
    /// Who claims.
    pub owner: String,
    /// For how long, in milliseconds; 0 = [`CLAIM_MS`].
    pub lease_ms: i64,
    /// At most so many.
    pub max: u64,
    /// Until when a task must be due; none = now. A caller whose clock is another one says it.
    pub due_until: Option<Time>,
    /// The server's own name for this request.
    pub token: String,
    /// Where claims ran out, as a reading found.
    pub lapsed: Vec<TaskPlace>,
    /// What is due, as a reading found, in its order.
    pub due: Vec<TaskPlace>,
}

/// Says that a task is done.
#[derive(Clone, Debug)]
pub struct CompleteTask {
    /// Which reaction.
    pub name: ReactionName,
    /// Which of its tasks.
    pub place: TaskPlace,
    /// Who did it.
    pub owner: String,
}

/// Gives a task back as failed.
#[derive(Clone, Debug)]
pub struct NackTask {
    /// Which reaction.
    pub name: ReactionName,
    /// Which of its tasks.
    pub place: TaskPlace,
    /// Who tried.
    pub owner: String,
    /// Why it failed.
    pub error: String,
    /// Nobody needs to try again.
    pub permanent: bool,
}

/// Opens a dead letter again, with all its attempts; makes one due now that waits.
#[derive(Clone, Debug)]
pub struct RetryTask {
    /// Which reaction.
    pub name: ReactionName,
    /// Which of its tasks.
    pub place: TaskPlace,
}

/// Takes away what nobody asks for any more: tasks that are long done, windows that are long over.
#[derive(Clone, Debug)]
pub struct SweepTasks {
    /// The reaction's entity.
    pub entity: EntityId,
    /// What was found due.
    pub keys: Vec<RowKey>,
}

/// What a claim brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The tasks that the caller holds by this very request.
    pub tasks: Vec<Task>,
    /// Nothing, because others were faster: there may be more where these came from.
    pub beaten: bool,
}

impl Command for ClaimTasks {
    type Reply = Claimed;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::rows(self.lapsed.iter().chain(&self.due).map(|place| place.key()))
    }

    fn decide(&self, draft: &mut Draft) -> Result<Claimed, Refusal> {
        check_reaction_id(&self.name.id)?;
        check_name("owner", &self.owner)?;
        let lease_ms = self.lease_ms()?;
        let mut reaction = existing(draft, &self.name)?;
        self.check_shard(&reaction)?;
        let now = draft.now();
        let mut candidates = self.due.clone();
        for place in &self.lapsed {
            lapse(draft, &mut reaction, *place, now)?;
            if !candidates.contains(place) {
                candidates.push(*place);
            }
        }
        let claim = Claim {
            owner: self.owner.clone(),
            expires: now.after(lease_ms),
        };
        // Those that this very request claimed, if its commit was in doubt.
        let ours = candidates.iter().filter_map(|place| task(draft, *place));
        let mut claimed: Vec<Task> = ours.filter(|task| self.holds(task)).collect();
        let mut admitted = reaction
            .bucket
            .admits(reaction.order.rate_limit_per_s, now)
            .min(reaction.room())
            .min(self.max.saturating_sub(claimed.len() as u64));
        let before = admitted;
        for place in candidates {
            let Some(task) = task(draft, place) else { continue };
            match &task.state {
                TaskState::Pending { next } if admitted > 0 && self.wants(place, *next, now) => {
                    admitted -= 1;
                    let taken = Task {
                        state: moved(&task, TaskEvent::Claimed(claim.clone()))?,
                        attempts: task.attempts.saturating_add(1),
                        token: self.token.clone(),
                        ..task
                    };
                    draft.put(place.key(), Row::Task(Box::new(taken.clone())));
                    claimed.push(taken);
                }
                _ => {}
            }
        }
        let taken = before - admitted;
        if taken > 0 {
            reaction.counts.pending = reaction.counts.pending.saturating_sub(taken);
            reaction.counts.claimed += taken;
            reaction.bucket = reaction.bucket.take(taken, reaction.order.rate_limit_per_s, now);
        }
        put_changed(draft, reaction);
        Ok(Claimed {
            beaten: claimed.is_empty() && admitted > 0 && !self.due.is_empty(),
            tasks: claimed,
        })
    }
}

impl ClaimTasks {
    fn lease_ms(&self) -> Result<i64, Refusal> {
        match self.lease_ms {
            0 => Ok(CLAIM_MS),
            ms if (1..=LEASE_MS_MAX).contains(&ms) => Ok(ms),
            ms => Err(Refusal::invalid(
                "lease_ms",
                &ms.to_string(),
                format!("lease_ms {ms} is not between 0 and {LEASE_MS_MAX}."),
                "Use 0 for a minute.",
            )),
        }
    }

    fn check_shard(&self, reaction: &Reaction) -> Result<(), Refusal> {
        match self.shard {
            Some(shard) if shard >= reaction.shards_ever => Err(Refusal::invalid(
                "shard",
                &shard.to_string(),
                format!(
                    "Reaction {:?} has the shards 0 to {}.",
                    reaction.name.id,
                    reaction.shards_ever.saturating_sub(1)
                ),
                "Use one of them, or a negative number for any.",
            )),
            _ => Ok(()),
        }
    }

    fn holds(&self, task: &Task) -> bool {
        matches!(task.state, TaskState::Claimed(_)) && task.token == self.token
    }

    fn wants(&self, place: TaskPlace, next: Time, now: Time) -> bool {
        self.shard.is_none_or(|shard| shard == place.shard) && next <= self.due_until.unwrap_or(now)
    }
}

impl Command for CompleteTask {
    type Reply = Task;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::rows([self.place.key()])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Task, Refusal> {
        check_name("owner", &self.owner)?;
        let mut reaction = existing(draft, &self.name)?;
        let task = existing_task(draft, &self.name, self.place)?;
        match &task.state {
            TaskState::Done { owner, .. } if *owner == self.owner => return Ok(task),
            TaskState::Claimed(claim) if claim.owner == self.owner => {}
            _ => return Err(not_held(&task, &self.owner)),
        }
        let done = Task {
            state: moved(&task, TaskEvent::Completed { at: draft.now() })?,
            ..task
        };
        reaction.counts.claimed = reaction.counts.claimed.saturating_sub(1);
        reaction.counts.done += 1;
        draft.put(self.place.key(), Row::Task(Box::new(done.clone())));
        put_changed(draft, reaction);
        Ok(done)
    }
}

impl Command for NackTask {
    type Reply = Task;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::rows([self.place.key()])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Task, Refusal> {
        check_name("owner", &self.owner)?;
        let mut reaction = existing(draft, &self.name)?;
        let task = existing_task(draft, &self.name, self.place)?;
        let error = short_error(&self.error);
        match &task.state {
            TaskState::Claimed(claim) if claim.owner == self.owner => {}
            // The same request again: given back, and nobody took it since.
            TaskState::Pending { .. } | TaskState::Dead { .. }
                if task.last_owner == self.owner && task.last_error == error =>
            {
                return Ok(task);
            }
            _ => return Err(not_held(&task, &self.owner)),
        }
        let now = draft.now();
        let failed = fail(&mut reaction, task, error, self.permanent, now, Wait::Backoff)?;
        draft.put(self.place.key(), Row::Task(Box::new(failed.clone())));
        put_changed(draft, reaction);
        Ok(failed)
    }
}

impl Command for RetryTask {
    type Reply = Task;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::rows([self.place.key()])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Task, Refusal> {
        let mut reaction = existing(draft, &self.name)?;
        let mut task = existing_task(draft, &self.name, self.place)?;
        let now = draft.now();
        match &task.state {
            TaskState::Pending { next } if *next <= now => return Ok(task),
            TaskState::Pending { .. } => task.state = TaskState::Pending { next: now },
            TaskState::Dead { .. } => {
                task.state = moved(&task, TaskEvent::Reopened { next: now })?;
                task.attempts = 0;
                reaction.counts.dead = reaction.counts.dead.saturating_sub(1);
                reaction.counts.pending += 1;
            }
            TaskState::Claimed(_) | TaskState::Done { .. } => {
                return Err(Refusal::new(
                    Status::FailedPrecondition,
                    "TAPE-Q004",
                    format!(
                        "Task {:?} is {}: there is nothing to retry.",
                        task.id(),
                        task.state.name()
                    ),
                    "Only tasks in the dead-letter queue, or waiting for their next attempt, can be retried.",
                ));
            }
        }
        draft.put(self.place.key(), Row::Task(Box::new(task.clone())));
        put_changed(draft, reaction);
        Ok(task)
    }
}

impl Command for SweepTasks {
    /// How many rows went.
    type Reply = u64;

    fn entity(&self) -> EntityId {
        self.entity.clone()
    }

    fn reads(&self) -> Reads {
        Reads::rows(self.keys.iter().cloned())
    }

    fn decide(&self, draft: &mut Draft) -> Result<u64, Refusal> {
        let Some(mut reaction) = head(draft).cloned() else {
            return Ok(0);
        };
        let now = draft.now();
        let mut gone = 0;
        for key in &self.keys {
            let done = match draft.row(key) {
                Some(Row::Task(task)) => matches!(task.state, TaskState::Done { .. }) && task.due().at <= now,
                Some(Row::TaskWindow(window)) => {
                    if window.due().at <= now {
                        gone += 1;
                        draft.delete(key);
                    }
                    continue;
                }
                _ => continue,
            };
            if done {
                gone += 1;
                draft.delete(key);
                reaction.counts.done = reaction.counts.done.saturating_sub(1);
            }
        }
        put_changed(draft, reaction);
        Ok(gone)
    }
}

/// Frees a task if its claim ran out: that counts as a failed attempt.
fn lapse(draft: &mut Draft, reaction: &mut Reaction, place: TaskPlace, now: Time) -> Result<(), Refusal> {
    let Some(task) = task(draft, place) else {
        return Ok(());
    };
    let TaskState::Claimed(claim) = &task.state else {
        return Ok(());
    };
    if claim.lives(now) {
        return Ok(());
    }
    let error = format!("the claim of {} ran out", claim.owner);
    let freed = fail(reaction, task, error, false, now, Wait::None)?;
    draft.put(place.key(), Row::Task(Box::new(freed)));
    Ok(())
}

/// Whether a failed task rests before it is tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Backoff,
    None,
}

/// A claimed task that failed: PENDING, or a dead letter.
fn fail(
    reaction: &mut Reaction,
    task: Task,
    error: String,
    permanent: bool,
    now: Time,
    wait: Wait,
) -> Result<Task, Refusal> {
    let owner = match &task.state {
        TaskState::Claimed(claim) => claim.owner.clone(),
        _ => String::new(),
    };
    let gave_up = permanent || task.attempts >= reaction.order.attempts_max();
    let event = if gave_up {
        TaskEvent::GaveUp { at: now }
    } else {
        let rest_ms = if wait == Wait::Backoff {
            reaction.order.wait_ms(task.attempts)
        } else {
            0
        };
        TaskEvent::TryAgain {
            next: now.after(rest_ms),
        }
    };
    let state = moved(&task, event)?;
    reaction.counts.claimed = reaction.counts.claimed.saturating_sub(1);
    if gave_up {
        reaction.counts.dead += 1;
    } else {
        reaction.counts.pending += 1;
    }
    Ok(Task {
        state,
        last_error: error,
        last_owner: owner,
        token: String::new(),
        ..task
    })
}

fn moved(task: &Task, event: TaskEvent) -> Result<TaskState, Refusal> {
    task.state.clone().apply(event).map_err(|illegal| {
        Refusal::new(
            Status::FailedPrecondition,
            "TAPE-Q004",
            format!(
                "Task {:?} is {}: it cannot be {}.",
                task.id(),
                illegal.state,
                illegal.event
            ),
            "Read the task again with ListTasks; somebody else settled it.",
        )
    })
}

fn existing(draft: &Draft, name: &ReactionName) -> Result<Reaction, Refusal> {
    head(draft).cloned().ok_or_else(|| no_reaction(&name.id))
}

/// There is no such reaction.
#[must_use]
pub fn no_reaction(id: &str) -> Refusal {
    Refusal::new(
        Status::NotFound,
        "TAPE-Q001",
        format!("There is no reaction {id:?}."),
        "Register it first; ListReactions names those that are there.",
    )
    .at("reaction_id", id)
}

/// There is no such task.
#[must_use]
pub fn no_task(id: &str) -> Refusal {
    Refusal::new(
        Status::NotFound,
        "TAPE-Q002",
        format!("There is no task {id:?}."),
        "Use an id that ClaimTasks or ListTasks returned; a task that is done is forgotten after seven days.",
    )
    .at("task_id", id)
}

fn existing_task(draft: &Draft, name: &ReactionName, place: TaskPlace) -> Result<Task, Refusal> {
    task(draft, place).ok_or_else(|| no_task(&format!("{}/{}/{}", name.id, place.shard, place.position)))
}

fn task(draft: &Draft, place: TaskPlace) -> Option<Task> {
    match draft.row(&place.key()) {
        Some(Row::Task(task)) => Some(task.as_ref().clone()),
        _ => None,
    }
}

/// The caller does not hold the task: who does, or did.
fn not_held(task: &Task, caller: &str) -> Refusal {
    let (who, owner) = match &task.state {
        TaskState::Claimed(claim) => (format!("{} holds it", claim.owner), Some(&claim.owner)),
        TaskState::Done { owner, .. } => (format!("{owner} did it"), Some(owner)),
        TaskState::Dead { .. } => ("it is in the dead-letter queue".to_owned(), None),
        TaskState::Pending { .. } => ("nobody holds it".to_owned(), None),
    };
    let refusal = Refusal::new(
        Status::Aborted,
        "TAPE-Q003",
        format!(
            "{caller} does not hold task {:?}: it is {}, and {who}.",
            task.id(),
            task.state.name()
        ),
        "Drop what was done for it, or make sure that it can be done twice; claim again, and finish within the lease.",
    );
    Refusal {
        owner: owner.cloned(),
        ..refusal
    }
}

fn put_changed(draft: &mut Draft, reaction: Reaction) {
    if head(draft) != Some(&reaction) {
        draft.put(RowKey::Head, Row::Reaction(Box::new(reaction)));
    }
}
