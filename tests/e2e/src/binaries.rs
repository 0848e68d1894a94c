//! The binaries under test, built from what is in the tree.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::python;

/// `tape` with these arguments in a folder, to its end.
///
/// # Panics
/// When it cannot be started.
pub fn tape(folder: &Path, arguments: &[&str]) -> Output {
    command(folder).args(arguments).output().expect("`tape` can be started")
}

/// `tape`, ready for more arguments, with the Python of the tests and nothing of the shell's that could lead it astray.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(folder_of_binaries().join("tape"));
    command
        .current_dir(folder)
        .env("TAPE_PYTHON", python())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    for other in [
        "VIRTUAL_ENV",
        "TAPE_URL",
        "TAPE_STORE_URL",
        "TAPE_LOG",
        "BANK_URL",
        "TAPE_LISTEN",
        "TAPE_HTTP",
    ] {
        command.env_remove(other);
    }
    command
}

/// The file of one of the binaries.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    folder_of_binaries().join(name)
}

/// Builds them once per test process: what is tested is never older than its source.
fn folder_of_binaries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let us = env::current_exe().expect("the test's own file");
        // <target>/<profile>/deps/<test>
        let folder = us.ancestors().nth(2).expect("a folder of a profile").to_owned();
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build
            .args([
                "build",
                "--quiet",
                "--locked",
                "-p",
                "tape-cli",
                "--bins",
                "--target-dir",
            ])
            .arg(folder.parent().expect("a target folder"))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let built = build.status().expect("cargo can be started");
        assert!(built.success(), "tape and tape-server do not build");
        folder
    })
}
