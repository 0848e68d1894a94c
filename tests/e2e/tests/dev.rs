//! `tape dev` as a supervisor, and the operator's verbs against what it runs.

use std::fs;
use std::net::TcpListener;

use tape_e2e::{Project, Turn, free_port, tape};

// Only Linux ends a child with its parent.
#[cfg(target_os = "linux")]
#[test]
fn nothing_survives_a_kill_of_tape_dev() {
    let _turn = Turn::take();
    let project = Project::init();
    let mut dev = project.dev(&[]);
    let children = dev.children();
    assert_eq!(children.len(), 3, "server, bank and agent: {children:?}");
    dev.kill();
    dev.wait_until("its processes are gone", || children.iter().all(|pid| !is_alive(*pid)));
}

/// Whether a process runs; one that only waits to be buried does not.
#[cfg(target_os = "linux")]
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map_or("", |(_, rest)| rest.trim_start());
    !(state.is_empty() || state.starts_with('Z') || state.starts_with('X'))
}

#[test]
fn a_run_that_nobody_drives_waits_and_can_be_cancelled() {
    let _turn = Turn::take();
    let project = Project::init();
    let dev = project.dev_without_agent(&[]);
    let started = dev.json(&["run", "Pay 1.00 EUR to Bob for tea"]);
    let id = started["run_id"].as_str().expect("a run has an id");
    assert_eq!(started["status"], "RUNNABLE");

    let listed = dev.json(&["status", "--status", "runnable", "--app", "treasury"]);
    assert_eq!(listed["runs"][0]["run_id"], id);
    let none = dev.json(&["status", "--status", "stuck"]);
    assert_eq!(none["runs"].as_array().map(Vec::len), Some(0));

    // The doctor names what is missing, and says so to scripts too.
    let doctor = dev.tape(&["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!(doctor.status.code(), Some(1), "{said}");
    assert!(said.contains("no worker of `treasury` is attached"), "{said}");

    assert_eq!(
        dev.json(&["cancel", id, "--reason", "not needed"])["status"],
        "CANCELLED"
    );
    let tail = dev.tape(&["tail", id]);
    let journal = String::from_utf8_lossy(&tail.stdout).into_owned();
    assert!(
        journal.contains("run.begun") && journal.contains("run.cancelled"),
        "{journal}"
    );

    let again = dev.tape(&["redrive", id]);
    let refused = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(1));
    assert!(refused.contains("TAPE-R004"), "{refused}");
}

#[test]
fn what_is_missing_is_named_with_its_cure() {
    let project = Project::init();
    let refused = |arguments: &[&str]| {
        let ended = project.tape(arguments);
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}");
        String::from_utf8_lossy(&ended.stderr).into_owned()
    };

    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let error = refused(&["dev", "--port", &port]);
    assert!(
        error.contains(&format!("port {port}")) && error.contains("--port N"),
        "{error}"
    );

    let nowhere = format!("tape://127.0.0.1:{}", free_port());
    let error = refused(&["--url", &nowhere, "status"]);
    assert!(error.contains("TAPE-A006") && error.contains("tape dev"), "{error}");

    let error = refused(&["dev", "--server-binary", "/no/such/server"]);
    assert!(error.contains("/no/such/server"), "{error}");

    fs::remove_file(project.root().join("connectors/bank/bank.wasm")).expect("the scaffold has a component");
    let error = refused(&["dev"]);
    assert!(
        error.contains("bank.wasm") && error.contains("tape.connectors.bank.source"),
        "{error}"
    );

    project.edit("tape.yaml", "runner_factory:", "runner_factry:");
    let error = refused(&["dev"]);
    assert!(
        error.contains("`agent.runner_factry`") && error.contains("Did you mean `runner_factory`?"),
        "{error}"
    );

    fs::remove_file(project.root().join("tape.yaml")).expect("the scaffold has a tape.yaml");
    let error = refused(&["dev"]);
    assert!(error.contains("tape.yaml") && error.contains("tape init"), "{error}");
}

#[test]
fn init_overwrites_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(tape(folder.path(), &["init", "treasury"]).status.success());
    let agent = folder.path().join("treasury/app/agent.py");
    fs::write(&agent, "mine").expect("a file of the scaffold");
    let again = tape(folder.path(), &["init", "treasury"]);
    assert_eq!(again.status.code(), Some(1));
    let here = tape(&folder.path().join("treasury"), &["init", "treasury", "--here"]);
    assert_eq!(here.status.code(), Some(1));
    assert_eq!(fs::read_to_string(&agent).expect("it is still there"), "mine");
    assert_eq!(tape(folder.path(), &["no-such-verb"]).status.code(), Some(2));
}
