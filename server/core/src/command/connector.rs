//! Deployed connectors: put, activate, roll back, grant, remove. Each change is an entry of the connector's own journal.

use serde_json::{Value, json};

use super::{Command, Reads};
use crate::connector::{
    Connector, ConnectorName, ConnectorVersion, Known, Share, VERSIONS_MAX, check_version, no_connector,
};
use crate::draft::{Draft, Note};
use crate::entity::EntityId;
use crate::journal::Kind;
use crate::json::check_payload;
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey};

/// Who asked for a change, and why.
#[derive(Clone, Debug, Default)]
pub struct By {
    /// Who; may be empty.
    pub who: String,
    /// Why; may be empty.
    pub reason: String,
}

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

/// A document before and after; null if it stays.
fn changed(before: &str, after: &str) -> Value {
    if before == after {
        return Value::Null;
    }
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    json!({ "before": read(before), "after": read(after) })
}

fn check_document(field: &'static str, text: &str) -> Result<(), Refusal> {
    check_payload(field, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::ALL;
    use crate::draft::{Changes, Context, Snapshot};

    /// One connector, as a store would keep it.
    #[derive(Default)]
    struct Bank {
        rows: Snapshot,
    }

    fn name() -> ConnectorName {
        ConnectorName::new("t", "bank")
    }

    fn put(version: &str, bytes: &str) -> PutVersion {
        PutVersion {
            name: name(),
            version: ConnectorVersion {
                version: version.into(),
                digest: format!("sha256:{bytes}0123456789"),
                ..ConnectorVersion::default()
            },
            taken: Taken::Refuse,
            activate: false,
            declared: None,
            by: By::default(),
        }
    }

    fn declared(version: &str, bytes: &str, config: &str) -> PutVersion {
        let mut put = PutVersion {
            taken: Taken::Rename,
            activate: true,
            declared: Some(format!("{bytes} {config}")),
            ..put(version, bytes)
        };
        put.version.config_json = config.into();
        put
    }

    impl Bank {
        fn run<C: Command>(&mut self, command: &C) -> Result<(C::Reply, Changes), Refusal> {
            let mut draft = Draft::new(self.rows.clone(), Context::default());
            let reply = command.decide(&mut draft);
            let (changes, rows) = draft.finish();
            if reply.is_ok() {
                self.rows = rows;
            } else {
                assert!(changes.is_empty(), "a refusal writes nothing");
            }
            Ok((reply?, changes))
        }

        fn activate(&mut self, version: &str, weight: i32) -> Result<String, Refusal> {
            let command = ActivateVersion {
                name: name(),
                version: version.into(),
                weight,
                by: By::default(),
            };
            self.run(&command).map(|(connector, _)| shown(&connector))
        }

        fn rollback(&mut self, from: &str) -> Result<String, Refusal> {
            let command = Rollback {
                name: name(),
                from: from.into(),
                by: By::default(),
            };
            self.run(&command).map(|(connector, _)| shown(&connector))
        }

        fn with(versions: &[&str]) -> Self {
            let mut bank = Self::default();
            for version in versions {
                bank.run(&put(version, version)).unwrap();
            }
            bank
        }
    }

    fn shown(connector: &Connector) -> String {
        let share = |share: &Share| format!("{} {}", share.version, share.weight);
        connector.active.iter().map(share).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_version_is_its_bytes_for_ever() {
        let mut bank = Bank::default();
        let (first, changes) = bank.run(&put("1.0.0", "aa")).unwrap();
        assert!(first.created && changes.entries.len() == 1 && first.connector.active.is_empty());
        let (again, changes) = bank.run(&put("1.0.0", "aa")).unwrap();
        assert!(!again.created && changes.is_empty());
        let refusal = bank.run(&put("1.0.0", "bb")).unwrap_err();
        assert_eq!((refusal.status, refusal.code), (Status::AlreadyExists, "TAPE-C041"));
        let renamed = PutVersion {
            taken: Taken::Rename,
            ..put("1.0.0", "bb")
        };
        let (renamed, _) = bank.run(&renamed).unwrap();
        assert_eq!(
            (renamed.created, renamed.version.version.as_str()),
            (true, "1.0.0+bb012345")
        );
    }

    #[test]
    fn other_grants_for_the_same_version_are_not_taken_silently() {
        let mut bank = Bank::with(&["1"]);
        let mut other = put("1", "1");
        other.version.grants_json = r#"{"hosts":["*"]}"#.into();
        assert_eq!(bank.run(&other).unwrap_err().code, "TAPE-C041");
    }

    #[test]
    fn calls_are_shared_between_two_versions_at_most() {
        let mut bank = Bank::with(&["1", "2", "3"]);
        assert_eq!(bank.activate("1", 10).unwrap_err().code, "TAPE-C042");
        for (version, weight, active) in [
            ("1", 0, "1 100"),
            ("2", 10, "1 90, 2 10"),
            ("2", 50, "1 50, 2 50"),
            ("1", 30, "1 30, 2 70"),
            ("3", 5, "1 95, 3 5"),
            ("3", 100, "3 100"),
        ] {
            assert_eq!(bank.activate(version, weight).unwrap(), active);
        }
        assert_eq!(bank.activate("3", 50).unwrap_err().code, "TAPE-C042", "with whom?");
        for weight in [-1, 101] {
            assert_eq!(bank.activate("1", weight).unwrap_err().field, Some("weight"));
        }
        assert_eq!(bank.activate("4", 0).unwrap_err().code, "TAPE-C040");
    }

    #[test]
    fn what_is_so_already_is_not_journalled_again() {
        let mut bank = Bank::with(&["1"]);
        let activate = ActivateVersion {
            name: name(),
            version: "1".into(),
            weight: 0,
            by: By::default(),
        };
        let (first, changes) = bank.run(&activate).unwrap();
        assert_eq!((first.seq, changes.entries.len()), (2, 1));
        let (again, changes) = bank.run(&activate).unwrap();
        assert!(again.seq == 2 && changes.is_empty());
    }

    #[test]
    fn rollback_leaves_the_version_that_came_last() {
        let mut bank = Bank::with(&["1", "2"]);
        assert_eq!(bank.rollback("").unwrap_err().code, "TAPE-C042");
        bank.activate("1", 0).unwrap();
        bank.activate("2", 10).unwrap();
        assert_eq!(bank.rollback("").unwrap(), "1 100");
        bank.activate("2", 10).unwrap();
        bank.activate("2", 100).unwrap();
        assert_eq!(
            bank.rollback("2").unwrap(),
            "1 100",
            "not to the canary of the version that is left"
        );
        assert_eq!(bank.rollback("2").unwrap(), "1 100", "it was left already");
        assert_eq!(bank.rollback("").unwrap_err().code, "TAPE-C042");
        assert_eq!(bank.rollback("3").unwrap_err().code, "TAPE-C040");
    }

    #[test]
    fn a_version_is_removed_unless_it_is_active() {
        let mut bank = Bank::with(&["1", "2"]);
        bank.activate("1", 0).unwrap();
        bank.activate("2", 0).unwrap();
        let remove = |version: &str| RemoveVersion {
            name: name(),
            version: version.into(),
            by: By::default(),
        };
        assert_eq!(bank.run(&remove("2")).unwrap_err().code, "TAPE-C043");
        assert!(bank.run(&remove("1")).unwrap().0);
        assert!(!bank.run(&remove("1")).unwrap().0, "it was gone");
        assert_eq!(
            bank.rollback("").unwrap_err().code,
            "TAPE-C042",
            "there is nothing to go back to"
        );
    }

    #[test]
    fn a_declaration_is_applied_once_and_leaves_what_an_operator_did() {
        let mut bank = Bank::default();
        let first = declared("1", "aa", "{}");
        assert_eq!(shown(&bank.run(&first).unwrap().0.connector), "1 100");
        bank.run(&put("2", "bb")).unwrap();
        bank.activate("2", 0).unwrap();
        let (same, changes) = bank.run(&first).unwrap();
        assert!(changes.is_empty() && shown(&same.connector) == "2 100");
        // The same bytes with another configuration are another declaration; the version keeps its name.
        let (other, _) = bank.run(&declared("1", "aa", "[]")).unwrap();
        assert_eq!(
            (shown(&other.connector).as_str(), other.version.config_json.as_str()),
            ("1 100", "[]")
        );
        let (rebuilt, _) = bank.run(&declared("1", "cc", "[]")).unwrap();
        assert_eq!(shown(&rebuilt.connector), "1+cc012345 100");
        // Back to what was declared before.
        assert_eq!(shown(&bank.run(&first).unwrap().0.connector), "1 100");
    }

    #[test]
    fn there_is_an_end_to_versions_and_to_going_back() {
        let names: Vec<String> = (0..VERSIONS_MAX).map(|n| n.to_string()).collect();
        let mut bank = Bank::with(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(bank.run(&put("more", "ff")).unwrap_err().code, "TAPE-C044");
        for name in &names {
            bank.activate(name, i32::from(ALL)).unwrap();
        }
        let Some(Row::Connector(connector)) = bank.rows.rows.get(&RowKey::Head) else {
            unreachable!("it was put")
        };
        assert_eq!(connector.former.len(), crate::connector::FORMER_MAX);
    }

    #[test]
    fn who_rebuilds_again_and_again_does_not_run_out_of_versions() {
        let mut bank = Bank::default();
        for build in 0..VERSIONS_MAX + 5 {
            let put = PutVersion {
                taken: Taken::Rename,
                activate: true,
                ..put("1.0.0", &format!("{build:08}"))
            };
            let (done, _) = bank.run(&put).unwrap();
            assert!(done.created && done.connector.versions.len() <= VERSIONS_MAX);
            assert_eq!(done.connector.main(), Some(done.version.version.as_str()));
            assert!(
                done.connector.known("1.0.0").is_some(),
                "what was not named after its digest stays"
            );
        }
    }

    #[test]
    fn what_was_granted_is_journalled_before_and_after() {
        let mut bank = Bank::with(&["1"]);
        let grant = GrantVersion {
            name: name(),
            version: "1".into(),
            grants_json: Some(r#"{"hosts":["https://bank"]}"#.into()),
            limits_json: None,
            config_json: None,
            by: By {
                who: "ann".into(),
                reason: "go live".into(),
            },
        };
        let (_, changes) = bank.run(&grant).unwrap();
        let entry: Value = serde_json::from_str(&changes.entries[0].payload_json).unwrap();
        assert_eq!(entry["grants"]["after"]["hosts"][0], "https://bank");
        assert_eq!((&entry["who"], &entry["limits"]), (&json!("ann"), &Value::Null));
        assert!(bank.run(&grant).unwrap().1.is_empty());
    }

    #[test]
    fn names_are_plain() {
        for bad in ["", "Bank", "b ank", "../x"] {
            let mut put = put("1", "aa");
            put.name.name = bad.into();
            assert_eq!(Bank::default().run(&put).unwrap_err().code, "TAPE-C020");
        }
        for bad in ["", "1 0", "a/b"] {
            assert_eq!(Bank::default().run(&put(bad, "aa")).unwrap_err().code, "TAPE-C047");
        }
    }
}
