//! The agent's process hangs (SIGSTOP) at a point of its life; another takes over when its lease runs out. When it wakes up, whatever it
//! still wants to write is refused, and the upstream has seen one wire.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tape_e2e::{Bank, Deadline, Project, Server, Service, Turn, tape};

/// Between two looks: each is a process of its own.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

fn until(what: &str, story: impl Fn() -> String, holds: impl Fn() -> bool) {
    let deadline = Deadline::start();
    while !holds() {
        assert!(!deadline.is_over(), "not so: {what}\n{}", story());
        thread::park_timeout(LOOK_AGAIN);
    }
}

/// Hangs the first worker at `point`, lets a second one end the run, wakes the first, and looks at the journal and the books.
fn hung_at(point: &str) {
    let _turn = Turn::take();
    let project = Project::init();
    project.edit(
        "app/agent.py",
        "durable_app(\"treasury\", root_agent)",
        "durable_app(\"treasury\", root_agent, lease_ttl_ms=3_000)",
    );
    let bank = Bank::open(project.root());
    let bank_url = bank.url();
    let server = Server::start_with(&project, &["--config", "tape.yaml"], &[("BANK_URL", &bank_url)]);
    let stopped = project.root().join("stopped");
    let marker = stopped.display().to_string();
    let first = Service::worker(
        &project,
        &server.url(),
        &[
            ("TAPE_FAULT_STOP", point),
            ("TAPE_FAULT_ONCE", &marker),
            ("BANK_URL", &bank_url),
        ],
    );
    let ask = |arguments: &[&str]| -> Value {
        let url = server.url();
        let mut all = vec!["--url", url.as_str(), "--output", "json"];
        all.extend(arguments);
        serde_json::from_slice(&tape(project.root(), &all).stdout).unwrap_or_default()
    };
    let story = || format!("{}\n{}", server.service.said(), first.said());
    let workers = || ask(&["status"])["server"]["workers"].as_array().map_or(0, Vec::len);
    until("the first worker is attached", story, || workers() == 1);

    let begun = ask(&["run", "Pay 99.50 EUR to Bob for the lunch"]);
    let run = begun["run_id"].as_str().unwrap_or_default().to_owned();
    until("the first worker hangs", story, || stopped.exists());
    let second = Service::worker(&project, &server.url(), &[("BANK_URL", &bank_url)]);
    let story = || format!("{}\n{}\n{}", server.service.said(), first.said(), second.said());
    let dump = || ask(&["doctor", "--dump-run", &run]);
    until("the second worker has ended the run", story, || {
        dump()["run"]["status"] == "TERMINAL"
    });

    let before = dump();
    first.go_on();
    // It finds out by its next write, or because its stream is gone, and attaches anew.
    until("the first worker has noticed", story, || {
        first.said().contains("run_ended") || first.said().contains("TAPE-R00")
    });
    let after = dump();
    assert_eq!(
        before["journal"],
        after["journal"],
        "what woke up changed nothing\n{}",
        story()
    );
    assert_eq!(before["effects"], after["effects"]);

    let journal = after["journal"].as_array().cloned().unwrap_or_default();
    let times = |kind: &str| journal.iter().filter(|entry| entry["kind"] == kind).count();
    assert_eq!((times("effect.sent"), times("run.ended")), (1, 1), "{journal:?}");
    assert!(times("run.attached") >= 2, "somebody took over: {journal:?}");
    let wires = bank.wires();
    assert_eq!(wires.len(), 1, "{wires:?}");
    assert!(fs::exists(&stopped).unwrap_or_default());
}

#[test]
fn before_the_wire_is_begun() {
    hung_at("before_begin_effect@wire_money");
}

#[test]
fn after_the_case_was_opened_and_before_that_is_recorded() {
    hung_at("after_body@open_case");
}

#[test]
fn after_the_model_answered_and_before_that_is_recorded() {
    hung_at("after_model");
}
