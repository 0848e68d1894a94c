//! The bytes of components: written in chunks, whole once the last is there, collected when nobody names them.

use super::{Command, Reads};
use crate::connector::{COMPONENT_BYTES_MAX, Chunk, Component, UNNAMED_MS};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey};

/// How long a touch is good for before it is written again.
const TOUCH_MS: i64 = UNNAMED_MS / 4;

/// Says that a component is about to be named. Returns whether its bytes are there; if not, they are to be written.
#[derive(Clone, Debug)]
pub struct TouchComponent {
    /// `sha256:<hex>`.
    pub digest: String,
    /// All its bytes.
    pub size: u64,
}

/// Writes one chunk. Chunks are cut at the same places by everybody, so that two who write the same component write the same.
#[derive(Clone, Debug)]
pub struct WriteChunk {
    /// Of which component.
    pub digest: String,
    /// Which, from 0.
    pub index: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Says that all chunks were written.
#[derive(Clone, Debug)]
pub struct FinishComponent {
    /// Of which component.
    pub digest: String,
}

/// Takes a component away that nobody names. Returns whether it is gone: one that was touched since is not.
#[derive(Clone, Debug)]
pub struct DropComponent {
    /// Which.
    pub digest: String,
    /// How long it must have been left alone, in milliseconds.
    pub unnamed_ms: i64,
}

impl Command for TouchComponent {
    type Reply = bool;

    fn entity(&self) -> EntityId {
        Component::entity(&self.digest)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<bool, Refusal> {
        if self.size == 0 || self.size > COMPONENT_BYTES_MAX as u64 {
            return Err(Refusal::invalid(
                "component",
                &self.size.to_string(),
                format!(
                    "A component has at least one byte and at most {} MiB.",
                    COMPONENT_BYTES_MAX / (1024 * 1024)
                ),
                "Build it in release mode and without debug information.",
            )
            .coded("TAPE-C046"));
        }
        let now = draft.now();
        let found = component(draft).cloned();
        if let Some(found) = found
            .as_ref()
            .filter(|found| found.whole && now.since(found.touched) < TOUCH_MS)
        {
            return Ok(found.whole);
        }
        let whole = found.is_some_and(|found| found.whole);
        let component = Component {
            digest: self.digest.clone(),
            size: self.size,
            whole,
            touched: now,
        };
        draft.put(RowKey::Head, Row::Component(component));
        Ok(whole)
    }
}

impl Command for WriteChunk {
    type Reply = ();

    fn entity(&self) -> EntityId {
        Component::entity(&self.digest)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<(), Refusal> {
        if !existing(draft, &self.digest)?.whole {
            draft.put(RowKey::Chunk(self.index), Row::Chunk(Chunk(self.bytes.clone())));
        }
        Ok(())
    }
}

impl Command for FinishComponent {
    type Reply = ();

    fn entity(&self) -> EntityId {
        Component::entity(&self.digest)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<(), Refusal> {
        let mut component = existing(draft, &self.digest)?;
        if !component.whole {
            component.whole = true;
            component.touched = draft.now();
            draft.put(RowKey::Head, Row::Component(component));
        }
        Ok(())
    }
}

impl Command for DropComponent {
    type Reply = bool;

    fn entity(&self) -> EntityId {
        Component::entity(&self.digest)
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<bool, Refusal> {
        let Some(component) = component(draft).cloned() else {
            return Ok(false);
        };
        if draft.now().since(component.touched) < self.unnamed_ms {
            return Ok(false);
        }
        for index in 0..component.chunks() {
            draft.delete_unread(RowKey::Chunk(index));
        }
        draft.delete(&RowKey::Head);
        Ok(true)
    }
}

fn component(draft: &Draft) -> Option<&Component> {
    match draft.row(&RowKey::Head) {
        Some(Row::Component(component)) => Some(component),
        _ => None,
    }
}

fn existing(draft: &Draft, digest: &str) -> Result<Component, Refusal> {
    component(draft).cloned().ok_or_else(|| {
        Refusal::new(
            Status::Aborted,
            "TAPE-C045",
            format!("Component {digest} was collected while it was being written."),
            "Put it again.",
        )
    })
}
