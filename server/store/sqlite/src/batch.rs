//! Many commits as one set of changes: which guards hold, and what is left to write once each row is written once.

use std::collections::BTreeMap;

use tape_core::{Due, EntityId, RowKey};
use tape_store::{Commit, Listing, StoreError, codec};

use crate::places::{Place, Places};

/// One answer for each commit: the entity's new version.
pub(crate) type Answers = Vec<Result<u64, StoreError>>;

/// What a batch comes to, in the order of the tables' keys.
#[derive(Default)]
pub(crate) struct Batch {
    /// Entities by number.
    pub(crate) entities: BTreeMap<i64, Moved>,
    /// Rows by entity's number, kind and key.
    pub(crate) rows: BTreeMap<(i64, u8, Vec<u8>), Written>,
    /// Entries in the order of the commits: entity's number, seq, bytes.
    pub(crate) entries: Vec<(i64, i64, Vec<u8>)>,
}

/// An entity that a batch moves on.
pub(crate) struct Moved {
    /// Its version after the batch.
    pub(crate) version: u64,
    /// How much of its listing is to be written.
    pub(crate) listing: Relisted,
}

/// How much of an entity's listing is to be written.
pub(crate) enum Relisted {
    /// The entity is new.
    Created(EntityId, Listing),
    /// It is as it was.
    Same,
    /// Only the status is another.
    Status(u8),
    /// Anything may be another.
    Whole(Listing),
}

/// For whom and from when a row is work that waits, and without whom it cannot be done.
pub(crate) type Hint = (Option<Due>, Option<String>);

/// A row as a batch leaves it.
pub(crate) enum Written {
    /// It is gone.
    Deleted,
    /// Its hint is what it was.
    Body(Vec<u8>),
    /// All of it.
    Whole(Hint, Vec<u8>),
}

impl Batch {
    /// Adds a commit if its guard holds. Every entity that exists must be among `places`; a new one takes `next_no`.
    pub(crate) fn add(&mut self, commit: Commit, places: &mut Places, next_no: &mut i64) -> Result<u64, StoreError> {
        let found = places.get(&commit.entity).map_or(0, |place| place.version);
        if !commit.fits(found) {
            return Err(StoreError::Conflict {
                expected: commit.expected,
                found,
            });
        }
        if found == 0 {
            places.put(commit.entity.clone(), Place::new(*next_no));
            *next_no += 1;
        }
        let Some(place) = places.get(&commit.entity) else {
            return Err(StoreError::Corrupt("a place that was just put is gone".to_owned()));
        };
        place.version += 1;
        self.list(place, &commit.entity, commit.listing);
        let (no, version) = (place.no, place.version);
        for key in &commit.deletes {
            if *key == RowKey::Head {
                place.head_hint = None;
            }
            let (kind, bytes) = codec::encode_key(key);
            self.rows.insert((no, kind, bytes), Written::Deleted);
        }
        for row in commit.puts {
            let (kind, bytes) = codec::encode_key(&row.key);
            // Work hints are in an index: one that stays need not be taken out of it and put back.
            let hint: Hint = (row.due, row.waits_for().map(str::to_owned));
            let same = row.key == RowKey::Head && place.head_hint.as_ref() == Some(&hint);
            if row.key == RowKey::Head {
                place.head_hint = Some(hint.clone());
            }
            let place_of_row = (no, kind, bytes);
            let before = self.rows.get(&place_of_row);
            let written = match before {
                None | Some(Written::Body(_)) if same => Written::Body(row.body),
                _ => Written::Whole(hint, row.body),
            };
            self.rows.insert(place_of_row, written);
        }
        self.entries
            .extend(commit.entries.into_iter().map(|(seq, body)| (no, seq, body)));
        Ok(version)
    }

    fn list(&mut self, place: &mut Place, entity: &EntityId, listing: Option<Listing>) {
        let created = place.version == 1;
        let listing = listing.filter(|listing| created || *listing != place.listing);
        let relisted = match &listing {
            Some(listing) if same_but_for_status(listing, &place.listing) => Relisted::Status(listing.status),
            Some(listing) => Relisted::Whole(listing.clone()),
            None => Relisted::Same,
        };
        if let Some(listing) = listing {
            place.listing = listing;
        }
        let fresh = || Moved {
            version: place.version,
            listing: Relisted::Created(entity.clone(), place.listing.clone()),
        };
        if created {
            self.entities.insert(place.no, fresh());
            return;
        }
        let moved = self.entities.entry(place.no).or_insert(Moved {
            version: 0,
            listing: Relisted::Same,
        });
        moved.version = place.version;
        moved.listing = match (std::mem::replace(&mut moved.listing, Relisted::Same), relisted) {
            (Relisted::Created(entity, _), _) => Relisted::Created(entity, place.listing.clone()),
            (before, Relisted::Same) => before,
            (Relisted::Whole(_), _) => Relisted::Whole(place.listing.clone()),
            (_, after) => after,
        };
    }
}

fn same_but_for_status(a: &Listing, b: &Listing) -> bool {
    (&a.tenant, &a.app, &a.user, a.created) == (&b.tenant, &b.app, &b.user, b.created)
}

impl Place {
    /// The place of an entity that does not exist yet.
    fn new(no: i64) -> Self {
        Self {
            no,
            version: 0,
            listing: Listing::default(),
            head_hint: None,
        }
    }
}
