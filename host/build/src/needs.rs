//! What has to be there before a build can begin.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use tape_connector_kit::Build;

const RUST_TARGET: &str = "wasm32-wasip2";

/// Whether files and targets are there that the tools themselves would only stumble over.
pub(crate) fn check(folder: &Path, build: &Build) -> anyhow::Result<()> {
    let Some((program, arguments)) = build.command.split_first() else {
        bail!("build.command in connector.toml is empty: write program and arguments");
    };
    if let Some(needs) = &build.needs
        && !folder.join(needs).exists()
    {
        bail!("`{needs}` is not there, and the build needs it{}", cure(build));
    }
    if program == "cargo" && arguments.iter().any(|argument| argument.contains(RUST_TARGET)) {
        rust_target()?;
    }
    Ok(())
}

/// As a half sentence to end a message with.
pub(crate) fn cure(build: &Build) -> String {
    if build.cure.is_empty() {
        String::new()
    } else {
        format!(". Cure: {}", build.cure)
    }
}

/// rustc's own words leave one guessing.
fn rust_target() -> anyhow::Result<()> {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", RUST_TARGET])
        .output()
        .context("rustc is not there. Cure: install Rust, https://rustup.rs")?;
    let libraries = String::from_utf8_lossy(&asked.stdout);
    if asked.status.success() && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    bail!(
        "the Rust target {RUST_TARGET} is missing, and connectors are built for it. Cure: rustup target add {RUST_TARGET}"
    )
}
