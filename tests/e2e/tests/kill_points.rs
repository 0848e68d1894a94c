//! The agent's process is killed at a point of its life, once; `tape dev` starts another, and the run ends as if nothing had been.

use std::fs;

use serde_json::Value;
use tape_e2e::{Bank, Project, Turn};

/// Kills the agent at `point`, lets the run end, and looks at the journal, the model's calls and the bank's books.
/// `lost_answers`: calls of the model whose answer died with the process before it could be recorded.
fn killed_at(point: &str, lost_answers: usize) {
    let _turn = Turn::take();
    let project = Project::init();
    let bank = Bank::open(project.root());
    let (calls, killed) = (project.root().join("model-calls"), project.root().join("killed"));
    let dev = project.dev(&[
        ("BANK_URL", &bank.url()),
        ("TAPE_MODEL_CALLS", &calls.display().to_string()),
        ("TAPE_FAULT_KILL", point),
        ("TAPE_FAULT_ONCE", &killed.display().to_string()),
    ]);
    let run = dev.json(&["run", "--wait", "Pay 99.50 EUR to Bob for the lunch"]);
    assert_eq!(run["status"], "TERMINAL", "{run}\n{}", dev.story());
    assert!(killed.exists(), "{point} was never reached:\n{}", dev.story());

    let id = run["run_id"].as_str().expect("a run has an id");
    let dump = dev.json(&["doctor", "--dump-run", id]);
    let asked = fs::read_to_string(&calls).expect("the model was asked").lines().count();
    let decisions = list(&dump, "decisions").len();
    assert_eq!(
        asked,
        decisions + lost_answers,
        "model calls at {point}:\n{}",
        dev.story()
    );
    assert_eq!(decisions, 4);
    let effects = list(&dump, "effects");
    assert_eq!(effects.len(), 3);
    assert!(
        effects.iter().all(|effect| effect["status"] == "CONFIRMED"),
        "{effects:?}"
    );

    let journal = list(&dump, "journal");
    let seqs: Vec<_> = journal.iter().filter_map(|entry| entry["seq"].as_u64()).collect();
    assert!(seqs.iter().copied().eq(1..=journal.len() as u64), "{seqs:?}");
    let times = |kind: &str| journal.iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!(
        (times("effect.begun"), times("effect.confirmed"), times("effect.sent")),
        (3, 3, 1)
    );
    assert_eq!((times("run.begun"), times("run.ended")), (1, 1));

    let wires = bank.wires();
    assert_eq!(wires.len(), 1, "{wires:?}");
    assert_eq!((&wires[0]["to"], &wires[0]["amount"]), (&"Bob".into(), &"99.50".into()));
}

fn list<'d>(dump: &'d Value, section: &str) -> &'d Vec<Value> {
    dump[section].as_array().expect("a section of the dump")
}

macro_rules! points {
    ($($name:ident = $point:literal, $lost_answers:literal;)*) => {
        $(#[test] fn $name() { killed_at($point, $lost_answers); })*
    };
}

points! {
    before_it_takes_the_run = "before_begin_run", 0;
    after_it_took_the_run = "after_begin_run", 0;
    before_it_asks_the_model = "before_model", 0;
    after_the_model_answered = "after_model", 1;
    after_the_decision_was_recorded = "after_decision", 0;
    before_the_wire_is_begun = "before_begin_effect@wire_money", 0;
    after_the_wire_was_begun = "after_begin_effect@wire_money", 0;
    after_the_case_was_begun = "after_begin_effect@open_case", 0;
    after_the_case_was_opened = "after_body@open_case", 0;
    after_the_case_was_recorded = "after_complete_effect@open_case", 0;
    before_it_stores_an_event = "before_append_event", 0;
    after_it_stored_an_event = "after_append_event", 0;
    before_it_ends_the_run = "before_end_run", 0;
}
