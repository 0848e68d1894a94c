//! What the writer remembers of entities, so that it need not ask the file: it alone writes.

use std::collections::HashMap;

use tape_core::EntityId;
use tape_store::Listing;

use crate::batch::Hint;

/// Entities remembered in one generation; there are two.
const GENERATION_MAX: usize = 8_192;

/// Where an entity is and what was written of it last.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its short name within the file.
    pub(crate) no: i64,
    /// Its version.
    pub(crate) version: u64,
    /// By what it is listed.
    pub(crate) listing: Listing,
    /// The hint in its head's row; none = not known, or there is no head.
    pub(crate) head_hint: Option<Hint>,
}

/// A bounded memory of places: what was not asked for during a whole generation is forgotten.
#[derive(Default)]
pub(crate) struct Places {
    young: HashMap<EntityId, Place>,
    old: HashMap<EntityId, Place>,
}

impl Places {
    /// Whether an entity is remembered.
    pub(crate) fn knows(&self, entity: &EntityId) -> bool {
        self.young.contains_key(entity) || self.old.contains_key(entity)
    }

    /// The place of an entity, if it is remembered.
    pub(crate) fn get(&mut self, entity: &EntityId) -> Option<&mut Place> {
        if !self.young.contains_key(entity) {
            let place = self.old.remove(entity)?;
            self.young.insert(entity.clone(), place);
        }
        self.young.get_mut(entity)
    }

    /// Remembers a place.
    pub(crate) fn put(&mut self, entity: EntityId, place: Place) {
        self.young.insert(entity, place);
    }

    /// Makes room between two batches.
    pub(crate) fn age(&mut self) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }

    /// Forgets everything: what is in the file is not certain any more.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tape_core::EntityKind;

    fn entity(id: usize) -> EntityId {
        EntityId {
            kind: EntityKind::Run,
            id: id.to_string(),
        }
    }

    fn place(no: i64) -> Place {
        Place {
            no,
            version: 1,
            listing: Listing::default(),
            head_hint: None,
        }
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let mut places = Places::default();
        places.put(entity(0), place(7));
        for generation in 1..=3 {
            for id in 1..=GENERATION_MAX {
                places.put(entity(generation * GENERATION_MAX + id), place(1));
            }
            places.age();
            assert_eq!(places.get(&entity(0)).map(|place| place.no), Some(7));
        }
        assert!(!places.knows(&entity(GENERATION_MAX + 1)));
        assert!(places.young.len() + places.old.len() <= 2 * GENERATION_MAX + 1);
    }
}
