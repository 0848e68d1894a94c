//! Making tasks of events: reads the journals of all runs, once for all reactions, and gives each what it wants.
//!
//! ```text
//! tail ─▶ chunk ─▶ for each reaction: subject, predicate ─▶ tasks and cursor in one commit of the reaction
//! ```
//!
//! Every server does it. The version of the reaction's entity decides which of them makes the tasks; the others then find
//! them made. A reaction that gets nothing for a while has its cursor moved from time to time only.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tape_core::command::make_tasks::{Made, MakeTasks};
use tape_core::command::task::SweepTasks;
use tape_core::predicate::{Predicate, with_stack};
use tape_core::reaction::{Handler, Reaction, ReactionName};
use tape_core::subject::SubjectPattern;
use tape_core::task::Source;
use tape_core::{DueKind, EntityId, EntityKind, Time};
use tape_port::TapeError;
use tape_store::DueQuery;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use crate::engine::{Engine, store_error};
use crate::tail::Event;

/// Entries read at once.
const CHUNK: u32 = 256;
/// A cursor is moved without a task once so many positions lie behind it.
const BEHIND_MAX: i64 = 4_096;
/// The fallback: another server's commits and registrations are seen no later than this.
const POLL: Duration = Duration::from_secs(1);
/// How long a reaction rests that could not be served, in milliseconds.
const REST_MS: i64 = 1_000;
/// How often what nobody asks for any more is swept, in milliseconds.
const SWEEP_MS: i64 = 60_000;
/// Rows swept at once.
const SWEEP_MAX: u32 = 500;

/// The user on whose behalf a reaction starts runs: what they do is not for the same reaction again.
#[must_use]
pub(crate) fn user_of(reaction: &str) -> String {
    format!("reaction/{reaction}")
}

/// Serves all reactions of a store.
pub struct Matcher {
    engine: Arc<Engine>,
    reactions: HashMap<EntityId, Followed>,
    commits: broadcast::Receiver<EntityId>,
    /// When the reactions are listed again, changed or not.
    list_next: Time,
    sweep_next: Time,
}

/// A reaction, ready to be matched.
struct Followed {
    name: ReactionName,
    generation: u64,
    debounced: bool,
    pattern: SubjectPattern,
    predicate: Option<Predicate>,
    /// Its own runs: app and user.
    own: Option<(String, String)>,
    /// The cursor that is stored.
    cursor: i64,
    /// Everything up to here was looked at: the cursor, or behind it nothing was wanted.
    scanned: i64,
    /// Not to be served before this.
    rests: Time,
    /// Events for which the predicate had no answer.
    unanswered: u64,
}

impl Matcher {
    /// A matcher that has read nothing yet.
    #[must_use]
    pub fn new(engine: Arc<Engine>) -> Self {
        // First listen, then look: nothing falls between.
        let commits = engine.wakes.follow();
        Self {
            engine,
            reactions: HashMap::new(),
            commits,
            list_next: Time::ZERO,
            sweep_next: Time::ZERO,
        }
    }

    /// Makes tasks of a chunk of what was not looked at yet. Returns whether there may be more.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`] if the store does not answer; calling again goes on where it stopped.
    pub async fn pass(&mut self) -> Result<bool, TapeError> {
        // What was told so far is in what is read now.
        while !matches!(self.commits.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
        let now = self.engine.now();
        if self.engine.wakes.reactions_were_changed() || now >= self.list_next {
            self.list().await?;
            self.list_next = now.after(if self.engine.store.shared() { 1_000 } else { 30_000 });
        }
        if now >= self.sweep_next {
            self.sweep(now).await?;
            self.sweep_next = now.after(SWEEP_MS);
        }
        let places: BTreeSet<i64> = self
            .reactions
            .values()
            .filter(|followed| followed.rests <= now)
            .map(|followed| followed.scanned)
            .collect();
        let mut more = false;
        let mut places = places.into_iter().peekable();
        while let Some(from) = places.next() {
            more |= self.advance(from, places.peek().copied()).await?;
        }
        Ok(more)
    }

    /// Waits until there may be something to do; no longer than the fallback.
    pub async fn wait(&mut self) {
        let grown = async {
            loop {
                match self.commits.recv().await {
                    Ok(committed) if committed.kind != EntityKind::Run => {}
                    // Told, or too slow to be told: look.
                    _ => break,
                }
            }
        };
        tokio::select! {
            () = grown => {}
            () = self.engine.wakes.reactions_change() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }

    /// Reads which reactions there are.
    async fn list(&mut self) -> Result<(), TapeError> {
        let listed = self.engine.reactions(None, true).await?;
        let mut known = std::mem::take(&mut self.reactions);
        for reaction in listed {
            let entity = reaction.name.entity();
            let followed = match known.remove(&entity) {
                Some(followed) if followed.generation == reaction.generation => Followed {
                    cursor: reaction.cursor,
                    scanned: followed.scanned.max(reaction.cursor),
                    ..followed
                },
                _ => match Followed::of(&reaction) {
                    Ok(followed) => followed,
                    Err(error) => {
                        // Registered by another version of the server.
                        tracing::error!(reaction = reaction.name.id, %error, "a reaction is not served");
                        continue;
                    }
                },
            };
            self.reactions.insert(entity, followed);
        }
        Ok(())
    }

    /// Reads what comes after `from`, as far as `next` (where other reactions already are), for all reactions there.
    async fn advance(&mut self, from: i64, next: Option<i64>) -> Result<bool, TapeError> {
        let chunk = self.engine.store.tail(from, CHUNK).await.map_err(store_error)?;
        let full = chunk.len() == CHUNK as usize;
        let last = chunk.last().map(|entry| entry.position);
        let upto = match (last, next) {
            (Some(last), Some(next)) if last >= next => next,
            // Nothing lies between: these are where those are.
            (None, Some(next)) => next,
            (Some(last), _) => last,
            (None, None) => return Ok(false),
        };
        let events = chunk
            .into_iter()
            .filter(|entry| entry.position <= upto && entry.entity.kind == EntityKind::Run)
            .map(|entry| {
                let event = Event::of(entry)?;
                Ok((event.entry.subject(&event.run), event))
            })
            .collect::<Result<Vec<_>, TapeError>>()?;
        let now = self.engine.now();
        let here = self
            .reactions
            .values_mut()
            .filter(|followed| followed.scanned == from && followed.rests <= now);
        let engine = &self.engine;
        let served = join_all(here.map(|followed| followed.serve(engine, &events, upto))).await;
        if served.contains(&Served::Changed) {
            self.list_next = Time::ZERO;
        }
        // A long way without anything that is wanted must not keep the thread from others.
        tokio::task::yield_now().await;
        let moved = served.contains(&Served::Moved);
        Ok(served.contains(&Served::Changed) || (moved && (full || next.is_some())))
    }

    /// Forgets tasks that are long done, and windows that are long over.
    async fn sweep(&self, now: Time) -> Result<(), TapeError> {
        for kind in [DueKind::TaskDone, DueKind::TaskWindow] {
            loop {
                let query = DueQuery {
                    kind,
                    until: now,
                    apps: None,
                    by: None,
                    tenants: None,
                    limit: SWEEP_MAX,
                };
                let due = self.engine.store.due(&query).await.map_err(store_error)?;
                let full = due.len() == SWEEP_MAX as usize;
                let mut by_entity: HashMap<EntityId, Vec<_>> = HashMap::new();
                for row in due {
                    by_entity.entry(row.entity).or_default().push(row.key);
                }
                let mut gone = 0;
                for (entity, keys) in by_entity {
                    gone += self.engine.execute(&SweepTasks { entity, keys }, None).await?;
                }
                if !full || gone == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// What became of a reaction in a pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    Moved,
    Changed,
    Rests,
}

impl Followed {
    fn of(reaction: &Reaction) -> Result<Self, tape_core::Refusal> {
        let order = &reaction.order;
        let predicate = &order.predicate_cel;
        let own = match &order.handler {
            Handler::Agent { app } => Some((app.clone(), user_of(&reaction.name.id))),
            Handler::Task | Handler::Publish { .. } => None,
        };
        Ok(Self {
            name: reaction.name.clone(),
            generation: reaction.generation,
            debounced: order.debounce_ms > 0,
            pattern: SubjectPattern::parse(&order.subject_pattern)?,
            predicate: (!predicate.is_empty())
                .then(|| Predicate::parse(predicate))
                .transpose()?,
            own,
            cursor: reaction.cursor,
            scanned: reaction.cursor,
            rests: Time::ZERO,
            unanswered: 0,
        })
    }

    /// Makes tasks of what it wants of `events`, which are all up to `upto`. An error is its own: the others go on.
    async fn serve(&mut self, engine: &Engine, events: &[(String, Event)], upto: i64) -> Served {
        let wanted = with_stack(|| self.wanted(events));
        if wanted.is_empty() && upto - self.cursor < BEHIND_MAX {
            self.scanned = upto;
            return Served::Moved;
        }
        let mut command = MakeTasks {
            name: self.name.clone(),
            generation: self.generation,
            from: self.cursor,
            upto,
            events: wanted,
            debounced: self.debounced,
            open: Vec::new(),
        };
        loop {
            match engine.execute(&command, None).await {
                Ok(Made::Upto { cursor, .. }) => {
                    self.cursor = cursor;
                    self.scanned = upto.max(cursor);
                    return Served::Moved;
                }
                Ok(Made::Unread(places)) => command.open.extend(places),
                Ok(Made::Changed) => {
                    // Another generation than any: it is made anew from what is stored.
                    self.generation = 0;
                    return Served::Changed;
                }
                Err(error) => {
                    tracing::warn!(reaction = self.name.id, %error, "no tasks could be made; again soon");
                    self.rests = engine.now().after(REST_MS);
                    return Served::Rests;
                }
            }
        }
    }

    fn wanted(&mut self, events: &[(String, Event)]) -> Vec<Source> {
        let mut wanted = Vec::new();
        for (subject, event) in events {
            if self.wants(subject, event) {
                wanted.push(source(event, subject));
            }
        }
        wanted
    }

    fn wants(&mut self, subject: &str, event: &Event) -> bool {
        let foreign = !self.name.tenant.is_empty() && self.name.tenant != event.tenant;
        let own = self
            .own
            .as_ref()
            .is_some_and(|(app, user)| *app == event.app && *user == event.user);
        if foreign || own || !self.pattern.matches(subject) {
            return false;
        }
        let Some(predicate) = &self.predicate else { return true };
        match predicate.wants(&event.seen(subject)) {
            Ok(wanted) => wanted,
            Err(error) => {
                self.unanswered += 1;
                // The first, the second, the fourth ...: told, without flooding the log.
                if self.unanswered.is_power_of_two() {
                    tracing::warn!(
                        reaction = self.name.id, subject, %error, times = self.unanswered,
                        "a predicate has no answer for an event, which counts as no"
                    );
                }
                false
            }
        }
    }
}

fn source(event: &Event, subject: &str) -> Source {
    Source {
        position: event.position,
        tenant: event.tenant.clone(),
        run: event.run.clone(),
        seq: event.entry.seq,
        at: event.entry.at,
        subject: subject.to_owned(),
        payload_json: event.entry.payload_json.clone(),
        trace: event.entry.trace.clone(),
    }
}
