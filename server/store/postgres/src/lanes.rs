//! Which commits are written next, and which wait.
//!
//! Two batches are under way at most: while one waits for the disk, holding the order of all journals, the database carries out
//! the other up to that order. No entity is in both: a change whose guard is a version that is not visible yet would be refused.

use std::collections::{HashSet, VecDeque};

use tape_core::EntityId;

use crate::writer::Waiting;

/// Batches that are under way at the same time; each needs a connection.
pub(crate) const LANES: u32 = 2;

/// What waits, and what is under way.
#[derive(Default)]
pub(crate) struct Lanes {
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
    /// Whose changes are being written.
    busy: HashSet<EntityId>,
    /// Batches and commits under way.
    batches: u32,
    commits: usize,
}

impl Lanes {
    /// Commits that came in.
    pub(crate) fn add(&mut self, arrived: impl IntoIterator<Item = Waiting>) {
        self.waiting.extend(arrived);
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits and nothing is under way.
    pub(crate) fn rest(&self) -> bool {
        self.waiting.is_empty() && self.batches == 0
    }

    /// The next batch, if there is a lane for it and enough to write. Changes of one entity keep their order.
    pub(crate) fn next(&mut self, batch_max: usize) -> Option<Vec<Waiting>> {
        if self.batches == LANES {
            return None;
        }
        let busy = &self.busy;
        let ready = |waiting: &Waiting| !busy.contains(&waiting.commit.entity);
        let count = self.waiting.iter().filter(|waiting| ready(waiting)).count();
        // A batch has its price, however small it is: beside another one it must be worth it.
        if count == 0 || 2 * count < self.commits {
            return None;
        }
        let (mut batch, mut rest) = (Vec::with_capacity(count.min(batch_max)), VecDeque::new());
        for waiting in self.waiting.drain(..) {
            if batch.len() < batch_max && ready(&waiting) {
                batch.push(waiting);
            } else {
                rest.push_back(waiting);
            }
        }
        self.waiting = rest;
        self.busy
            .extend(batch.iter().map(|waiting| waiting.commit.entity.clone()));
        self.batches += 1;
        self.commits += batch.len();
        Some(batch)
    }

    /// A batch has ended; `entities` has one for each of its commits.
    pub(crate) fn done(&mut self, entities: &[EntityId]) {
        self.batches -= 1;
        self.commits -= entities.len();
        for entity in entities {
            self.busy.remove(entity);
        }
    }
}

#[cfg(test)]
mod tests {
    use tape_core::EntityKind;
    use tape_store::{Chain, Commit};
    use tokio::sync::oneshot;

    use super::*;

    fn waiting(id: &str, expected: u64) -> Waiting {
        let commit = Commit {
            entity: EntityId::named(EntityKind::Value, &[id]),
            expected,
            listing: None,
            puts: Vec::new(),
            deletes: Vec::new(),
            entries: Vec::new(),
            chain: Chain::default(),
        };
        Waiting {
            commit,
            answer: oneshot::channel().0,
        }
    }

    /// Ids and expected versions of a batch.
    fn names(batch: &[Waiting]) -> Vec<(String, u64)> {
        let name = |waiting: &Waiting| (waiting.commit.entity.id.clone(), waiting.commit.expected);
        batch.iter().map(name).collect()
    }

    fn entities(batch: &[Waiting]) -> Vec<EntityId> {
        batch.iter().map(|waiting| waiting.commit.entity.clone()).collect()
    }

    #[test]
    fn an_entity_is_in_one_batch_and_its_changes_keep_their_order() {
        let mut lanes = Lanes::default();
        lanes.add([waiting("a", 0), waiting("b", 0)]);
        let first = lanes.next(8).unwrap();
        lanes.add([waiting("a", 1), waiting("c", 0), waiting("a", 2)]);
        let second = lanes.next(8).unwrap();
        assert_eq!(second.len(), 1, "{:?}", names(&second));
        assert_eq!(lanes.waiting(), 2);
        // A third lane there is not; and what waits for the first waits for nothing else.
        lanes.add([waiting("d", 0)]);
        assert!(lanes.next(8).is_none());
        lanes.done(&entities(&first));
        let third = lanes.next(8).unwrap();
        let versions: Vec<u64> = third.iter().map(|waiting| waiting.commit.expected).collect();
        assert_eq!(versions, [1, 2, 0]);
        lanes.done(&entities(&second));
        lanes.done(&entities(&third));
        assert!(lanes.rest());
    }

    #[test]
    fn a_second_batch_begins_once_it_is_worth_it() {
        let mut lanes = Lanes::default();
        lanes.add((0..8).map(|number| waiting(&number.to_string(), 0)));
        let first = lanes.next(8).unwrap();
        lanes.add((8..11).map(|number| waiting(&number.to_string(), 0)));
        assert!(lanes.next(8).is_none());
        lanes.add([waiting("11", 0)]);
        assert_eq!(lanes.next(8).unwrap().len(), 4);
        // Where nothing is under way, one is enough.
        lanes.done(&entities(&first));
        assert!(lanes.next(8).is_none());
    }

    #[test]
    fn what_does_not_fit_into_a_batch_keeps_its_order() {
        let mut lanes = Lanes::default();
        lanes.add([waiting("a", 0), waiting("b", 0), waiting("a", 1), waiting("c", 0)]);
        let first = lanes.next(2).unwrap();
        assert_eq!(first.len(), 2);
        let second = lanes.next(2).unwrap();
        assert_eq!(names(&second)[0].1, 0);
        assert_eq!((second.len(), lanes.waiting()), (1, 1));
    }
}
