//! Takes a version away.

use super::{By, existing, keep, take_away};
use crate::command::{Command, Reads};
use crate::connector::ConnectorName;
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::refusal::{Refusal, Status};

/// Takes a version away. One that is not there is none any more.
#[derive(Clone, Debug)]
pub struct RemoveVersion {
    /// Of which connector.
    pub name: ConnectorName,
    /// Which version.
    pub version: String,
    /// By whom.
    pub by: By,
}

impl Command for RemoveVersion {
    type Reply = bool;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<bool, Refusal> {
        let mut connector = existing(draft, &self.name)?;
        let Some(at) = connector
            .versions
            .iter()
            .position(|known| known.version == self.version)
        else {
            return Ok(false);
        };
        if connector.weight(&self.version) > 0 {
            return Err(Refusal::new(
                Status::FailedPrecondition,
                "TAPE-C043",
                format!(
                    "Version {:?} of connector {:?} is active.",
                    self.version, self.name.name
                ),
                "Activate another version first, or roll back.",
            )
            .at("version", &self.version));
        }
        take_away(draft, &mut connector, at, &self.by);
        keep(draft, &connector);
        Ok(true)
    }
}
