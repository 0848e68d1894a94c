//! The build's own command.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use tape_connector_kit::Build;

use crate::needs::cure;

/// Runs it in `folder`. What it says on standard error is shown as it comes; standard output belongs to ours.
pub(crate) fn run(folder: &Path, build: &Build) -> anyhow::Result<()> {
    let Some((program, arguments)) = build.command.split_first() else {
        bail!("build.command in connector.toml is empty: write program and arguments");
    };
    let output = Command::new(program)
        .args(arguments)
        .envs(&build.env)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("`{program}` is not there{}", cure(build)),
        output => output.with_context(|| format!("start `{program}`"))?,
    };
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let words = if said.trim().is_empty() {
        "its own words are above".to_owned()
    } else {
        format!("it said:\n{}\n", said.trim_end())
    };
    bail!(
        "`{}` failed ({}): {words}{}",
        build.command.join(" "),
        output.status,
        cure(build)
    )
}
