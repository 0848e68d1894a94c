//! From a connector's folder to its component, whatever it is written in.
//!
//! ```text
//! connector.toml [build]: needs, bindings, command ─▶ artifact ─┬─ a component: done (Rust, TypeScript, Python)
//!                                                               └─ a core module (Go): the contract is put into it, and WASI's adapter beside it
//! ```
//!
//! What is missing is said before a tool says it in words of its own, and with its cure.

mod bindings;
mod command;
mod component;
mod needs;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;
use tape_connector_kit::{Build, Manifest};

pub use component::{componentize, is_component};

/// What the contract's world is called.
const WORLD: &str = "guest";

/// Builds the component in `folder` and reads it. `talk` is told what is being run.
///
/// # Errors
/// The manifest makes no sense, a tool is missing, the build fails, or it leaves no component; each with its cure.
pub fn build(folder: &Path, talk: &dyn Fn(&str)) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let manifest = Manifest::read(folder)?;
    let file = folder.join(Manifest::FILE);
    let Some(build) = &manifest.build else {
        bail!(
            "{} has no [build]: write command = [\"...\"] and artifact = \"...\", or name the component with --component",
            file.display()
        );
    };
    needs::check(folder, build)?;
    if let Some(go) = &build.go_bindings {
        bindings::write(&contract(folder, build)?, &folder.join(go))?;
    }
    talk(&format!("building {}: {}", manifest.name, build.command.join(" ")));
    command::run(folder, build).with_context(|| format!("build {}", manifest.name))?;
    let artifact = artifact(folder, build)?;
    let bytes = std::fs::read(&artifact).with_context(|| {
        format!(
            "the build succeeded and left no {}; correct build.artifact in {}",
            artifact.display(),
            file.display()
        )
    })?;
    if is_component(&bytes) {
        return Ok((artifact, bytes));
    }
    let component = componentize(&bytes, &contract(folder, build)?)
        .with_context(|| format!("make a component of {}", artifact.display()))?;
    let made = artifact.with_extension("component.wasm");
    std::fs::write(&made, &component).with_context(|| format!("write {}", made.display()))?;
    Ok((made, component))
}

/// The folder with the contract's WIT.
fn contract(folder: &Path, build: &Build) -> anyhow::Result<PathBuf> {
    let Some(wit) = &build.wit else {
        bail!(
            "{} leaves a core module, and the contract that it is to be given is not named: write build.wit = \"...\", the folder of tape-connector@1.0.0",
            build.artifact
        );
    };
    let wit = folder.join(wit);
    if !wit.is_dir() {
        bail!(
            "build.wit is {}, which is not there: name the folder of tape-connector@1.0.0",
            wit.display()
        );
    }
    Ok(wit)
}

fn artifact(folder: &Path, build: &Build) -> anyhow::Result<PathBuf> {
    if !build.artifact.contains("{target}") {
        return Ok(folder.join(&build.artifact));
    }
    Ok(folder.join(build.artifact.replace("{target}", &target_folder(folder)?)))
}

/// Where cargo puts what it builds: it may be the folder of a workspace above, or anywhere else.
fn target_folder(folder: &Path) -> anyhow::Result<String> {
    let output = std::process::Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(folder)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("ask cargo where its target folder is")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo's metadata")?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo's metadata name no target folder")?;
    Ok(target.to_owned())
}
