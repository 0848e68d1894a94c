//! Everything that the server stores about one run, and whether its rows and its journal tell the same.

use std::collections::BTreeMap;

use serde_json::Value;
use tape_proto::v1 as pb;
use tonic::Status;

use crate::call::Caller;

/// `Admin.DumpRun`, by section.
#[derive(Debug, Default)]
pub struct Dump(BTreeMap<String, Vec<Value>>);

impl Dump {
    /// Asks a server for it.
    ///
    /// # Errors
    /// The server's.
    ///
    /// # Panics
    /// When what it says is no JSON.
    pub async fn of(caller: &Caller, run: &str) -> Result<Self, Status> {
        let request = pb::DumpRunRequest { run_id: run.to_owned() };
        let mut parts = caller.admin.clone().dump_run(request).await?.into_inner();
        let mut dump = Self::default();
        while let Some(part) = parts.message().await? {
            let row = serde_json::from_str(&part.json).expect("a row is JSON");
            dump.0.entry(part.section).or_default().push(row);
        }
        Ok(dump)
    }

    /// A dump that nobody made, of sections and their rows: for planting what must be found.
    #[must_use]
    pub fn planted<const N: usize>(sections: [(&str, Vec<Value>); N]) -> Self {
        Self(sections.map(|(section, rows)| (section.to_owned(), rows)).into())
    }

    /// The rows of a section.
    #[must_use]
    pub fn rows(&self, section: &str) -> &[Value] {
        self.0.get(section).map_or(&[], Vec::as_slice)
    }

    /// The run's head.
    #[must_use]
    pub fn run(&self) -> &Value {
        self.rows("run").first().unwrap_or(&Value::Null)
    }

    /// The row of a section whose field is this.
    #[must_use]
    pub fn find(&self, section: &str, field: &str, is: impl Into<Value>) -> Option<&Value> {
        let is = is.into();
        self.rows(section).iter().find(|row| row[field] == is)
    }

    /// The n-th await of a gate.
    #[must_use]
    pub fn gate(&self, name: &str, index: u32) -> Option<&Value> {
        let gates = self.rows("gate");
        gates
            .iter()
            .find(|row| row["name"] == name && row["await_index"] == index)
    }

    /// Micro-dollars spent.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.rows("budget")
            .first()
            .and_then(|row| row["usd_spent_micros"].as_u64())
            .unwrap_or_default()
    }

    /// Invariant 5: what is wrong between the rows and the journal. Each row has the entries that made it what it is,
    /// each entry its row, and the entries are numbered without holes.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let journal = self.rows("journal");
        let seqs: Vec<i64> = journal.iter().filter_map(|entry| entry["seq"].as_i64()).collect();
        if !seqs
            .iter()
            .copied()
            .eq(1..=i64::try_from(journal.len()).expect("a count"))
        {
            wrong.push(format!("the journal's numbers have holes: {seqs:?}"));
        }
        if self.run()["seq"].as_u64() != Some(journal.len() as u64) {
            wrong.push(format!(
                "the run is at seq {}, its journal at {}",
                self.run()["seq"],
                journal.len()
            ));
        }
        let mut counted = |what: &str, rows: usize, entries: usize| {
            if rows != entries {
                wrong.push(format!("{what}: {rows} rows, {entries} entries"));
            }
        };
        let of = |kind: &str| journal.iter().filter(|entry| entry["kind"] == kind).count();
        let rows = |section: &str, is: &dyn Fn(&Value) -> bool| self.rows(section).iter().filter(|row| is(row)).count();
        let effects = self.rows("effect");
        let attempts = |is: &dyn Fn(&Value) -> bool| {
            let all = effects
                .iter()
                .flat_map(|row| row["attempts"].as_array().into_iter().flatten());
            all.filter(|attempt| is(attempt)).count()
        };
        counted("runs", 1, of("run.begun"));
        counted("take-overs", self.rows("lease").len(), of("run.attached"));
        counted("decisions", self.rows("decision").len(), of("decision.recorded"));
        counted("effects", effects.len(), of("effect.begun"));
        counted("attempts", attempts(&|_| true), of("effect.claimed"));
        counted(
            "marks",
            attempts(&|attempt| attempt["sent_at_ms"].is_number()),
            of("effect.sent"),
        );
        counted(
            "confirmed effects",
            rows("effect", &|row| row["status"] == "CONFIRMED"),
            of("effect.confirmed"),
        );
        counted(
            "opened gates",
            rows("gate", &|row| row["opened_at_ms"].is_number()),
            of("gate.opened"),
        );
        let timed_out = |row: &Value| row["resolution"]["signal"] == "gate.timeout";
        let signals = rows("gate", &|row| !row["resolution"].is_null() && !timed_out(row))
            + rows("gate", &|row| !row["late_signal"].is_null());
        counted("signals", signals, of("gate.signalled"));
        counted("timeouts", rows("gate", &timed_out), of("gate.timed_out"));
        counted(
            "fired timers",
            rows("timer", &|row| row["state"] == "FIRED"),
            of("timer.fired"),
        );
        counted(
            "cancelled timers",
            rows("timer", &|row| row["state"] == "CANCELLED"),
            of("timer.cancelled"),
        );
        counted(
            "endings",
            usize::from(self.run()["status"] == "TERMINAL"),
            of("run.ended"),
        );
        self.about_one_row_each(&mut wrong);
        let charged = journal.iter().filter(|entry| entry["kind"] == "budget.charged");
        let charged: u64 = charged
            .filter_map(|entry| entry["payload"]["usd_micros"].as_u64())
            .sum();
        if charged != self.spent() {
            wrong.push(format!(
                "{} micro-dollars are spent, the journal says {charged}",
                self.spent()
            ));
        }
        for timer in self.rows("timer").iter().filter(|timer| timer["state"] == "FIRED") {
            let id = timer["timer_id"].as_str().unwrap_or_default();
            let fired = journal.iter().filter(|entry| entry["kind"] == "timer.fired");
            let mut fired =
                fired.filter(|entry| entry["subject"].as_str().is_some_and(|subject| subject.ends_with(id)));
            if fired.any(|entry| entry["ts_ms"].as_i64() < timer["fire_at_ms"].as_i64()) {
                wrong.push(format!("invariant 7: timer {id} fired early"));
            }
        }
        wrong
    }

    /// Decisions and effects name the entry that they came with.
    fn about_one_row_each(&self, wrong: &mut Vec<String>) {
        for (section, kind) in [("decision", "decision.recorded"), ("effect", "effect.begun")] {
            for row in self.rows(section) {
                let entry = self.find("journal", "seq", row["seq"].clone());
                let same = entry
                    .is_some_and(|entry| entry["kind"] == kind && entry["decision_index"] == row["decision_index"]);
                if !same {
                    wrong.push(format!(
                        "a {section} says that entry {} made it, which is {entry:?}",
                        row["seq"]
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A run that decided once, and whose timer fired when it should.
    fn honest() -> (Value, Vec<Value>, Vec<Value>, Vec<Value>) {
        let entry = |seq: i64, kind: &str, ts_ms: i64| {
            json!({
                "seq": seq, "kind": kind, "ts_ms": ts_ms, "decision_index": 0, "subject": "/tape/timer/fired/t",
            })
        };
        let journal = vec![
            entry(1, "run.begun", 1),
            entry(2, "decision.recorded", 2),
            entry(3, "timer.fired", 30),
        ];
        let decision = json!({"decision_index": 0, "seq": 2, "response": 1});
        let timer = json!({"timer_id": "t", "state": "FIRED", "fire_at_ms": 30});
        (
            json!({"seq": 3, "status": "RUNNING"}),
            journal,
            vec![decision],
            vec![timer],
        )
    }

    fn wrong(change: impl FnOnce(&mut Value, &mut Vec<Value>, &mut Vec<Value>, &mut Vec<Value>)) -> Vec<String> {
        let (mut run, mut journal, mut decisions, mut timers) = honest();
        change(&mut run, &mut journal, &mut decisions, &mut timers);
        let sections = [
            ("run", vec![run]),
            ("journal", journal),
            ("decision", decisions),
            ("timer", timers),
        ];
        Dump::planted(sections).contradictions()
    }

    #[test]
    fn an_honest_run_has_no_contradictions_and_every_planted_one_is_found() {
        assert_eq!(wrong(|_, _, _, _| {}), Vec::<String>::new());
        let found = |wrong: Vec<String>, what: &str| {
            assert!(wrong.iter().any(|said| said.contains(what)), "{what}: {wrong:?}");
        };
        found(wrong(|_, journal, _, _| drop(journal.remove(1))), "numbers have holes");
        found(wrong(|run, _, _, _| run["seq"] = json!(2)), "the run is at seq 2");
        found(
            wrong(|_, _, decisions, _| decisions.clear()),
            "decisions: 0 rows, 1 entries",
        );
        found(
            wrong(|_, journal, _, _| journal[1]["kind"] = json!("gate.opened")),
            "says that entry 2 made it",
        );
        found(
            wrong(|_, _, _, timers| timers[0]["fire_at_ms"] = json!(31)),
            "timer t fired early",
        );
        found(
            wrong(|_, _, _, timers| timers[0]["state"] = json!("ARMED")),
            "fired timers: 0 rows, 1 entries",
        );
    }
}
