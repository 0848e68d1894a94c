//! `tape init`: a project that runs as it is.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use crate::cx::Cx;
use crate::exit::Exit;
use crate::template::{self, Template};
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The project's name, and the folder that is made for it
    name: String,
    /// What it is made from
    #[arg(long, value_enum, default_value_t)]
    template: Template,
    /// Write into the current folder instead of a new one
    #[arg(long)]
    here: bool,
}

pub fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    check_name(&args.name)?;
    let folder = if args.here {
        PathBuf::from(".")
    } else {
        PathBuf::from(&args.name)
    };
    if !args.here && folder.exists() {
        bail!(
            "{} exists, and nothing is overwritten. Choose another name, or use --here inside it.",
            folder.display()
        );
    }
    let files = template::write(args.template, &args.name, &folder)?;
    if cx.is_json() {
        ui::json(&json!({ "project": args.name, "folder": folder, "files": files }))?;
        return Ok(Exit::Fine);
    }
    ui::marked(
        ui::Mark::Tick,
        format!("project `{}` in {}/", args.name, folder.display()),
    )?;
    for file in &files {
        ui::line(format!("    {}", file.display()))?;
    }
    ui::line("\nNext:")?;
    if !args.here {
        ui::line(format!("    cd {}", args.name))?;
    }
    ui::line("    pip install -e .              # the SDK and the agent framework, into the Python that is active")?;
    ui::line("    tape dev --kill-resume-demo   # kills the agent in the middle of a wire, and counts the wires")?;
    ui::line("    tape dev                      # server, bank and agent in one window")?;
    Ok(Exit::Fine)
}

/// It becomes a folder, a Python package's name and text in YAML: letters, digits, `-` and `_`.
fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let edges = name.bytes().next().zip(name.bytes().last());
    let sound = name.len() <= 64
        && name.bytes().all(plain)
        && edges.is_some_and(|(first, last)| first.is_ascii_alphabetic() && last.is_ascii_alphanumeric());
    if !sound {
        bail!(
            "`{name}` cannot be a project's name. Use letters, digits, - and _, and begin with a letter: tape init treasury"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["treasury", "a", "my-agent_2"] {
            check_name(name).unwrap();
        }
        for name in ["", "-x", "2x", "x-", "a/b", "a b", "..", "é"] {
            assert!(
                check_name(name).unwrap_err().to_string().contains("tape init treasury"),
                "{name}"
            );
        }
    }
}
