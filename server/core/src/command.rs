//! Commands: everything that can be asked to change an entity. One file for each family.

pub mod begin_effect;
pub mod begin_run;
pub mod budget;
pub mod compact;
pub mod compensate;
pub mod complete_effect;
pub mod component;
pub mod connector;
pub mod decision;
pub mod dispatch;
pub mod end_run;
pub mod gate;
pub mod make_tasks;
pub mod obligation;
pub mod observe;
pub mod operator;
pub mod outside;
pub mod reaction;
pub mod recovery;
pub mod requests;
pub mod reserve;
pub mod session;
pub mod task;
pub mod timer;
pub mod value;

use crate::draft::Draft;
use crate::entity::EntityId;
use crate::refusal::Refusal;
use crate::row::{RowKey, RowKind};

/// Something that can be asked of an entity.
///
/// `decide` is a pure function of what `reads` names and of the context: the engine may call it several times, each
/// time on a newer snapshot, until its changes can be committed.
pub trait Command: Send + Sync {
    /// What the caller gets.
    type Reply: Send;

    /// The entity that it is about.
    fn entity(&self) -> EntityId;

    /// The rows that `decide` looks at, beside the head.
    fn reads(&self) -> Reads;

    /// Decides. Leaves the draft unchanged where the answer is already recorded.
    ///
    /// # Errors
    /// A refusal: nothing is written.
    fn decide(&self, draft: &mut Draft) -> Result<Self::Reply, Refusal>;

    /// Whether it may be decided again although its commit may have happened: it then finds what it wrote and answers from
    /// that. Not so where the request has no identity and every request counts, like a charge without a request id.
    fn repeatable(&self) -> bool {
        true
    }
}

/// What to load. The head is always loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Single rows.
    pub rows: Vec<RowKey>,
    /// Whole groups.
    pub ranges: Vec<Range>,
}

/// Rows of one kind, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which.
    pub kind: RowKind,
    /// Only the last so many.
    pub last: Option<u32>,
}

impl Reads {
    /// The head alone.
    #[must_use]
    pub fn head() -> Self {
        Self::default()
    }

    /// The head and `rows`.
    #[must_use]
    pub fn rows(rows: impl IntoIterator<Item = RowKey>) -> Self {
        Self {
            rows: rows.into_iter().collect(),
            ranges: Vec::new(),
        }
    }

    /// The same and one more row.
    #[must_use]
    pub fn and(mut self, row: RowKey) -> Self {
        self.rows.push(row);
        self
    }

    /// The same and all rows of a kind.
    #[must_use]
    pub fn all(mut self, kind: RowKind) -> Self {
        self.ranges.push(Range { kind, last: None });
        self
    }

    /// The same and the last rows of a kind.
    #[must_use]
    pub fn last(mut self, kind: RowKind, count: u32) -> Self {
        self.ranges.push(Range {
            kind,
            last: Some(count),
        });
        self
    }

    /// The same and, unless it is empty, the answer to a request id.
    #[must_use]
    pub fn request(self, request_id: &str) -> Self {
        if request_id.is_empty() {
            self
        } else {
            self.and(RowKey::Request(request_id.to_owned()))
        }
    }
}
