use std::collections::BTreeMap;

use serde_json::json;

use super::*;

const KEY: &str = "r-1/d-2/wire_money/0";

fn entry(seq: i64, kind: &str, decision_index: Option<i64>, payload: Value) -> Entry {
    let subject = if kind.starts_with("effect.") {
        format!("/tape/{}/{KEY}", kind.replace('.', "/"))
    } else {
        format!("/tape/{}/r-1", kind.replace('.', "/"))
    };
    Entry {
        seq,
        ts_ms: 0,
        kind: kind.to_owned(),
        subject,
        decision_index,
        payload_json: payload.to_string(),
        trace_id: String::new(),
    }
}

/// A run that was killed in the wire and came back at entry 8.
fn journal() -> Vec<Entry> {
    vec![
        entry(1, "run.attached", None, json!({})),
        entry(2, "decision.recorded", Some(2), json!({})),
        entry(3, "effect.begun", Some(2), json!({ "tool": WIRE })),
        entry(4, "effect.claimed", Some(2), json!({})),
        entry(5, "effect.sent", Some(2), json!({})),
        entry(6, "run.runnable", None, json!({})),
        entry(7, "effect.confirmed", Some(2), json!({ "tool": WIRE })),
        entry(8, "run.attached", None, json!({})),
        entry(9, "run.ended", None, json!({ "status": "TERMINAL" })),
    ]
}

fn dump(status: &str, effect: &Value) -> Dump {
    let dumped = json!({ "run": { "status": status }, "decisions": [{ "decision_index": 2 }], "effects": [effect] });
    Dump::read(dumped).unwrap()
}

fn effect(status: &str) -> Value {
    json!({
        "idempotency_key": KEY, "status": status, "tool": WIRE, "business_key": "ACME: 1", "external_ref": "w-1",
        "attempts": [{ "sent_at_ms": 5 }],
    })
}

fn ended() -> Final {
    Final {
        dump: dump("TERMINAL", &effect("CONFIRMED")),
        run: run(RunStatus::Terminal),
        entries: journal(),
        model_calls: 1,
        wires: vec![wire("w-1", "ACME: 1")],
        key: KEY.to_owned(),
    }
}

fn run(status: RunStatus) -> Run {
    let text = String::new;
    Run {
        run_id: "r-1".to_owned(),
        status,
        tenant: text(),
        app: text(),
        user: text(),
        session: text(),
        invocation: text(),
        seq: 9,
        lease_owner: text(),
        lease_expires_at_ms: 0,
        fence: 2,
        started_at_ms: 0,
        ended_at_ms: 0,
        waiting_on_gate: text(),
        decisions: 1,
        effects: 1,
        next_decision_index: 3,
        input_json: text(),
        detail_json: text(),
        last_error: text(),
        labels: BTreeMap::new(),
    }
}

fn wire(id: &str, reference: &str) -> Wire {
    Wire {
        id: id.to_owned(),
        reference: reference.to_owned(),
        status: "booked".to_owned(),
    }
}

fn replayed() -> Vec<Value> {
    vec![json!({ "key": KEY, "status": "CONFIRMED" })]
}

fn fails(held: Held, saw: &str) {
    let error = held.unwrap_err().to_string();
    assert!(error.contains(saw), "{error} does not say {saw}");
}

#[test]
fn a_run_that_went_well_passes_everything() {
    let ended = ended();
    ended.short_circuited(&journal()[7], &replayed()).unwrap();
    ended.terminated().unwrap();
    ended.one_wire().unwrap();
    assert_eq!(begun_wire(&journal()).as_deref(), Some(KEY));
}

#[test]
fn two_wires_fail_the_contract() {
    let mut ended = ended();
    ended.wires.push(wire("w-2", "ACME: 1"));
    fails(ended.one_wire(), "expected 1 wire in the bank's books, saw 2");
    ended.wires.clear();
    fails(ended.one_wire(), "saw 0");
    ended.wires.push(wire("w-1", "somebody else's"));
    fails(ended.one_wire(), "somebody else's");
}

#[test]
fn a_model_that_was_asked_again_fails() {
    let mut ended = ended();
    ended.model_calls = 2;
    fails(ended.terminated(), "saw 2 model calls");
}

#[test]
fn a_run_that_failed_or_left_something_open_fails() {
    let mut failed = ended();
    failed.run.status = RunStatus::Failed;
    fails(failed.terminated(), "saw FAILED");
    let mut open = ended();
    open.dump = dump("TERMINAL", &effect("UNKNOWN"));
    fails(open.terminated(), "wire_money UNKNOWN");
    let mut gap = ended();
    gap.entries.remove(3);
    fails(gap.terminated(), "journal entry 4");
}

#[test]
fn a_wire_that_was_executed_again_fails() {
    let mut again = ended();
    again.entries.insert(8, entry(9, "effect.sent", Some(2), json!({})));
    fails(again.short_circuited(&journal()[7], &replayed()), "entry 9 effect.sent");
    fails(again.never_sent_again(), "saw 1 and 2");

    let mut late = ended();
    late.entries.remove(6);
    fails(
        late.short_circuited(&journal()[7], &replayed()),
        "not confirmed by then",
    );

    fails(ended().short_circuited(&journal()[7], &[]), "0 other replays");

    let mut twice = ended();
    twice
        .entries
        .insert(7, entry(8, "effect.confirmed", Some(2), json!({})));
    fails(twice.terminated(), "entry");
}

#[test]
fn the_worker_must_continue_where_the_journal_ends() {
    let journal = journal();
    let said = |decision: i64, seq: i64| json!({ "decision_index": decision, "seq": seq, "resumed": true });
    let place = reattached(&journal, &journal[7], &said(3, 9)).unwrap();
    assert_eq!(
        place,
        Place {
            decision_index: 3,
            seq: 9
        }
    );
    assert!(reattached(&journal, &journal[7], &said(2, 9)).is_err());
    assert!(reattached(&journal, &journal[7], &said(3, 8)).is_err());
}

#[test]
fn a_kill_must_come_before_the_outcome() {
    is_open("killed", &dump("RUNNING", &effect("SENT")), KEY).unwrap();
    fails(
        is_open("killed", &dump("RUNNING", &effect("CONFIRMED")), KEY),
        "wire_money is CONFIRMED",
    );
    fails(
        is_open("killed", &dump("RUNNING", &effect("SENT")), "another/key"),
        "1 of them",
    );
}

#[test]
fn only_a_look_into_the_books_counts_as_observed() {
    let books = [wire("w-1", "ACME: 1")];
    let confirmed = |payload| entry(9, "effect.confirmed", Some(2), payload);
    let found = observed(
        "l",
        &confirmed(json!({ "observed": "present", "external_ref": "w-1" })),
        &books,
    )
    .unwrap();
    assert_eq!(found.wire_id, "w-1");
    assert!(observed("l", &confirmed(json!({ "attempt": 1 })), &books).is_err());
    assert!(
        observed(
            "l",
            &confirmed(json!({ "observed": "present", "external_ref": "w-9" })),
            &books
        )
        .is_err()
    );
}
