//! Directs calls back to where they went before.

use serde_json::json;

use super::{By, existing, keep, note, shares};
use crate::command::{Command, Reads};
use crate::connector::{Connector, ConnectorName, Share};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::journal::Kind;
use crate::refusal::{Refusal, Status};

/// Directs calls to where they went before the version came that came last.
#[derive(Clone, Debug)]
pub struct Rollback {
    /// Of which connector.
    pub name: ConnectorName,
    /// Only while this version is active: repeated after it took hold, it changes nothing. Empty = whatever is active.
    pub from: String,
    /// By whom.
    pub by: By,
}

impl Command for Rollback {
    type Reply = Connector;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Connector, Refusal> {
        let mut connector = existing(draft, &self.name)?;
        if !self.from.is_empty() && connector.weight(&self.from) == 0 {
            connector.need(&self.from)?;
            return Ok(connector);
        }
        // The one that came last is the one to leave. States in which it had a part of the calls are left with it.
        let leaving = connector
            .active
            .last()
            .map(|share| share.version.clone())
            .unwrap_or_default();
        let is_clear = |shares: &Vec<Share>| shares.iter().all(|share| share.version != leaving);
        let Some(at) = connector.former.iter().rposition(is_clear) else {
            return Err(Refusal::new(
                Status::FailedPrecondition,
                "TAPE-C042",
                format!("No version of connector {:?} was active before.", self.name.name),
                "Activate the one that you want: tape connector activate NAME VERSION.",
            ));
        };
        let left: Vec<String> = connector.active.iter().map(|share| share.version.clone()).collect();
        connector.active = connector.former.swap_remove(at);
        connector.former.truncate(at);
        let details = json!({ "from": left, "active": shares(&connector) });
        note(draft, &mut connector, Kind::ConnectorRolledBack, &self.by, details);
        keep(draft, &connector);
        Ok(connector)
    }

    /// Without a version that it goes back from, every request counts.
    fn repeatable(&self) -> bool {
        !self.from.is_empty()
    }
}
