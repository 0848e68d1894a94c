//! The page for authors of connectors, run as it is written.

use std::path::Path;
use std::process::Command;

#[test]
fn the_quickstart_in_rust_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tape = Path::new(env!("CARGO_BIN_EXE_tape"))
        .parent()
        .expect("the binary lies in a folder");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = [tape.to_owned()].into_iter().chain(std::env::split_paths(&path));
    let output = Command::new(root.join(".ci/quickstart"))
        .arg("Rust")
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
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
