//! Values: write and delete.

use serde::{Deserialize, Serialize};

use super::{Command, Reads};
use crate::decision::request_hash;
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::json::{check_name, check_optional_name, check_payload};
use crate::refusal::{Refusal, Status};
use crate::row::{Row, RowKey};
use crate::time::Time;
use crate::value::{VERSIONS_KEPT, Value, ValueName};

/// Writes a value, whole, as its next version.
#[derive(Clone, Debug)]
pub struct WriteValue {
    /// Which.
    pub name: ValueName,
    /// The value as JSON.
    pub json: String,
    /// What must be in force.
    pub guard: Guard,
    /// Whoever the writer says it is; may be empty.
    pub writer: String,
    /// The same id again gives the recorded answer; empty = every request is a new one.
    pub request_id: String,
}

/// Deletes a value: a version too.
#[derive(Clone, Debug)]
pub struct DeleteValue {
    /// Which.
    pub name: ValueName,
    /// As in [`WriteValue`].
    pub request_id: String,
}

/// What must be in force for a write to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Anything.
    Any,
    /// Nothing: the key was never written, or its newest version is a deletion.
    Absent,
    /// Exactly this version.
    Version(u64),
}

/// What a deletion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Whether there was something to delete.
    pub deleted: bool,
    /// The version in force afterwards; 0 if the key was never written.
    pub version: u64,
}

/// What is remembered of a write: all that its request does not say itself.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u64,
    at: Time,
    writer: String,
    /// Of the value: the same id with another one is a mistake.
    hash: [u8; 32],
}

impl Command for WriteValue {
    type Reply = Value;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head().request(&self.request_id)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Value, Refusal> {
        check_value_name(&self.name)?;
        check_optional_name("writer", &self.writer)?;
        if self.json.is_empty() {
            let cure = "Send a JSON value as text; DeleteValue takes a value away.";
            return Err(Refusal::invalid("value_json", "", "value_json is missing.", cure).coded("TAPE-V002"));
        }
        check_payload("value_json", &self.json)?;
        if let Some(answer) = draft.answered(&self.request_id, "WriteValue")? {
            return self.repeated(answer);
        }
        let current = head(draft);
        self.guard.check(current)?;
        let value = Value {
            name: self.name.clone(),
            version: version(current) + 1,
            json: self.json.clone(),
            at: draft.now(),
            writer: self.writer.clone(),
            deleted: false,
        };
        append(draft, &value);
        let written = Written {
            version: value.version,
            at: value.at,
            writer: value.writer.clone(),
            hash: request_hash(&self.json),
        };
        draft.remember(&self.request_id, "WriteValue", text(&written));
        Ok(value)
    }

    fn repeatable(&self) -> bool {
        !self.request_id.is_empty()
    }
}

impl WriteValue {
    fn repeated(&self, answer: &str) -> Result<Value, Refusal> {
        match serde_json::from_str::<Written>(answer) {
            Ok(written) if written.hash == request_hash(&self.json) => Ok(Value {
                name: self.name.clone(),
                version: written.version,
                json: self.json.clone(),
                at: written.at,
                writer: written.writer,
                deleted: false,
            }),
            _ => Err(Refusal::invalid(
                "request_id",
                &self.request_id,
                "request_id was used for a write of another value.",
                "Use a fresh id for each request.",
            )),
        }
    }
}

impl Command for DeleteValue {
    type Reply = Deleted;

    fn entity(&self) -> EntityId {
        self.name.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head().request(&self.request_id)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Deleted, Refusal> {
        check_value_name(&self.name)?;
        if let Some(answer) = draft.answered(&self.request_id, "DeleteValue")? {
            return serde_json::from_str(answer).map_err(|_| {
                Refusal::invalid(
                    "request_id",
                    &self.request_id,
                    "What was answered to request_id cannot be read.",
                    "Use a fresh id for each request.",
                )
            });
        }
        let current = head(draft);
        let in_force = version(current);
        let deleted = current.is_some_and(|value| !value.deleted);
        let answer = Deleted {
            deleted,
            version: in_force + u64::from(deleted),
        };
        if deleted {
            let value = Value {
                name: self.name.clone(),
                version: answer.version,
                json: String::new(),
                at: draft.now(),
                writer: String::new(),
                deleted: true,
            };
            append(draft, &value);
            // Deleting nothing changes nothing: it needs no memory.
            draft.remember(&self.request_id, "DeleteValue", text(&answer));
        }
        Ok(answer)
    }

    fn repeatable(&self) -> bool {
        !self.request_id.is_empty()
    }
}

impl Guard {
    /// What `if_version` on the wire asks for.
    #[must_use]
    pub fn of(if_version: i64) -> Self {
        match u64::try_from(if_version) {
            Err(_) => Self::Any,
            Ok(0) => Self::Absent,
            Ok(version) => Self::Version(version),
        }
    }

    fn check(self, current: Option<&Value>) -> Result<(), Refusal> {
        let holds = match self {
            Self::Any => true,
            Self::Absent => current.is_none_or(|value| value.deleted),
            Self::Version(wanted) => version(current) == wanted,
        };
        if holds {
            return Ok(());
        }
        let found = match current {
            None => "the key was never written".to_owned(),
            Some(value) => {
                let what = if value.deleted { "deleted" } else { "written" };
                format!("version {} is in force, {what} by {:?}", value.version, value.writer)
            }
        };
        let wanted = match self {
            Self::Version(version) => format!("version {version}"),
            _ => "a key that does not exist".to_owned(),
        };
        let refusal = Refusal::new(
            Status::Aborted,
            "TAPE-K001",
            format!("The write asks for {wanted}, but {found}."),
            "Read the value again and decide on what it says now.",
        );
        Err(Refusal {
            owner: current.map(|value| value.writer.clone()),
            ..refusal.version(version(current))
        })
    }
}

/// Writes the next version, and takes the one away that nobody can ask for any more.
fn append(draft: &mut Draft, value: &Value) {
    draft.put(RowKey::Head, Row::Value(Box::new(value.clone())));
    draft.put(RowKey::ValueVersion(value.version), Row::Value(Box::new(value.clone())));
    // The version before the oldest that can be watched stays: it is what that one replaced.
    if let Some(gone) = value.version.checked_sub(VERSIONS_KEPT + 1).filter(|gone| *gone > 0) {
        draft.delete_unread(RowKey::ValueVersion(gone));
    }
}

fn head(draft: &Draft) -> Option<&Value> {
    match draft.row(&RowKey::Head) {
        Some(Row::Value(value)) => Some(value),
        _ => None,
    }
}

fn version(current: Option<&Value>) -> u64 {
    current.map_or(0, |value| value.version)
}

fn text(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).unwrap_or_default()
}

/// Checks the parts of a value's name: the key must be there, the namespace may be empty.
///
/// # Errors
/// INVALID_ARGUMENT naming the part.
pub fn check_value_name(name: &ValueName) -> Result<(), Refusal> {
    check_optional_name("namespace", &name.namespace)?;
    check_name("key", &name.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::{Changes, Context, Snapshot};

    /// One key, as a store would keep it.
    #[derive(Default)]
    struct Key {
        rows: Snapshot,
        requests: u32,
    }

    fn name() -> ValueName {
        ValueName {
            tenant: String::new(),
            namespace: "n".into(),
            key: "k".into(),
        }
    }

    impl Key {
        fn run<C: Command>(&mut self, command: &C) -> (Result<C::Reply, Refusal>, Changes) {
            let mut draft = Draft::new(self.rows.clone(), Context::default());
            let reply = command.decide(&mut draft);
            let (changes, rows) = draft.finish();
            if reply.is_ok() {
                self.rows = rows;
            } else {
                assert!(changes.is_empty(), "a refusal writes nothing");
            }
            (reply, changes)
        }

        fn write(&mut self, json: &str, if_version: i64, request_id: &str) -> Result<Value, Refusal> {
            self.requests += 1;
            let command = WriteValue {
                name: name(),
                json: json.into(),
                guard: Guard::of(if_version),
                writer: format!("w-{json}"),
                request_id: request_id.into(),
            };
            self.run(&command).0
        }

        fn delete(&mut self, request_id: &str) -> Deleted {
            self.requests += 1;
            let command = DeleteValue {
                name: name(),
                request_id: request_id.into(),
            };
            self.run(&command).0.unwrap()
        }
    }

    #[test]
    fn every_write_and_deletion_is_a_version() {
        let mut key = Key::default();
        assert_eq!(key.delete("").version, 0);
        for n in 1..=3 {
            assert_eq!(key.write("1", -1, "").unwrap().version, n);
        }
        let deleted = |deleted, version| Deleted { deleted, version };
        assert_eq!(key.delete(""), deleted(true, 4));
        assert_eq!(key.delete(""), deleted(false, 4));
        assert_eq!(key.write("2", 0, "").unwrap().version, 5);
        let kept = key.rows.rows.keys().filter(|key| **key != RowKey::Head).cloned();
        assert_eq!(
            kept.collect::<Vec<_>>(),
            (1..=5).map(RowKey::ValueVersion).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_guard_that_does_not_hold_names_who_is_in_force() {
        let mut key = Key::default();
        let unwritten = key.write("1", 3, "").unwrap_err();
        assert_eq!((unwritten.version, unwritten.owner), (Some(0), None));
        key.write("1", 0, "").unwrap();
        key.write("2", 1, "").unwrap();
        for guard in [0, 1, 3] {
            let refusal = key.write("3", guard, "").unwrap_err();
            assert_eq!((refusal.status, refusal.code), (Status::Aborted, "TAPE-K001"));
            assert_eq!((refusal.version, refusal.owner.as_deref()), (Some(2), Some("w-2")));
        }
        key.delete("");
        assert!(key.write("3", 2, "").is_err());
        assert_eq!(key.write("3", 3, "").unwrap().version, 4);
    }

    #[test]
    fn the_same_request_again_gives_the_recorded_answer() {
        let mut key = Key::default();
        let first = key.write("1", 0, "q-1").unwrap();
        key.write("2", 1, "q-2").unwrap();
        let again = key.write("1", 0, "q-1").unwrap();
        assert_eq!((again.version, again.json, again.writer), (1, first.json, first.writer));
        assert_eq!(key.delete("q-3"), key.delete("q-3"));
        assert_eq!(key.write("4", -1, "").unwrap().version, 4);
        for (json, id) in [("9", "q-1"), ("1", "q-3")] {
            let refusal = key.write(json, -1, id).unwrap_err();
            assert_eq!(refusal.field, Some("request_id"));
        }
    }

    #[test]
    fn the_history_is_bounded() {
        let mut key = Key::default();
        for _ in 0..VERSIONS_KEPT + 5 {
            key.write("1", -1, "").unwrap();
        }
        let oldest = key.rows.rows.keys().find(|key| **key != RowKey::Head);
        assert_eq!(oldest, Some(&RowKey::ValueVersion(5)));
        let Some(Row::Value(head)) = key.rows.rows.get(&RowKey::Head) else {
            panic!("a head");
        };
        assert_eq!(head.oldest_kept(), 6);
        assert_eq!(key.rows.rows.len() as u64, 1 + VERSIONS_KEPT + 1);
        assert_eq!(head.fell_behind(5).version, Some(6));
    }

    #[test]
    fn bad_names_and_values_are_refused() {
        let mut key = Key::default();
        for json in ["", "{", "nope"] {
            let refusal = key.write(json, -1, "").unwrap_err();
            assert_eq!((refusal.field, refusal.code), (Some("value_json"), "TAPE-V002"));
        }
        let nameless = DeleteValue {
            name: ValueName {
                key: String::new(),
                ..name()
            },
            request_id: String::new(),
        };
        assert_eq!(key.run(&nameless).0.unwrap_err().field, Some("key"));
    }
}
