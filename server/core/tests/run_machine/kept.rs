//! A run's rows as a store would keep them, and what has to hold after every command.

use std::collections::{BTreeMap, BTreeSet};

use tape_core::budget::Budget;
use tape_core::effect::{Effect, EffectState, Semantics};
use tape_core::journal::Kind;
use tape_core::obligation::{Obligation, ObligationState};
use tape_core::run::{Run, RunState};
use tape_core::timer::TimerState;
use tape_core::{Command, Context, Draft, EffectKey, Entry, Refusal, Row, RowKey, RunId, RunIdentity, Snapshot, Time};

pub struct Kept {
    pub rows: BTreeMap<RowKey, Row>,
    pub now: Time,
    /// The kinds of what was journalled, in order.
    journal: Vec<Kind>,
    take_overs: u64,
    /// Effects that must not go twice and whose mark was set, as long as nobody who can know said that they did not take hold.
    pub marked: BTreeSet<EffectKey>,
}

/// What the very same command, asked again at once, has to do.
pub enum Again<C: Command> {
    /// Answer the same, as this tells it, and write nothing.
    Same(fn(&C::Reply) -> String),
    /// Journal nothing; it may answer that there is nothing left to take.
    Quiet,
    /// Count once more.
    Counts,
}

pub fn identity() -> RunIdentity {
    RunIdentity {
        app: "app".into(),
        invocation: "i".into(),
        ..RunIdentity::default()
    }
}

pub fn id() -> RunId {
    RunId::derive(&identity())
}

impl Kept {
    pub fn new() -> Self {
        Self {
            rows: BTreeMap::new(),
            now: Time(1_000_000),
            journal: Vec::new(),
            take_overs: 0,
            marked: BTreeSet::new(),
        }
    }

    pub fn head(&self) -> Option<&Run> {
        match self.rows.get(&RowKey::Head) {
            Some(Row::Run(run)) => Some(run),
            _ => None,
        }
    }

    pub fn effect(&self, key: &EffectKey) -> Option<&Effect> {
        match self.rows.get(&RowKey::Effect(key.clone())) {
            Some(Row::Effect(effect)) => Some(effect),
            _ => None,
        }
    }

    pub fn budget(&self) -> Budget {
        match self.rows.get(&RowKey::Budget) {
            Some(Row::Budget(budget)) => budget.clone(),
            _ => Budget::default(),
        }
    }

    pub fn obligation(&self, seq: i64) -> Option<&Obligation> {
        match self.rows.get(&RowKey::Obligation(seq)) {
            Some(Row::Obligation(obligation)) => Some(obligation),
            _ => None,
        }
    }

    /// The obligations' numbers, oldest first.
    pub fn obligations(&self) -> Vec<i64> {
        let seq = |key: &RowKey| match key {
            RowKey::Obligation(seq) => Some(*seq),
            _ => None,
        };
        self.rows.keys().filter_map(seq).collect()
    }

    /// Asks, keeps what it writes, checks it, and sees what asking again at once does.
    pub fn ask<C: Command>(&mut self, command: &C, again: &Again<C>) -> Result<C::Reply, Refusal> {
        let before = self.rows.clone();
        let (reply, entries) = self.commit(command);
        match &reply {
            Err(refusal) => {
                assert_eq!(self.rows, before, "{refusal:?} has changed something");
                assert!(entries.is_empty(), "{refusal:?} is journalled");
            }
            Ok(_) => self.journalled(&entries),
        }
        self.check(&before);
        let Ok(first) = &reply else { return reply };
        let (rows, marked) = (self.rows.clone(), self.marked.clone());
        match again {
            Again::Same(tell) => {
                let (second, entries) = self.commit(command);
                let second = second.expect("what was granted is granted again");
                assert_eq!(tell(first), tell(&second), "the same request, another answer");
                assert!(entries.is_empty(), "the same request journals {entries:?}");
                assert_eq!(self.rows, rows, "the same request changes something");
            }
            Again::Quiet => {
                let (_, entries) = self.commit(command);
                assert!(entries.is_empty(), "the same request journals {entries:?}");
            }
            Again::Counts => {}
        }
        (self.rows, self.marked) = (rows, marked);
        reply
    }

    /// Decides on what the command reads, and on nothing else.
    fn commit<C: Command>(&mut self, command: &C) -> (Result<C::Reply, Refusal>, Vec<Entry>) {
        let reads = command.reads();
        let mut rows = BTreeMap::new();
        for key in reads.rows.iter().chain([&RowKey::Head]) {
            if let Some(row) = self.rows.get(key) {
                rows.insert(key.clone(), row.clone());
            }
        }
        for range in &reads.ranges {
            let of_kind = self.rows.iter().filter(|(key, _)| key.kind() == range.kind);
            let last = range
                .last
                .map_or(usize::MAX, |last| usize::try_from(last).expect("small"));
            rows.extend(of_kind.rev().take(last).map(|(key, row)| (key.clone(), row.clone())));
        }
        let context = Context {
            now: self.now,
            jitter: 500,
            trace: None,
        };
        let mut draft = Draft::new(Snapshot { version: 1, rows }, context);
        let reply = command.decide(&mut draft);
        let (changes, after) = draft.finish();
        // A refusal is checked too: a draft that is dropped must not have been the only thing that kept it from being written.
        self.rows.extend(changes.puts);
        for key in changes.deletes {
            self.rows.remove(&key);
        }
        for (key, row) in &after.rows {
            assert_eq!(self.rows.get(key), Some(row), "{key:?} was changed and is not written");
        }
        (reply, changes.entries)
    }

    fn last_seq(&self) -> i64 {
        i64::try_from(self.journal.len()).expect("a short journal")
    }

    fn journalled(&mut self, entries: &[Entry]) {
        for entry in entries {
            assert_eq!(entry.seq, self.last_seq() + 1, "the journal has a hole");
            self.journal.push(entry.kind);
            self.take_overs += u64::from(entry.kind == Kind::RunAttached);
        }
    }

    fn check(&self, before: &BTreeMap<RowKey, Row>) {
        let Some(run) = self.head() else { return };
        assert_eq!(run.seq, self.last_seq(), "the head counts other entries");
        if let Some(Row::Run(was)) = before.get(&RowKey::Head) {
            self.check_run(was, run);
        }
        for (key, was) in before {
            let row = self.rows.get(key).expect("no row of a run is ever taken away");
            check_row(was, row, self.now);
        }
    }

    fn check_run(&self, was: &Run, run: &Run) {
        let (from, to) = (was.state.name(), run.state.name());
        let last = self.journal.last().copied();
        if was.has_ended() && from != to {
            let redriven = matches!(was.state, RunState::Failed | RunState::Stuck) && last == Some(Kind::RunRedriven);
            let compensates = matches!(run.state, RunState::Compensating { .. });
            assert!(redriven || compensates, "{from} came back as {to} by {last:?}");
        }
        assert!(
            run.cancelled.is_none() || !run.state.live(),
            "a cancelled run came back as {to}"
        );

        assert_eq!(run.fence, self.take_overs, "the fence counts the take-overs");
        assert!(run.fence >= was.fence, "the fence went back");
        let RunState::Running(lease) = &run.state else { return };
        assert_eq!((lease.fence, &lease.owner), (run.fence, &run.driver));
        match &was.state {
            RunState::Running(held) if held.owner == lease.owner => assert_eq!(held.fence, lease.fence, "renewed"),
            RunState::Running(held) => {
                assert!(!held.lives(self.now), "a lease that lives was taken away");
                assert_eq!(lease.fence, was.fence + 1);
            }
            _ => assert_eq!(lease.fence, was.fence + 1, "taken over from {from}"),
        }
    }
}

/// What holds between a row as it was and as it is.
fn check_row(was: &Row, row: &Row, now: Time) {
    match (was, row) {
        (Row::Decision(_) | Row::Lease(_) | Row::Confirmed(_) | Row::Request(_), _) => assert_eq!(was, row),
        (Row::Effect(was), Row::Effect(effect)) => {
            assert_eq!(was.intent, effect.intent);
            // Of the attempts in a row under which nobody could be asked, one is kept: numbers are skipped, and never used again.
            let numbers = |effect: &Effect| effect.attempts.iter().map(|a| a.number).collect::<Vec<_>>();
            let (known, attempts) = (numbers(was), numbers(effect));
            assert!(attempts.is_sorted_by(|a, b| a < b), "{attempts:?}");
            assert!(attempts.last() >= known.last(), "{known:?} became {attempts:?}");
            if was.state == EffectState::Confirmed {
                assert_eq!(was, effect, "a confirmed effect changed");
            }
        }
        (Row::Obligation(was), Row::Obligation(obligation)) if was.state == ObligationState::Compensated => {
            assert_eq!(was, obligation, "what is undone changed");
        }
        (Row::Gate(was), Row::Gate(gate)) if was.resolution.is_some() => {
            assert_eq!(was.resolution, gate.resolution, "a resolution was replaced");
        }
        (Row::Timer(was), Row::Timer(timer)) => {
            if was.state == TimerState::Cancelled {
                assert_eq!(was, timer, "a cancelled timer changed");
            }
            if was.state != timer.state && matches!(timer.state, TimerState::Claimed(_) | TimerState::Fired) {
                assert!(now >= timer.fire_at, "a timer was early");
            }
        }
        _ => {}
    }
}

impl Kept {
    /// Whether a second dispatch of the effect could do it twice.
    pub fn may_double(&self, key: &EffectKey) -> bool {
        self.effect(key).is_some_and(|effect| {
            effect.intent.semantics == Semantics::NonIdempotent && matches!(effect.state, EffectState::Sent(_))
        })
    }
}
