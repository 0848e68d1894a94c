//! Directs calls to a version, all of them or a share.

use serde_json::json;

use super::{By, existing, keep, note, shares};
use crate::command::{Command, Reads};
use crate::connector::{Connector, ConnectorName};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::journal::Kind;
use crate::refusal::Refusal;

/// Directs calls to a version. What is asked for already is so: nothing changes.
#[derive(Clone, Debug)]
pub struct ActivateVersion {
    /// Of which connector.
    pub name: ConnectorName,
    /// Which.
    pub version: String,
    /// Its share in percent; the version that was active keeps the rest. 0 = all calls.
    pub weight: i32,
    /// By whom.
    pub by: By,
}

impl Command for ActivateVersion {
    type Reply = Connector;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Connector, Refusal> {
        let mut connector = existing(draft, &self.name)?;
        connector.need(&self.version)?;
        let weight = match self.weight {
            0 => crate::connector::ALL,
            weight => u8::try_from(weight)
                .ok()
                .filter(|weight| (1..=crate::connector::ALL).contains(weight))
                .ok_or_else(|| {
                    Refusal::invalid(
                        "weight",
                        &weight.to_string(),
                        "A share of the calls is given in percent, from 1 to 100.",
                        "Send a number from 1 to 100; 0 or nothing means all calls.",
                    )
                })?,
        };
        let active = connector.shares(&self.version, weight)?;
        if connector.direct(active) {
            let details = json!({ "version": self.version, "active": shares(&connector) });
            note(draft, &mut connector, Kind::ConnectorActivated, &self.by, details);
            keep(draft, &connector);
        }
        Ok(connector)
    }
}
