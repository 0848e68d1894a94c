use super::*;
use crate::command::Command;
use crate::connector::{ALL, VERSIONS_MAX};
use crate::draft::{Changes, Context, Snapshot};
use crate::refusal::Status;

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
