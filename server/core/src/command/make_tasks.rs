//! Making tasks of events: the tasks, and the place up to which was read, in one commit.

use super::reaction::head;
use super::{Command, Reads};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::reaction::{Reaction, ReactionName, Window, window_of};
use crate::refusal::Refusal;
use crate::row::{Row, RowKey};
use crate::task::{Source, Task, TaskPlace, TaskState};

/// Makes a task of every event that a reaction wants, and moves its cursor.
#[derive(Clone, Debug)]
pub struct MakeTasks {
    /// Which reaction.
    pub name: ReactionName,
    /// The generation whose order the events were matched with.
    pub generation: u64,
    /// Everything behind this position was looked at...
    pub from: i64,
    /// ... up to this one.
    pub upto: i64,
    /// What matched, in the order of the positions.
    pub events: Vec<Source>,
    /// Whether the order debounces: then the subjects' windows are read.
    pub debounced: bool,
    /// The tasks to which the windows point, as far as was known when this was prepared.
    pub open: Vec<TaskPlace>,
}

/// What became of the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// Written, or written before by somebody else: everything up to here is.
    Upto {
        /// The cursor.
        cursor: i64,
        /// How many tasks are new.
        new: u64,
    },
    /// The reaction is another one by now: read it, and match again.
    Changed,
    /// Windows point to these tasks, which were not read: prepare again with them.
    Unread(Vec<TaskPlace>),
}

impl Command for MakeTasks {
    type Reply = Made;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        let mut reads = Reads::rows(self.open.iter().map(|place| place.key()));
        if self.debounced {
            let mut windows: Vec<String> = self.events.iter().map(|event| window_of(&event.subject)).collect();
            windows.sort_unstable();
            windows.dedup();
            reads.rows.extend(windows.into_iter().map(RowKey::TaskWindow));
        }
        reads
    }

    fn decide(&self, draft: &mut Draft) -> Result<Made, Refusal> {
        let Some(mut reaction) = head(draft).cloned() else {
            return Ok(Made::Changed);
        };
        if reaction.generation != self.generation || reaction.deleted || self.from > reaction.cursor {
            return Ok(Made::Changed);
        }
        if self.upto <= reaction.cursor {
            return Ok(Made::Upto {
                cursor: reaction.cursor,
                new: 0,
            });
        }
        let unread = self.unread(draft);
        if !unread.is_empty() {
            return Ok(Made::Unread(unread));
        }
        let mut new = 0;
        for event in self.events.iter().filter(|event| event.position > reaction.cursor) {
            if !collapse(draft, &reaction, event) {
                make(draft, &reaction, event);
                new += 1;
            }
        }
        reaction.counts.pending += new;
        reaction.cursor = self.upto;
        draft.put(RowKey::Head, Row::Reaction(Box::new(reaction)));
        Ok(Made::Upto { cursor: self.upto, new })
    }
}

impl MakeTasks {
    /// The tasks of the windows that are there, as far as they were not read.
    fn unread(&self, draft: &Draft) -> Vec<TaskPlace> {
        let windows = draft.rows().filter_map(|(_, row)| match row {
            Row::TaskWindow(window) => Some(window.place()),
            _ => None,
        });
        windows.filter(|place| !self.open.contains(place)).collect()
    }
}

/// Puts an event into the task of its subject's window, if that is open and nobody took the task yet.
fn collapse(draft: &mut Draft, reaction: &Reaction, event: &Source) -> bool {
    if reaction.order.debounce_ms == 0 {
        return false;
    }
    let Some(Row::TaskWindow(window)) = draft.row(&RowKey::TaskWindow(window_of(&event.subject))) else {
        return false;
    };
    let (place, ends) = (window.place(), window.ends);
    let Some(Row::Task(task)) = draft.row(&place.key()) else {
        return false;
    };
    if event.at >= ends || task.attempts > 0 || !matches!(task.state, TaskState::Pending { .. }) {
        return false;
    }
    let mut task = task.clone();
    task.source = event.clone();
    draft.put(place.key(), Row::Task(task));
    true
}

fn make(draft: &mut Draft, reaction: &Reaction, event: &Source) {
    let order = &reaction.order;
    let place = TaskPlace {
        shard: order.shard_of(&event.run),
        position: event.position,
    };
    let ends = event.at.after(order.debounce_ms);
    if order.debounce_ms > 0 {
        let window = Window {
            shard: place.shard,
            position: place.position,
            ends,
        };
        draft.put(RowKey::TaskWindow(window_of(&event.subject)), Row::TaskWindow(window));
    }
    let task = Task {
        reaction: reaction.name.id.clone(),
        place,
        source: event.clone(),
        created: draft.now(),
        attempts: 0,
        last_error: String::new(),
        last_owner: String::new(),
        token: String::new(),
        state: TaskState::Pending { next: ends },
    };
    draft.put(place.key(), Row::Task(Box::new(task)));
}
