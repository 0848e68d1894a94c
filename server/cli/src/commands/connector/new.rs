//! `tape connector new`: a connector's project.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use crate::cx::Cx;
use crate::exit::Exit;
use crate::template::{self, Language};
use crate::ui::{self, Mark};

#[derive(clap::Args)]
pub struct Args {
    /// The connector's name, and the folder that is made for it
    name: String,
    /// What it is written in
    #[arg(long, value_enum, default_value_t)]
    lang: Language,
}

pub fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    check_name(&args.name)?;
    let folder = PathBuf::from(&args.name);
    if folder.exists() {
        bail!(
            "{} exists, and nothing is overwritten. Choose another name.",
            folder.display()
        );
    }
    let files = template::write_connector(args.lang, &args.name, &folder)?;
    if cx.is_json() {
        ui::json(&json!({"connector": args.name, "folder": folder, "files": files}))?;
        return Ok(Exit::Fine);
    }
    ui::marked(
        Mark::Tick,
        format!("connector `{}` in {}/", args.name, folder.display()),
    )?;
    let vendored = args.lang.vendored();
    for file in files.iter().filter(|file| !file.starts_with(vendored)) {
        ui::line(format!("    {}", file.display()))?;
    }
    ui::line(format!("    {vendored}/  the contract, and what authors use"))?;
    ui::line("\nNext:")?;
    ui::line(format!("    cd {}", args.name))?;
    if let Some((command, why)) = args.lang.prepare() {
        ui::line(format!("    {command:<30} # {why}"))?;
    }
    ui::line("    tape connector test            # builds it, and tries what every connector must hold")?;
    ui::line("    tape connector call dispatch   # one call by hand, over the model in cases/upstream.yaml")?;
    Ok(Exit::Fine)
}

/// It becomes a folder, a crate's and a connector's name: lower-case letters, digits and hyphens.
fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edges = name.bytes().next().zip(name.bytes().last());
    let sound = name.len() <= 64
        && name.bytes().all(plain)
        && edges.is_some_and(|(first, last)| first.is_ascii_lowercase() && last != b'-');
    if !sound {
        bail!(
            "`{name}` cannot be a connector's name. Use lower-case letters, digits and hyphens, and begin with a letter: tape connector new shipping"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["shipping", "a", "my-erp-2"] {
            check_name(name).unwrap();
        }
        for name in ["", "Shipping", "-x", "2x", "x-", "a/b", "a b", "a_b", ".."] {
            assert!(
                check_name(name)
                    .unwrap_err()
                    .to_string()
                    .contains("tape connector new shipping"),
                "{name}"
            );
        }
    }
}
