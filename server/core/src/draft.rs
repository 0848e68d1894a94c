//! What a command sees and what it changes: rows that were loaded, rows that it writes, entries that it journals.

use std::collections::{BTreeMap, BTreeSet};

use crate::effect::{Effect, EffectEvent};
use crate::id::{EffectKey, RunId};
use crate::journal::{Entry, Kind, Trace};
use crate::json::not_found;
use crate::obligation::Obligation;
use crate::refusal::{Refusal, Status};
use crate::row::{Answered, Row, RowKey};
use crate::run::Run;
use crate::time::Time;

/// What comes from outside with every command: time, luck, and where the request came from.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The server's clock.
    pub now: Time,
    /// A random fraction in thousandths (0..=1000), for jitter.
    pub jitter: u16,
    /// The trace of the request.
    pub trace: Option<Trace>,
}

/// The rows of one entity that a command asked for, as of one version.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Version of the entity; 0 if it does not exist.
    pub version: u64,
    /// The rows that exist, of those that were asked for.
    pub rows: BTreeMap<RowKey, Row>,
}

/// What a command decided to change. Empty if there is nothing to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Rows to write, whole.
    pub puts: Vec<(RowKey, Row)>,
    /// Rows to take away.
    pub deletes: Vec<RowKey>,
    /// Entries to append, with consecutive seqs.
    pub entries: Vec<Entry>,
}

impl Changes {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty() && self.entries.is_empty()
    }
}

/// A snapshot that a command is working on.
#[derive(Clone, Debug)]
pub struct Draft {
    snapshot: Snapshot,
    context: Context,
    written: BTreeSet<RowKey>,
    deleted: BTreeSet<RowKey>,
    entries: Vec<Entry>,
}

impl Draft {
    /// A draft on top of `snapshot`.
    #[must_use]
    pub fn new(snapshot: Snapshot, context: Context) -> Self {
        Self {
            snapshot,
            context,
            written: BTreeSet::new(),
            deleted: BTreeSet::new(),
            entries: Vec::new(),
        }
    }

    /// What was collected, and the rows as they stand after it.
    #[must_use]
    pub fn finish(self) -> (Changes, Snapshot) {
        let puts = self
            .written
            .into_iter()
            .filter_map(|key| self.snapshot.rows.get(&key).map(|row| (key, row.clone())))
            .collect();
        let deletes = self.deleted.into_iter().collect();
        (
            Changes {
                puts,
                deletes,
                entries: self.entries,
            },
            self.snapshot,
        )
    }

    /// The time of the command.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.context.now
    }

    /// The trace of the request, if it has one.
    #[must_use]
    pub const fn trace(&self) -> Option<&Trace> {
        self.context.trace.as_ref()
    }

    /// A random fraction in thousandths.
    #[must_use]
    pub const fn jitter(&self) -> u16 {
        self.context.jitter
    }

    /// Whether the entity exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.snapshot.rows.contains_key(&RowKey::Head)
    }

    /// A row as it stands.
    #[must_use]
    pub fn row(&self, key: &RowKey) -> Option<&Row> {
        self.snapshot.rows.get(key)
    }

    /// All rows that were read, in the order of their keys.
    pub fn rows(&self) -> impl Iterator<Item = (&RowKey, &Row)> {
        self.snapshot.rows.iter()
    }

    /// Writes a row, whole.
    pub fn put(&mut self, key: RowKey, row: Row) {
        self.deleted.remove(&key);
        self.written.insert(key.clone());
        self.snapshot.rows.insert(key, row);
    }

    /// Takes a row away.
    pub fn delete(&mut self, key: &RowKey) {
        self.written.remove(key);
        if self.snapshot.rows.remove(key).is_some() {
            self.deleted.insert(key.clone());
        }
    }

    /// Takes away a row that was not read and may not exist.
    pub fn delete_unread(&mut self, key: RowKey) {
        self.written.remove(&key);
        self.snapshot.rows.remove(&key);
        self.deleted.insert(key);
    }

    /// The run.
    ///
    /// # Errors
    /// NOT_FOUND if there is none.
    pub fn run(&self, id: &RunId) -> Result<&Run, Refusal> {
        match self.row(&RowKey::Head) {
            Some(Row::Run(run)) => Ok(run),
            _ => Err(not_found("TAPE-R001", "run", id.as_str())),
        }
    }

    /// The run, to be changed.
    ///
    /// # Errors
    /// NOT_FOUND if there is none.
    pub fn run_mut(&mut self, id: &RunId) -> Result<&mut Run, Refusal> {
        match self.snapshot.rows.get_mut(&RowKey::Head) {
            Some(Row::Run(run)) => {
                self.written.insert(RowKey::Head);
                Ok(run)
            }
            _ => Err(not_found("TAPE-R001", "run", id.as_str())),
        }
    }

    /// An effect.
    ///
    /// # Errors
    /// NOT_FOUND if there is none.
    pub fn effect(&self, key: &EffectKey) -> Result<&Effect, Refusal> {
        match self.row(&RowKey::Effect(key.clone())) {
            Some(Row::Effect(effect)) => Ok(effect),
            _ => Err(not_found("TAPE-E001", "effect", key.as_str())),
        }
    }

    /// Moves an effect by `event` and lets `with` fill in what belongs to the new state.
    ///
    /// # Errors
    /// NOT_FOUND if there is none; FAILED_PRECONDITION if the event cannot happen to it.
    pub fn move_effect(
        &mut self,
        key: &EffectKey,
        event: EffectEvent,
        with: impl FnOnce(&mut Effect),
    ) -> Result<Effect, Refusal> {
        let now = self.now();
        let mut effect = self.effect(key)?.clone();
        effect.state = effect.state.clone().apply(event).map_err(|illegal| {
            Refusal::new(
                Status::FailedPrecondition,
                "TAPE-E002",
                format!(
                    "Effect {key} is {}: {:?} cannot happen to it.",
                    illegal.state, illegal.event
                ),
                "Read the effect again; it was settled, or somebody else works on it.",
            )
        })?;
        effect.changed = now;
        with(&mut effect);
        self.put(RowKey::Effect(key.clone()), Row::Effect(Box::new(effect.clone())));
        Ok(effect)
    }

    /// An obligation.
    ///
    /// # Errors
    /// NOT_FOUND if there is none.
    pub fn obligation(&self, seq: i64) -> Result<&Obligation, Refusal> {
        match self.row(&RowKey::Obligation(seq)) {
            Some(Row::Obligation(obligation)) => Ok(obligation),
            _ => Err(not_found("TAPE-O001", "obligation", &seq.to_string())),
        }
    }

    /// Writes an obligation.
    pub fn put_obligation(&mut self, obligation: Obligation) {
        self.put(
            RowKey::Obligation(obligation.seq),
            Row::Obligation(Box::new(obligation)),
        );
    }

    /// Appends an entry to the run's journal. Returns its seq.
    ///
    /// # Errors
    /// NOT_FOUND if there is no run.
    pub fn journal(&mut self, run: &RunId, note: Note<'_>) -> Result<i64, Refusal> {
        let (now, trace) = (self.now(), self.context.trace.clone());
        let run = self.run_mut(run)?;
        run.seq += 1;
        let seq = run.seq;
        self.entries.push(Entry {
            seq,
            at: now,
            kind: note.kind,
            decision_index: note.decision_index,
            about: note.about.to_owned(),
            payload_json: note.payload,
            trace,
        });
        Ok(seq)
    }

    /// Appends an entry to the journal of an entity that is no run; its head counts the seq.
    pub fn append(&mut self, seq: i64, note: &Note<'_>) {
        self.entries.push(Entry {
            seq,
            at: self.now(),
            kind: note.kind,
            decision_index: note.decision_index,
            about: note.about.to_owned(),
            payload_json: note.payload.clone(),
            trace: self.context.trace.clone(),
        });
    }

    /// What was answered to a request with this id, if it was. An empty id is never remembered.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if the id was used for another operation.
    pub fn answered(&self, request_id: &str, operation: &'static str) -> Result<Option<&str>, Refusal> {
        match self.row(&RowKey::Request(request_id.to_owned())) {
            Some(Row::Request(answered)) if answered.operation == operation => Ok(Some(&answered.answer)),
            Some(Row::Request(answered)) => Err(Refusal::invalid(
                "request_id",
                request_id,
                format!("request_id was used for {}, not for {operation}.", answered.operation),
                "Use a fresh id for each request.",
            )),
            _ => Ok(None),
        }
    }

    /// Remembers what was answered to a request. Does nothing for an empty id.
    pub fn remember(&mut self, request_id: &str, operation: &'static str, answer: String) {
        if request_id.is_empty() {
            return;
        }
        let answered = Answered {
            operation: operation.to_owned(),
            answer,
            at: self.now(),
        };
        self.put(RowKey::Request(request_id.to_owned()), Row::Request(answered));
    }
}

/// What an entry says, apart from what the draft knows.
#[derive(Debug)]
pub struct Note<'a> {
    /// What happened.
    pub kind: Kind,
    /// What it is about; empty for the run itself.
    pub about: &'a str,
    /// The decision to which it belongs.
    pub decision_index: Option<i64>,
    /// Details as JSON.
    pub payload: String,
}

impl<'a> Note<'a> {
    /// A note about the run itself.
    #[must_use]
    pub fn run(kind: Kind, payload: &serde_json::Value) -> Note<'static> {
        Note {
            kind,
            about: "",
            decision_index: None,
            payload: payload.to_string(),
        }
    }

    /// A note about a part of the run.
    #[must_use]
    pub fn about(kind: Kind, about: &'a str, payload: &serde_json::Value) -> Self {
        Note {
            kind,
            about,
            decision_index: None,
            payload: payload.to_string(),
        }
    }

    /// A note about an effect.
    #[must_use]
    pub fn effect(kind: Kind, effect: &'a Effect, payload: &serde_json::Value) -> Self {
        Note {
            kind,
            about: effect.intent.key.as_str(),
            decision_index: Some(effect.intent.decision_index),
            payload: payload.to_string(),
        }
    }
}
