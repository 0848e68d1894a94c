//! Deployed connectors: put, activate, roll back, grant, remove. Each change is an entry of the connector's own journal.

mod activate;
mod grant;
mod put;
mod remove;
mod rollback;

use serde_json::{Value, json};

use crate::connector::{Connector, ConnectorName, ConnectorVersion, Share, no_connector};
use crate::draft::{Draft, Note};
use crate::journal::Kind;
use crate::json::check_payload;
use crate::refusal::Refusal;
use crate::row::{Row, RowKey};

pub use activate::ActivateVersion;
pub use grant::GrantVersion;
pub use put::{PutDone, PutVersion, Taken};
pub use remove::RemoveVersion;
pub use rollback::Rollback;

/// Who asked for a change, and why.
#[derive(Clone, Debug, Default)]
pub struct By {
    /// Who; may be empty.
    pub who: String,
    /// Why; may be empty.
    pub reason: String,
}

/// Takes a version away that gets no calls.
fn take_away(draft: &mut Draft, connector: &mut Connector, at: usize, by: &By) {
    let known = connector.versions.remove(at);
    // Nothing is rolled back to what is not there.
    connector
        .former
        .retain(|shares| shares.iter().all(|share| share.version != known.version));
    draft.delete_unread(RowKey::ConnectorVersion(known.version.clone()));
    let details = json!({ "version": known.version, "digest": known.digest });
    note(draft, connector, Kind::ConnectorRemoved, by, details);
}

fn connector(draft: &Draft) -> Option<&Connector> {
    match draft.row(&RowKey::Head) {
        Some(Row::Connector(connector)) => Some(connector),
        _ => None,
    }
}

fn existing(draft: &Draft, name: &ConnectorName) -> Result<Connector, Refusal> {
    connector(draft).cloned().ok_or_else(|| no_connector(&name.name, None))
}

fn stored<'a>(draft: &'a Draft, version: &str) -> Option<&'a ConnectorVersion> {
    match draft.row(&RowKey::ConnectorVersion(version.to_owned())) {
        Some(Row::ConnectorVersion(version)) => Some(version),
        _ => None,
    }
}

/// Writes the head, if it is another than before.
fn keep(draft: &mut Draft, after: &Connector) {
    if connector(draft) != Some(after) {
        draft.put(RowKey::Head, Row::Connector(Box::new(after.clone())));
    }
}

fn note(draft: &mut Draft, connector: &mut Connector, kind: Kind, by: &By, mut details: Value) {
    details["who"] = json!(by.who);
    if !by.reason.is_empty() {
        details["reason"] = json!(by.reason);
    }
    connector.seq += 1;
    draft.append(connector.seq, &Note::about(kind, &connector.name.name, &details));
}

fn shares(connector: &Connector) -> Value {
    let share = |share: &Share| json!({ "version": share.version, "weight": share.weight });
    connector.active.iter().map(share).collect()
}

fn check_document(field: &'static str, text: &str) -> Result<(), Refusal> {
    check_payload(field, text)
}

#[cfg(test)]
mod tests;
