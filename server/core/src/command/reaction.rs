//! Reactions: register, take back.

use super::{Command, Reads};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::json::{check_name, check_optional_name};
use crate::predicate::Predicate;
use crate::reaction::{Bucket, Counts, Handler, Order, Reaction, ReactionName};
use crate::refusal::Refusal;
use crate::row::{Row, RowKey};
use crate::subject::SubjectPattern;

/// Most milliseconds of a debounce or of a first backoff: a day.
const WAIT_MS_MAX: i64 = 24 * 60 * 60 * 1000;
/// Most shards.
const SHARDS_MAX: u32 = 1_024;
/// Most of everything else that is counted.
const COUNT_MAX: u32 = 1_000_000;

/// Registers a reaction. The same order again changes nothing; another order under the same id replaces the one before,
/// goes on from where that one had read, and keeps the tasks.
#[derive(Clone, Debug)]
pub struct RegisterReaction {
    /// Which; the id is the caller's own, or derived from the order.
    pub name: ReactionName,
    /// What it wants.
    pub order: Order,
    /// The end of all journals, as the server just read it: where one begins that begins with what comes.
    pub end: i64,
}

/// Takes a reaction back: it makes no more tasks, those that it made can still be done.
#[derive(Clone, Debug)]
pub struct DeregisterReaction {
    /// Which.
    pub name: ReactionName,
}

/// A reaction as a caller asks for it: 0 and empty stand for a default.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// For people.
    pub title: String,
    /// Which subjects.
    pub subject_pattern: String,
    /// Which of their events; empty = all.
    pub predicate_cel: String,
    /// Who handles its tasks; none = whoever claims them.
    pub handler: Option<HandlerKind>,
    /// For [`HandlerKind::Agent`].
    pub agent_app: String,
    /// For [`HandlerKind::Publish`].
    pub publish_target: String,
    /// 0 = 1.
    pub max_concurrency: i32,
    /// 0 = no bound.
    pub rate_limit_per_s: i32,
    /// 0 = none.
    pub debounce_ms: i32,
    /// 0 = 5.
    pub retry_max: i32,
    /// 0 = 1000.
    pub retry_backoff_ms: i32,
    /// 0 = 5.
    pub dlq_after_n: i32,
    /// 0 = 1.
    pub num_shards: i32,
    /// Begin with what comes after it is registered.
    pub bootstrap_from_head: bool,
}

/// Who handles tasks, without the name that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandlerKind {
    /// See [`Handler::Agent`].
    Agent,
    /// See [`Handler::Task`].
    Task,
    /// See [`Handler::Publish`].
    Publish,
}

impl Asked {
    /// The order, checked, its defaults filled in.
    ///
    /// # Errors
    /// INVALID_ARGUMENT naming the field, its value and the cure: TAPE-J001 for the pattern, TAPE-J002 for the predicate,
    /// TAPE-V001 for everything else.
    pub fn order(self) -> Result<Order, Refusal> {
        check_optional_name("name", &self.title)?;
        SubjectPattern::parse(&self.subject_pattern)?;
        if !self.predicate_cel.is_empty() {
            Predicate::parse(&self.predicate_cel)?;
        }
        Ok(Order {
            handler: self.handler()?,
            max_concurrency: count("max_concurrency", self.max_concurrency, 1, COUNT_MAX)?,
            rate_limit_per_s: count("rate_limit_per_s", self.rate_limit_per_s, 0, COUNT_MAX)?,
            debounce_ms: wait("debounce_ms", self.debounce_ms, 0)?,
            retry_max: count("retry_max", self.retry_max, 5, COUNT_MAX)?,
            retry_backoff_ms: wait("retry_backoff_ms", self.retry_backoff_ms, 1_000)?,
            dlq_after_n: count("dlq_after_n", self.dlq_after_n, 5, COUNT_MAX)?,
            num_shards: count("num_shards", self.num_shards, 1, SHARDS_MAX)?,
            from_head: self.bootstrap_from_head,
            title: self.title,
            subject_pattern: self.subject_pattern,
            predicate_cel: self.predicate_cel,
        })
    }

    fn handler(&self) -> Result<Handler, Refusal> {
        let needed = |field: &'static str, value: &str, kind: &str| {
            if value.is_empty() {
                return Err(Refusal::invalid(
                    field,
                    value,
                    format!("{field} is missing: a reaction with handler_kind {kind} needs it."),
                    format!("Set {field}, or choose handler_kind TASK and claim the tasks."),
                ));
            }
            check_name(field, value)
        };
        match self.handler {
            Some(HandlerKind::Agent) => {
                needed("agent_app", &self.agent_app, "AGENT")?;
                Ok(Handler::Agent {
                    app: self.agent_app.clone(),
                })
            }
            Some(HandlerKind::Publish) => {
                needed("publish_target", &self.publish_target, "PUBLISH")?;
                Ok(Handler::Publish {
                    target: self.publish_target.clone(),
                })
            }
            Some(HandlerKind::Task) | None => Ok(Handler::Task),
        }
    }
}

fn count(field: &'static str, asked: i32, default: u32, most: u32) -> Result<u32, Refusal> {
    match u32::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(number) if number <= most => Ok(number),
        _ => Err(out_of_range(field, asked, i64::from(most))),
    }
}

fn wait(field: &'static str, asked: i32, default: i64) -> Result<i64, Refusal> {
    match i64::from(asked) {
        0 => Ok(default),
        ms if (1..=WAIT_MS_MAX).contains(&ms) => Ok(ms),
        _ => Err(out_of_range(field, asked, WAIT_MS_MAX)),
    }
}

fn out_of_range(field: &'static str, asked: i32, most: i64) -> Refusal {
    Refusal::invalid(
        field,
        &asked.to_string(),
        format!("{field} {asked} is not between 0 and {most}."),
        "Use 0 for the default.",
    )
}

impl Command for RegisterReaction {
    type Reply = Reaction;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Reaction, Refusal> {
        check_reaction_id(&self.name.id)?;
        let reaction = match head(draft) {
            Some(found) if !found.deleted && found.order == self.order => return Ok(found.clone()),
            Some(found) => Reaction {
                order: self.order.clone(),
                deleted: false,
                generation: found.generation + 1,
                // What happened while it was taken back is passed over only if it asks for that.
                cursor: if found.deleted && self.order.from_head {
                    self.end.max(found.cursor)
                } else {
                    found.cursor
                },
                shards_ever: found.shards_ever.max(self.order.num_shards),
                ..found.clone()
            },
            None => Reaction {
                name: self.name.clone(),
                order: self.order.clone(),
                created: draft.now(),
                deleted: false,
                generation: 1,
                cursor: if self.order.from_head { self.end } else { 0 },
                shards_ever: self.order.num_shards,
                counts: Counts::default(),
                bucket: Bucket::default(),
            },
        };
        draft.put(RowKey::Head, Row::Reaction(Box::new(reaction.clone())));
        Ok(reaction)
    }
}

impl Command for DeregisterReaction {
    /// Whether there is such a reaction.
    type Reply = bool;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<bool, Refusal> {
        check_reaction_id(&self.name.id)?;
        let Some(found) = head(draft) else { return Ok(false) };
        if !found.deleted {
            let taken_back = Reaction {
                deleted: true,
                generation: found.generation + 1,
                ..found.clone()
            };
            draft.put(RowKey::Head, Row::Reaction(Box::new(taken_back)));
        }
        Ok(true)
    }
}

/// Checks a reaction's id, which must be there.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn check_reaction_id(id: &str) -> Result<(), Refusal> {
    check_name("reaction_id", id)
}

/// The reaction, if it is there.
pub(super) fn head(draft: &Draft) -> Option<&Reaction> {
    match draft.row(&RowKey::Head) {
        Some(Row::Reaction(reaction)) => Some(reaction),
        _ => None,
    }
}
