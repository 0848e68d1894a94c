//! What must be true after every step, read from the store itself and from the bank's ledger.

use std::collections::{BTreeMap, BTreeSet};

use tape_core::budget::Budget;
use tape_core::command::Range;
use tape_core::effect::{Effect, EffectState, Mode, Semantics};
use tape_core::journal::Kind;
use tape_core::obligation::{Obligation, ObligationState};
use tape_core::row::RowKind;
use tape_core::run::{Run, RunState};
use tape_core::timer::{Timer, TimerState};
use tape_core::{EntityId, Entry, Row, RowKey, RunId};
use tape_store::{Store, codec};
use tape_store_memory::MemoryStore;

use crate::agent::{CAP_MICROS, Deeds};
use crate::bank::{Bank, reference};

/// A run as it is stored.
pub(crate) struct Stored {
    pub(crate) run: Run,
    pub(crate) effects: Vec<Effect>,
    decisions: BTreeMap<i64, String>,
    journal: Vec<Entry>,
    budget: Option<Budget>,
    timers: Vec<Timer>,
    obligations: Vec<Obligation>,
}

/// Reads a run past every fault.
pub(crate) async fn read(store: &MemoryStore, id: &RunId) -> Option<Stored> {
    let entity = EntityId::run(id);
    let all = |kind| Range { kind, last: None };
    let loaded = store
        .load(
            &entity,
            &[RowKey::Budget],
            &[
                all(RowKind::Decision),
                all(RowKind::Effect),
                all(RowKind::Timer),
                all(RowKind::Obligation),
            ],
        )
        .await
        .ok()?;
    let (mut run, mut effects, mut decisions) = (None, Vec::new(), BTreeMap::new());
    let (mut budget, mut timers, mut obligations) = (None, Vec::new(), Vec::new());
    for (key, body) in loaded.rows {
        match (key, codec::decode_row(&body).ok()?) {
            (RowKey::Head, Row::Run(head)) => run = Some(*head),
            (_, Row::Effect(effect)) => effects.push(*effect),
            (_, Row::Budget(found)) => budget = Some(found),
            (_, Row::Timer(timer)) => timers.push(timer),
            (_, Row::Obligation(obligation)) => obligations.push(*obligation),
            (_, Row::Decision(decision)) => drop(decisions.insert(decision.index, decision.response_json)),
            _ => {}
        }
    }
    let entries = store.journal(&entity, 1, u32::MAX).await.ok()?;
    let journal = entries
        .iter()
        .map(|entry| codec::decode_entry(&entry.body))
        .collect::<Result<_, _>>()
        .ok()?;
    Some(Stored {
        run: run?,
        effects,
        decisions,
        journal,
        budget,
        timers,
        obligations,
    })
}

/// Whether all of a run's timers have fired.
pub(crate) async fn fired(store: &MemoryStore, id: &RunId) -> bool {
    let stored = read(store, id).await;
    stored.is_some_and(|stored| stored.timers.iter().all(|timer| timer.state == TimerState::Fired))
}

/// Everything that is wrong now.
pub(crate) async fn check(store: &MemoryStore, runs: &[RunId], deeds: &Deeds, bank: &Bank) -> Vec<String> {
    let mut wrong = deeds.violations.clone();
    wrong.extend(bank.books().violations.clone());
    for id in runs {
        let Some(stored) = read(store, id).await else { continue };
        confirmed_stays(&stored, deeds, &mut wrong);
        acknowledged_stays(&stored, deeds, &mut wrong);
        journal_tells_the_truth(&stored, &mut wrong);
        one_wire(&stored, bank, &mut wrong);
        within_the_cap(&stored, &mut wrong);
        undone_as_asked(&stored, deeds, bank, &mut wrong);
        nothing_is_left(&stored, &mut wrong);
    }
    wrong
}

/// Invariant 1: a confirmed effect stays confirmed, with its result.
fn confirmed_stays(stored: &Stored, deeds: &Deeds, wrong: &mut Vec<String>) {
    for effect in &stored.effects {
        let key = &effect.intent.key;
        if let Some(result) = deeds.confirmed.get(key)
            && (effect.state != EffectState::Confirmed || effect.response_json != *result)
        {
            wrong.push(format!(
                "invariant 1: {key} was confirmed with {result} and is {} with {}",
                effect.state.name(),
                effect.response_json
            ));
        }
    }
}

/// Invariant 4: what was acknowledged is there.
fn acknowledged_stays(stored: &Stored, deeds: &Deeds, wrong: &mut Vec<String>) {
    let id = &stored.run.id;
    for ((_, index), answer) in deeds.decisions.range((id.clone(), 0)..=(id.clone(), i64::MAX)) {
        if stored.decisions.get(index) != Some(answer) {
            wrong.push(format!(
                "invariant 4: decision {index} of {id} was acknowledged and is {:?}",
                stored.decisions.get(index)
            ));
        }
    }
    let undoing = deeds.undoing.contains(id);
    if deeds.ended.contains(id) && !undoing && !matches!(stored.run.state, RunState::Terminal | RunState::Failed) {
        wrong.push(format!(
            "invariant 4: {id} was ended and is {}",
            stored.run.state.name()
        ));
    }
}

/// Invariant 5: an entry exists if and only if the change happened; seqs have no holes.
fn journal_tells_the_truth(stored: &Stored, wrong: &mut Vec<String>) {
    let id = &stored.run.id;
    for (index, entry) in stored.journal.iter().enumerate() {
        if entry.seq != index as i64 + 1 {
            wrong.push(format!(
                "invariant 5: entry {} of {id} has seq {}",
                index + 1,
                entry.seq
            ));
            return;
        }
    }
    if stored.run.seq != stored.journal.len() as i64 {
        wrong.push(format!(
            "invariant 5: {id} is at seq {} with {} entries",
            stored.run.seq,
            stored.journal.len()
        ));
    }
    let count = |kind: Kind, about: &str| {
        stored
            .journal
            .iter()
            .filter(|e| e.kind == kind && e.about == about)
            .count()
    };
    let decisions = stored
        .journal
        .iter()
        .filter(|e| e.kind == Kind::DecisionRecorded)
        .count();
    if decisions != stored.decisions.len() || stored.run.decisions != decisions as i64 {
        wrong.push(format!(
            "invariant 5: {id} has {} decisions and {decisions} entries",
            stored.decisions.len()
        ));
    }
    for effect in &stored.effects {
        let key = effect.intent.key.as_str();
        let confirmed = usize::from(effect.state == EffectState::Confirmed);
        if count(Kind::EffectBegun, key) != 1 || count(Kind::EffectConfirmed, key) != confirmed {
            wrong.push(format!(
                "invariant 5: the entries of {key} ({}) do not add up",
                effect.state.name()
            ));
        }
        let marks = effect.attempts.iter().filter(|attempt| attempt.sent.is_some()).count();
        if count(Kind::EffectSent, key) != marks {
            wrong.push(format!(
                "invariant 5: {key} has {marks} marks and {} entries",
                count(Kind::EffectSent, key)
            ));
        }
    }
}

/// Invariant 8: what is spent and reserved stays within the cap, the journal says the same, and no request is charged twice
/// or holds money after its charge.
fn within_the_cap(stored: &Stored, wrong: &mut Vec<String>) {
    let Some(budget) = &stored.budget else { return };
    let id = &stored.run.id;
    let held: i64 = budget.reserved.values().map(|held| held.usd_micros).sum();
    if budget.usd_spent_micros + held > CAP_MICROS {
        wrong.push(format!("invariant 8: {id} has {budget:?}"));
    }
    let mut charged: BTreeMap<String, i64> = BTreeMap::new();
    for entry in stored.journal.iter().filter(|entry| entry.kind == Kind::BudgetCharged) {
        let payload: serde_json::Value = serde_json::from_str(&entry.payload_json).unwrap_or_default();
        let request = payload["request_id"].as_str().unwrap_or_default().to_owned();
        let micros = payload["usd_micros"].as_i64().unwrap_or_default();
        if charged.insert(request.clone(), micros).is_some() {
            wrong.push(format!("invariant 8: {id} was charged twice for {request}"));
        }
    }
    if charged.values().sum::<i64>() != budget.usd_spent_micros {
        wrong.push(format!(
            "invariant 5: {id} spent {}, its journal says {charged:?}",
            budget.usd_spent_micros
        ));
    }
    if let Some(request) = budget.reserved.keys().find(|request| charged.contains_key(*request)) {
        wrong.push(format!(
            "invariant 8: {id} holds money for {request}, which was charged"
        ));
    }
}

/// Invariant 6: only what was confirmed is undone, newest first, one after the other, each once, and only because somebody asked for it
/// or the bank had booked it twice.
fn undone_as_asked(stored: &Stored, deeds: &Deeds, bank: &Bank, wrong: &mut Vec<String>) {
    let (id, books) = (&stored.run.id, bank.books());
    let of = |key: &str| stored.effects.iter().find(|effect| effect.intent.key.as_str() == key);
    let mut surplus = BTreeSet::new();
    for undo in books.undoing.sent.iter().filter(|undo| undo.run == id.as_str()) {
        let Some(effect) = of(&undo.effect) else {
            wrong.push(format!("invariant 6: {undo:?} is of no effect"));
            continue;
        };
        if effect.state != EffectState::Confirmed {
            wrong.push(format!(
                "invariant 6: {undo:?} of an effect that is {}",
                effect.state.name()
            ));
        }
        if undo.booking != effect.external_ref {
            surplus.insert(undo.booking.clone());
            if !books.doubled.contains(&effect.intent.business_key) {
                wrong.push(format!("invariant 6: {undo:?} is no surplus booking"));
            }
        } else if !deeds.undoing.contains(id) {
            wrong.push(format!("invariant 6: {undo:?}, which nobody asked for"));
        }
        let times = books.undoing.times.get(&undo.booking).copied().unwrap_or_default();
        // Where there were two, a look that finds the other one does not tell: the bank's connector undoes what it is told to.
        if times > 1 && !books.doubled.contains(&effect.intent.business_key) {
            wrong.push(format!("invariant 6: {} was undone {times} times", undo.booking));
        }
    }
    let turns = books.undoing.turns(id.as_str(), &surplus);
    let orders: Vec<_> = turns.iter().filter_map(|key| of(key)?.confirmed_order).collect();
    if !orders.is_sorted_by(|a, b| a > b) {
        wrong.push(format!(
            "invariant 6: {id} was undone in the order {orders:?} of confirmation"
        ));
    }
    for obligation in &stored.obligations {
        let undone = obligation.state == ObligationState::Compensated;
        if undone && !books.undoing.undone(&obligation.external_ref) {
            wrong.push(format!(
                "invariant 6: {obligation:?} is compensated, and was not undone"
            ));
        }
    }
}

/// Invariant 6, the other way round: of a run that was compensated to its end, nothing that could be undone is left, or in doubt.
fn nothing_is_left(stored: &Stored, wrong: &mut Vec<String>) {
    let compensated = stored.journal.last().is_some_and(|entry| {
        let payload: serde_json::Value = serde_json::from_str(&entry.payload_json).unwrap_or_default();
        entry.kind == Kind::RunEnded && payload["compensated"] == true
    });
    if !compensated {
        return;
    }
    for effect in stored.effects.iter().filter(|effect| effect.intent.handle.is_some()) {
        let undone = stored
            .obligations
            .iter()
            .any(|o| o.effect == effect.intent.key && o.order.is_some() && o.state == ObligationState::Compensated);
        if effect.state != EffectState::Failed && !undone {
            wrong.push(format!(
                "invariant 6: {} is compensated, and {} is {} and not undone",
                stored.run.id,
                effect.intent.key,
                effect.state.name()
            ));
        }
    }
}

/// The user's invariant: never two wires, and one for each that is confirmed.
fn one_wire(stored: &Stored, bank: &Bank, wrong: &mut Vec<String>) {
    let books = bank.books();
    for effect in &stored.effects {
        if effect.intent.mode != Mode::Outbox {
            continue;
        }
        let booked = match effect.intent.semantics {
            Semantics::NonIdempotent => books.wires.get(&effect.intent.business_key).map_or(0, Vec::len),
            _ => usize::from(books.payments.contains_key(effect.intent.key.as_str())),
        };
        let once = if books.doubled.contains(&effect.intent.business_key) {
            2
        } else {
            1
        };
        if booked > once || (effect.state == EffectState::Confirmed && booked != once) {
            wrong.push(format!(
                "the bank booked {} {booked} times; it is {}",
                effect.intent.key,
                effect.state.name()
            ));
        }
        let under_way = books
            .under_way
            .iter()
            .filter(|(_, call)| reference(call) == effect.intent.business_key);
        let booked = booked + under_way.count();
        if effect.state == EffectState::Failed && booked != 0 && effect.intent.semantics == Semantics::NonIdempotent {
            wrong.push(format!(
                "{} is FAILED, and the bank booked it or will",
                effect.intent.key
            ));
        }
    }
}
