//! `tape migrate`: what is pending is printed, and nothing changes before it is applied.

use std::process::Command;

use serde_json::Value;

use crate::server::folder;

fn migrate(folder: &tempfile::TempDir, args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tape"))
        .args(["migrate", "--store", "sqlite:tape.db"])
        .args(args)
        .current_dir(folder.path())
        .output()
        .expect("tape runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn steps_are_printed_then_applied_then_done() {
    let folder = folder();
    let (code, printed, _) = migrate(&folder, &["--dry-run"]);
    assert_eq!(code, Some(0));
    assert!(
        printed.contains("0001 entities") && printed.contains("CREATE TABLE entities"),
        "{printed}"
    );
    assert!(!folder.path().join("tape.db").exists(), "a dry run makes nothing");

    let (code, printed, said) = migrate(&folder, &["--output", "json"]);
    assert_eq!(code, Some(0), "{said}");
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(
        (&report["from"], &report["applied"]),
        (&Value::from(0), &Value::from(true))
    );
    assert!(report["pending"].as_array().unwrap().len() >= 2);

    let (code, printed, _) = migrate(&folder, &[]);
    assert_eq!(code, Some(0));
    assert!(printed.contains("up to date"), "{printed}");
}

#[test]
fn a_store_that_has_no_schema_is_refused() {
    let folder = folder();
    let output = Command::new(env!("CARGO_BIN_EXE_tape"))
        .args(["migrate", "--store", "memory:"])
        .current_dir(folder.path())
        .output()
        .expect("tape runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no schema"));
}
