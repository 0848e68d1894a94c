//! A connector's folder: how its component is made and found.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;
use tape_connector_kit::{Kit, Manifest, Problem, Subject};

use crate::ui;

const WASM_TARGET: &str = "wasm32-wasip2";

/// Builds the component in `folder` and reads it.
///
/// # Errors
/// The tool is missing, the build fails, or it leaves no file; each with its cure.
pub fn build(folder: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let manifest = Manifest::read(folder)?;
    let Some(build) = &manifest.build else {
        bail!(
            "{} has no [build]: write command = [\"...\"] and artifact = \"...\", or name the component with --component",
            folder.join(Manifest::FILE).display()
        );
    };
    let Some((program, arguments)) = build.command.split_first() else {
        bail!(
            "{}: build.command is empty: write program and arguments",
            folder.join(Manifest::FILE).display()
        );
    };
    if program == "cargo" {
        need_target(arguments)?;
    }
    ui::talk(format!("building {}: {}", manifest.name, build.command.join(" ")));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .status();
    let status = match status {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("`{program}` is not there{}", cure(&build.cure)),
        status => status.with_context(|| format!("start `{program}`"))?,
    };
    if !status.success() {
        bail!(
            "`{}` failed ({status}): its own words are above{}",
            build.command.join(" "),
            cure(&build.cure)
        );
    }
    artifact(folder, &build.artifact)
}

/// Reads the component that a former build left, or the one that is named.
///
/// # Errors
/// There is none.
pub fn find(folder: &Path, component: Option<&Path>) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    match component {
        Some(file) => Ok((file.to_owned(), read(file)?)),
        None => build(folder),
    }
}

/// A host with the connector, and its tests.
///
/// # Errors
/// A file that makes no sense, or a component that the host does not accept.
pub async fn open(folder: &Path, component: Vec<u8>) -> anyhow::Result<Kit> {
    let subject = Subject::read(folder, component)?;
    Kit::open(subject).await.map_err(explained)
}

/// The host's refusal with its code, so that `tape explain` can be asked.
pub fn explained(problem: Problem) -> anyhow::Error {
    match problem {
        Problem::Host {
            code: Some(code),
            problem,
        } => anyhow::anyhow!("{problem} ({code}; see: tape explain {code})"),
        other => other.into(),
    }
}

fn cure(cure: &str) -> String {
    if cure.is_empty() {
        String::new()
    } else {
        format!(". Cure: {cure}")
    }
}

fn artifact(folder: &Path, artifact: &str) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let artifact = if artifact.contains("{target}") {
        artifact.replace("{target}", &target_folder(folder)?)
    } else {
        artifact.to_owned()
    };
    let file = folder.join(artifact);
    let bytes = read(&file).context("the build succeeded and left no component there; correct build.artifact")?;
    Ok((file, bytes))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("read {}", file.display()))
}

/// Where cargo puts what it builds: it may be the folder of a workspace above, or anywhere else.
fn target_folder(folder: &Path) -> anyhow::Result<String> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .context("ask cargo where its target folder is")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo's metadata")?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo's metadata name no target folder")?;
    Ok(target.to_owned())
}

/// rustc's own words leave one guessing.
fn need_target(arguments: &[String]) -> anyhow::Result<()> {
    if !arguments.iter().any(|argument| argument.contains(WASM_TARGET)) {
        return Ok(());
    }
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", WASM_TARGET])
        .output();
    let asked = asked.context("rustc is not there. Cure: install Rust, https://rustup.rs")?;
    let libraries = String::from_utf8_lossy(&asked.stdout);
    if asked.status.success() && Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    bail!(
        "the Rust target {WASM_TARGET} is missing, and connectors are built for it. Cure: rustup target add {WASM_TARGET}"
    )
}
