//! A connector's folder: how its component is made and found.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tape_connector_kit::{Kit, Problem, Subject};

use crate::ui;

/// Builds the component in `folder` and reads it.
///
/// # Errors
/// The tool is missing, the build fails, or it leaves no component; each with its cure.
pub fn build(folder: &Path) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    tape_connector_build::build(folder, &|line| ui::talk(line))
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
    Kit::open_with(subject, compiled(folder)).await.map_err(explained)
}

/// Where compiled code is kept from one command to the next, if the folder can be written to.
fn compiled(folder: &Path) -> Option<PathBuf> {
    let dir = folder.join(".tape/compiled");
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).ok()?;
    Some(dir)
}

/// The host's refusal with its code, so that `tape explain` can be asked.
pub fn explained(problem: Problem) -> anyhow::Error {
    match problem {
        Problem::Host {
            code: Some(code),
            problem,
        } => anyhow::anyhow!("{problem}{} ({code}; see: tape explain {code})", cure(code)),
        other => other.into(),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| {
        format!(
            "read {}; name a component's file, or leave it out: then the folder is built",
            file.display()
        )
    })
}

/// What an author does about it, who has no tape.yaml yet.
fn cure(code: &str) -> &'static str {
    match code {
        "TAPE-C021" => ". Cure: correct build.artifact in connector.toml, or name a component's file",
        "TAPE-C024" => ". Cure: correct `config` in cases/upstream.yaml, or the file of --config",
        _ => "",
    }
}
