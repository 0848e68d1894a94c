//! `tape dev --kill-resume-demo` and its variants print what they promise, and fail when it does not hold.

use std::process::Output;

use tape_e2e::{Project, Turn};

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs the demo; its lines, with ids, pids and numbers as `*`.
fn play(flags: &[&str]) -> (Project, Vec<String>) {
    let _turn = Turn::take();
    let project = Project::init();
    let arguments = [&["dev", "--kill-resume-demo"], flags].concat();
    let played = project.tape(&arguments);
    let said = out(&played);
    assert!(
        played.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&played.stderr)
    );
    let lines = said
        .lines()
        .map(|line| line.split(' ').map(plain).collect::<Vec<_>>().join(" "))
        .collect();
    (project, lines)
}

fn plain(word: &str) -> String {
    match word.split_once('=') {
        _ if word.starts_with("r-") => "r-*".to_owned(),
        Some((name, _)) => format!("{name}=*"),
        None if word.trim_end_matches(')').parse::<u32>().is_ok() && word.ends_with(')') => "*)".to_owned(),
        None => word.to_owned(),
    }
}

const UP: [&str; 4] = [
    "✓ tape-server up",
    "✓ reactors started (recovery, reconciler, outbox, timers, compensation)",
    "✓ agent started",
    "→ triggering run...",
];

const FOUND: [&str; 5] = [
    "↻ reconciler reactor: the bank's books were asked for `ACME: invoice 2026-001`",
    "✓ effect `wire_money` observed PRESENT as w-1: CONFIRMED",
    "✓ effect `wire_money` was sent once (1 attempt with a mark)",
    "✓ run terminated cleanly",
    "ASSERT: upstream observed exactly 1 wire ✓",
];

#[test]
fn a_killed_agent_is_resumed_and_wires_once() {
    let (project, lines) = play(&[]);
    let then = [
        "✗ agent killed mid-effect (pid *)",
        "↻ recovery reactor: run r-* is RUNNABLE; re-driving",
        "✓ agent re-attached at decision_index=* seq=*",
        "✓ effect `wire_money` short-circuited (already CONFIRMED)",
        "✓ run terminated cleanly",
        "ASSERT: upstream observed exactly 1 wire ✓",
    ];
    assert_eq!(lines, [&UP[..], &then].concat());

    // The demo's run can be looked at right away, without a server.
    let status = project.tape(&["status"]);
    let shown = out(&status);
    assert!(status.status.success(), "{shown}");
    for part in ["TERMINAL", "decisions=4", "effects=3"] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_lost_answer_is_found_in_the_books() {
    let (_, lines) = play(&["--lose-answer"]);
    let then = ["✗ effect `wire_money` is UNKNOWN: the bank booked the wire, its answer was lost"];
    assert_eq!(lines, [&UP[..], &then, &FOUND].concat());
}

#[test]
fn a_killed_dispatcher_does_not_wire_again() {
    let (_, lines) = play(&["--kill-dispatcher"]);
    let then = [
        "✗ tape-server killed between request and answer (pid *)",
        "✓ tape-server up again",
        "✗ effect `wire_money` is UNKNOWN: its dispatcher died after the request may have left",
    ];
    assert_eq!(lines, [&UP[..], &then, &FOUND].concat());
}

#[test]
fn a_line_that_does_not_hold_fails_the_demo() {
    let _turn = Turn::take();
    let project = Project::init();
    // Every call of the model is noted twice: as if each decision were asked for again.
    let noted = "            note(Path(calls), turn=turn, asked=asked)\n";
    project.edit("app/scripted_model.py", noted, &noted.repeat(2));
    let played = project.tape(&["dev", "--kill-resume-demo"]);
    let said = out(&played);
    assert_eq!(played.status.code(), Some(1), "{said}");
    for part in [
        "FAILED: run terminated cleanly",
        "as many model calls as recorded decisions, 4",
        "8 model calls",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("ASSERT"), "{said}");
}
