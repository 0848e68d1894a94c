//! Puts a version: its bytes are its name for ever.

use serde_json::json;

use super::{By, check_document, connector, keep, note, shares, stored, take_away};
use crate::command::{Command, Reads};
use crate::connector::{Connector, ConnectorName, ConnectorVersion, Known, VERSIONS_MAX, check_version};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::journal::Kind;
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey};

/// Adds a version. The same bytes under the same name again: nothing changes, unless it is declared.
#[derive(Clone, Debug)]
pub struct PutVersion {
    /// Of which connector.
    pub name: ConnectorName,
    /// The version; its component is stored. `put_at` is filled in.
    pub version: ConnectorVersion,
    /// What happens if the version exists with other bytes.
    pub taken: Taken,
    /// Direct all calls to it, in the same commit.
    pub activate: bool,
    /// The fingerprint of the project's declaration from which it comes. The declaration that was applied last changes
    /// nothing: what an operator did since stands. Another one is applied whole: configuration, grants, all calls.
    pub declared: Option<String>,
    /// By whom.
    pub by: By,
}

/// What becomes of a put under the name of a version that has other bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taken {
    /// It is refused.
    #[default]
    Refuse,
    /// The version gets a name of its own: the beginning of its digest behind a plus, as in `1.4.0+0a1b2c3d`.
    Rename,
}

/// A version as it is now, and whether it is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutDone {
    /// What all versions have in common.
    pub connector: Connector,
    /// The version.
    pub version: ConnectorVersion,
    /// It was not there before.
    pub created: bool,
}

impl Command for PutVersion {
    type Reply = PutDone;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::rows([
            RowKey::ConnectorVersion(self.version.version.clone()),
            RowKey::ConnectorVersion(self.renamed()),
        ])
    }

    fn decide(&self, draft: &mut Draft) -> Result<PutDone, Refusal> {
        self.name.check()?;
        check_version("version", &self.version.version)?;
        check_document("config_json", &self.version.config_json)?;
        let found = connector(draft).cloned();
        let mut connector = found.unwrap_or_else(|| Connector::new(self.name.clone(), draft.now()));
        let mut version = self.version.clone();
        if connector
            .known(&version.version)
            .is_some_and(|known| known.digest != version.digest)
        {
            if self.taken == Taken::Refuse {
                return Err(self.is_taken(&connector));
            }
            version.version = self.renamed();
            check_version("version", &version.version)?;
        }
        let before = stored(draft, &version.version).cloned();
        let applied = self
            .declared
            .as_ref()
            .is_some_and(|declared| *declared == connector.declared);
        if let Some(before) = before.as_ref().filter(|_| applied || self.declared.is_none()) {
            let same = (&before.config_json, &before.grants_json, &before.limits_json)
                == (&version.config_json, &version.grants_json, &version.limits_json);
            if !same && self.declared.is_none() {
                return Err(self.differs());
            }
            version = before.clone();
        } else if applied {
            // It was declared, applied, and taken away by somebody since.
            return Ok(PutDone {
                connector,
                version,
                created: false,
            });
        } else {
            if before.is_none() && connector.versions.len() >= VERSIONS_MAX {
                self.make_room(draft, &mut connector)?;
            }
            version.put_at = before.as_ref().map_or(draft.now(), |before| before.put_at);
            if before.is_none() {
                connector.versions.push(Known {
                    version: version.version.clone(),
                    digest: version.digest.clone(),
                });
            }
            if before.as_ref() != Some(&version) {
                draft.put(
                    RowKey::ConnectorVersion(version.version.clone()),
                    Row::ConnectorVersion(Box::new(version.clone())),
                );
                let details = json!({ "version": version.version, "digest": version.digest, "size": version.size });
                note(draft, &mut connector, Kind::ConnectorPut, &self.by, details);
            }
        }
        if let Some(declared) = self.declared.as_ref().filter(|_| !applied) {
            connector.declared.clone_from(declared);
        }
        if self.activate && !applied {
            let all = connector.shares(&version.version, crate::connector::ALL)?;
            if connector.direct(all) {
                let details = json!({ "active": shares(&connector) });
                note(draft, &mut connector, Kind::ConnectorActivated, &self.by, details);
            }
        }
        keep(draft, &connector);
        Ok(PutDone {
            connector,
            version,
            created: before.is_none(),
        })
    }
}

impl PutVersion {
    fn renamed(&self) -> String {
        let (version, digest) = (&self.version.version, self.version.digest.trim_start_matches("sha256:"));
        let mark = if version.contains('+') { '.' } else { '+' };
        format!("{version}{mark}{}", digest.get(..8).unwrap_or(digest))
    }

    /// Who rebuilds again and again does not clean up: the oldest build that was named after its digest goes, if it gets no calls.
    fn make_room(&self, draft: &mut Draft, connector: &mut Connector) -> Result<(), Refusal> {
        let is_build = |known: &Known| {
            let digest = known.digest.trim_start_matches("sha256:");
            digest.get(..8).is_some_and(|mark| known.version.ends_with(mark)) && connector.weight(&known.version) == 0
        };
        let oldest = connector.versions.iter().position(is_build);
        let Some(at) = oldest.filter(|_| self.taken == Taken::Rename) else {
            return Err(self.too_many());
        };
        take_away(draft, connector, at, &self.by);
        Ok(())
    }

    fn is_taken(&self, connector: &Connector) -> Refusal {
        let version = &self.version.version;
        let other = connector.known(version).map_or("", |known| known.digest.as_str());
        Refusal::new(
            Status::AlreadyExists,
            "TAPE-C041",
            format!(
                "Version {version:?} of connector {:?} exists with other bytes: {other}, and these are {}.",
                self.name.name, self.version.digest
            ),
            "Raise the version in the connector's description, or put it under another one: --as VERSION; --again names it after its digest.",
        )
        .at("version", version)
    }

    fn differs(&self) -> Refusal {
        let version = &self.version.version;
        Refusal::new(
            Status::AlreadyExists,
            "TAPE-C041",
            format!(
                "Version {version:?} of connector {:?} exists with these bytes, and with another configuration, other grants or other limits.",
                self.name.name
            ),
            "Change those by `tape connector grant`; or put it under another version: --as VERSION.",
        )
        .at("version", version)
    }

    fn too_many(&self) -> Refusal {
        Refusal::new(
            Status::FailedPrecondition,
            "TAPE-C044",
            format!(
                "Connector {:?} has {VERSIONS_MAX} versions, and no more are kept.",
                self.name.name
            ),
            "Remove some that nobody needs: tape connector list NAME --all, tape connector remove NAME VERSION.",
        )
    }
}
