//! What must hold, as questions to the journal, the dump and the bank's books. Pure: a failure says what was expected and seen.

use std::collections::BTreeMap;

use serde_json::Value;
use tape_client::{Entry, Run, RunStatus};

use super::dump::{Dump, Effect};
use super::report::Discrepancy;
use crate::bank_client::Wire;
use crate::journal::{effect_key, payload};

/// The tool whose effect must not happen twice.
pub const WIRE: &str = "wire_money";
/// All of them, in the order in which the line names them.
pub const REACTORS: [&str; 5] = ["recovery", "reconciler", "outbox", "timers", "compensation"];

type Held<T = ()> = anyhow::Result<T>;

/// Everything there is to know once the run has ended.
pub struct Final {
    /// The run's rows and journal.
    pub dump: Dump,
    /// Its head.
    pub run: Run,
    /// Its journal as it was followed.
    pub entries: Vec<Entry>,
    /// How often the model was really asked.
    pub model_calls: usize,
    /// The bank's books.
    pub wires: Vec<Wire>,
    /// The wire's idempotency key.
    pub key: String,
}

/// Where a driver continues.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The first decision that has no record.
    pub decision_index: i64,
    /// The first entry that has no record.
    pub seq: i64,
}

/// What was found in the bank's books.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// By what it was looked for.
    pub business_key: String,
    /// The bank's name for it.
    pub wire_id: String,
}

/// The key of the wire, once it is begun.
pub fn begun_wire(entries: &[Entry]) -> Option<String> {
    let begun = entries
        .iter()
        .find(|entry| entry.kind == "effect.begun" && payload(entry)["tool"] == WIRE)?;
    effect_key(begun).map(str::to_owned)
}

/// The wire is begun, and has no outcome yet.
pub fn is_open(line: &str, dump: &Dump, key: &str) -> Held {
    let effect = wire_of(dump, key)?;
    if ["PENDING", "CLAIMED", "SENT"].contains(&effect.status.as_str()) {
        return Ok(());
    }
    Err(Discrepancy::new(
        line,
        "an effect that is begun and not settled",
        format!("{WIRE} is {}", effect.status),
    )
    .into())
}

/// Nobody drives the run, and somebody should.
pub fn is_runnable(line: &str, run: &Run) -> Held {
    if run.status == RunStatus::Runnable {
        return Ok(());
    }
    Err(Discrepancy::new(line, "RUNNABLE", run.status.as_str()).into())
}

/// The wire is in the books.
pub fn booked(line: &str, wires: &[Wire]) -> Held {
    if wires.len() == 1 {
        return Ok(());
    }
    Err(Discrepancy::new(line, "1 wire in the bank's books", wires.len().to_string()).into())
}

/// The effect was confirmed by a look into the bank's books, not by an answer.
pub fn observed(line: &str, confirmed: &Entry, wires: &[Wire]) -> Held<Found> {
    let told = payload(confirmed);
    if told["observed"] != "present" {
        return Err(Discrepancy::new(line, "confirmed by observation", format!("{} {told}", confirmed.kind)).into());
    }
    booked(line, wires)?;
    let wire = &wires[0];
    if told["external_ref"] != wire.id.as_str() {
        let saw = told["external_ref"].to_string();
        return Err(Discrepancy::new(line, format!("the bank's own name for it, {}", wire.id), saw).into());
    }
    Ok(Found {
        business_key: wire.reference.clone(),
        wire_id: wire.id.clone(),
    })
}

/// The worker continues where the journal ends, and the journal says the same as the worker.
pub fn reattached(entries: &[Entry], attached: &Entry, said: &Value) -> Held<Place> {
    let recorded = entries
        .iter()
        .filter(|entry| entry.kind == "decision.recorded" && entry.seq < attached.seq);
    let place = Place {
        decision_index: recorded
            .filter_map(|entry| entry.decision_index)
            .map(|index| index + 1)
            .max()
            .unwrap_or(0),
        seq: attached.seq + 1,
    };
    let line = "agent re-attached";
    let agrees = said["decision_index"] == place.decision_index && said["seq"] == place.seq && said["resumed"] == true;
    if agrees {
        return Ok(place);
    }
    let expected = format!(
        "decision_index={}, seq={}, resumed, as the journal has it",
        place.decision_index, place.seq
    );
    Err(Discrepancy::new(line, expected, format!("the worker said {said}")).into())
}

impl Final {
    /// The wire was confirmed before the agent came back, and nothing happened to it afterwards: its result was replayed.
    pub fn short_circuited(&self, attached: &Entry, said: &[Value]) -> Held {
        let line = format!("effect `{WIRE}` short-circuited (already CONFIRMED)");
        let of_wire = || self.entries.iter().filter(|entry| effect_key(entry) == Some(&self.key));
        let before = of_wire().any(|entry| entry.kind == "effect.confirmed" && entry.seq < attached.seq);
        if !before {
            let saw = "it was not confirmed by then";
            return Err(Discrepancy::new(line, format!("effect.confirmed before entry {}", attached.seq), saw).into());
        }
        if let Some(after) = of_wire().find(|entry| entry.seq > attached.seq) {
            let saw = format!("entry {} {}", after.seq, after.kind);
            return Err(Discrepancy::new(line, format!("nothing about it after entry {}", attached.seq), saw).into());
        }
        if !said
            .iter()
            .any(|event| event["key"] == self.key.as_str() && event["status"] == "CONFIRMED")
        {
            let saw = format!("{} other replays", said.len());
            return Err(Discrepancy::new(line, format!("the worker replays {} as CONFIRMED", self.key), saw).into());
        }
        self.never_sent_again()?;
        self.each_confirmed_once(&line)
    }

    /// However often anything died, the request left once.
    pub fn never_sent_again(&self) -> Held {
        let line = format!("effect `{WIRE}` was sent once");
        let effect = wire_of(&self.dump, &self.key)?;
        let marked = effect
            .attempts
            .iter()
            .filter(|attempt| attempt.sent_at_ms.is_some())
            .count();
        let sent = self
            .entries
            .iter()
            .filter(|entry| entry.kind == "effect.sent" && effect_key(entry) == Some(&self.key))
            .count();
        if (marked, sent) == (1, 1) {
            return Ok(());
        }
        Err(Discrepancy::new(
            line,
            "1 attempt with a mark, 1 effect.sent",
            format!("{marked} and {sent}"),
        )
        .into())
    }

    /// The run ended well; every decision was asked of the model once; nothing is open.
    pub fn terminated(&self) -> Held {
        let line = "run terminated cleanly";
        if self.run.status != RunStatus::Terminal || self.dump.run.status != "TERMINAL" {
            return Err(
                Discrepancy::new(line, "TERMINAL", format!("{} {}", self.run.status, self.run.last_error)).into(),
            );
        }
        let decisions = self.dump.decisions.len();
        if decisions == 0 || decisions != self.model_calls {
            let expected = format!("as many model calls as recorded decisions, {decisions}");
            return Err(Discrepancy::new(line, expected, format!("{} model calls", self.model_calls)).into());
        }
        if let Some(effect) = self.dump.effects.iter().find(|effect| effect.status != "CONFIRMED") {
            return Err(Discrepancy::new(
                line,
                "every effect CONFIRMED",
                format!("{} {}", effect.tool, effect.status),
            )
            .into());
        }
        let gap = self
            .entries
            .iter()
            .zip(1..)
            .find(|(entry, expected)| entry.seq != *expected);
        if let Some((entry, expected)) = gap {
            return Err(Discrepancy::new(
                line,
                format!("journal entry {expected}"),
                format!("entry {}", entry.seq),
            )
            .into());
        }
        self.each_confirmed_once(line)
    }

    /// The contract: the bank's own books have it once, under the effect's business key.
    pub fn one_wire(&self) -> Held {
        let line = "ASSERT: upstream observed exactly 1 wire";
        booked(line, &self.wires)?;
        let effect = wire_of(&self.dump, &self.key)?;
        let wire = &self.wires[0];
        if (wire.reference.as_str(), wire.status.as_str()) != (effect.business_key.as_str(), "booked") {
            let expected = format!("a booked wire with reference `{}`", effect.business_key);
            return Err(Discrepancy::new(
                line,
                expected,
                format!("{} `{}`, {}", wire.id, wire.reference, wire.status),
            )
            .into());
        }
        if effect.external_ref != wire.id {
            return Err(Discrepancy::new(
                line,
                format!("the effect knows it as {}", wire.id),
                effect.external_ref.clone(),
            )
            .into());
        }
        Ok(())
    }

    fn each_confirmed_once(&self, line: &str) -> Held {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in self.entries.iter().filter(|entry| entry.kind == "effect.confirmed") {
            *times.entry(effect_key(entry).unwrap_or_default()).or_default() += 1;
        }
        match times.iter().find(|(_, times)| **times != 1) {
            None => Ok(()),
            Some((key, times)) => {
                Err(Discrepancy::new(line, "each effect confirmed once", format!("{key} {times} times")).into())
            }
        }
    }
}

fn wire_of<'d>(dump: &'d Dump, key: &str) -> Held<&'d Effect> {
    let wires: Vec<_> = dump.effects.iter().filter(|effect| effect.tool == WIRE).collect();
    match wires.as_slice() {
        [only] if only.idempotency_key == key => Ok(only),
        _ => {
            let (line, expected) = (format!("effect `{WIRE}`"), format!("one, with key {key}"));
            Err(Discrepancy::new(line, expected, format!("{} of them", wires.len())).into())
        }
    }
}

#[cfg(test)]
mod tests;
