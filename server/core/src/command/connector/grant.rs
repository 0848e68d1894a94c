//! Changes what a version may do, and its configuration.

use serde_json::{Value, json};

use super::{By, PutDone, check_document, existing, keep, note, stored};
use crate::command::{Command, Reads};
use crate::connector::{ConnectorName, no_connector};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::journal::Kind;
use crate::refusal::Refusal;
use crate::row::{Row, RowKey};

/// Changes what a version may do, or its configuration.
#[derive(Clone, Debug)]
pub struct GrantVersion {
    /// Of which connector.
    pub name: ConnectorName,
    /// Which version.
    pub version: String,
    /// In place of all that was granted; none = as before.
    pub grants_json: Option<String>,
    /// In place of the limits; none = as before.
    pub limits_json: Option<String>,
    /// In place of the configuration; none = as before.
    pub config_json: Option<String>,
    /// By whom.
    pub by: By,
}

impl Command for GrantVersion {
    type Reply = PutDone;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::ConnectorVersion(self.version.clone())])
    }

    fn decide(&self, draft: &mut Draft) -> Result<PutDone, Refusal> {
        let mut connector = existing(draft, &self.name)?;
        connector.need(&self.version)?;
        let Some(before) = stored(draft, &self.version).cloned() else {
            return Err(no_connector(&self.name.name, None));
        };
        let mut version = before.clone();
        for (new, old) in [
            (&self.grants_json, &mut version.grants_json),
            (&self.limits_json, &mut version.limits_json),
            (&self.config_json, &mut version.config_json),
        ] {
            if let Some(new) = new {
                check_document("config_json", new)?;
                old.clone_from(new);
            }
        }
        if version != before {
            draft.put(
                RowKey::ConnectorVersion(version.version.clone()),
                Row::ConnectorVersion(Box::new(version.clone())),
            );
            // What was granted and what is, for whoever asks later who opened which door.
            let details = json!({
                "version": self.version,
                "grants": changed(&before.grants_json, &version.grants_json),
                "limits": changed(&before.limits_json, &version.limits_json),
                "config": changed(&before.config_json, &version.config_json),
            });
            note(draft, &mut connector, Kind::ConnectorGranted, &self.by, details);
            keep(draft, &connector);
        }
        Ok(PutDone {
            connector,
            version,
            created: false,
        })
    }
}

/// A document before and after; null if it stays.
fn changed(before: &str, after: &str) -> Value {
    if before == after {
        return Value::Null;
    }
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    json!({ "before": read(before), "after": read(after) })
}
