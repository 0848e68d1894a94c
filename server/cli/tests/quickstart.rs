//! The page for authors of connectors, run as it is written, in every language.

use std::path::Path;
use std::process::Command;

#[test]
fn the_quickstart_in_rust_does_what_it_says() {
    does_what_it_says("Rust");
}

#[test]
fn the_quickstart_in_typescript_does_what_it_says() {
    does_what_it_says("TypeScript");
}

#[test]
fn the_quickstart_in_go_does_what_it_says() {
    does_what_it_says("Go");
}

#[test]
fn the_quickstart_in_python_does_what_it_says() {
    does_what_it_says("Python");
}

fn does_what_it_says(language: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tape = Path::new(env!("CARGO_BIN_EXE_tape"))
        .parent()
        .expect("the binary lies in a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [tape.to_owned()].into_iter().chain(std::env::split_paths(&path));
    let output = Command::new(root.join(".ci/quickstart"))
        .arg(language)
        .env("PATH", std::env::join_paths(paths).expect("no path holds a colon"))
        // One folder for what every new project needs to compile anyway.
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("quickstart"),
        )
        .output()
        .expect("bash runs");
    assert!(
        output.status.success(),
        "{language}:\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
