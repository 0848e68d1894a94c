//! `tape connector build`: the component, and whether the host accepts it.

use std::path::PathBuf;

use serde_json::json;

use super::folder;
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui::{self, Mark};

#[derive(clap::Args)]
pub struct Args {
    /// The connector's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let (file, component) = folder::build(&args.folder)?;
    let bytes = component.len();
    let kit = folder::open(&args.folder, component).await?;
    let description = kit.description();
    if cx.is_json() {
        ui::json(&json!({
            "file": file, "bytes": bytes, "digest": kit.digest(), "name": description.name, "version": description.version,
        }))?;
        return Ok(Exit::Fine);
    }
    ui::marked(
        Mark::Tick,
        format!(
            "{} {} is a connector: {}",
            description.name, description.version, description.summary
        ),
    )?;
    ui::line(format!("    {}  {}", file.display(), size(bytes)))?;
    ui::line(format!("    {}", kit.digest()))?;
    Ok(Exit::Fine)
}

/// Bytes for people.
pub fn size(bytes: usize) -> String {
    const KIB: usize = 1024;
    match bytes {
        ..KIB => format!("{bytes} B"),
        _ if bytes < KIB * KIB => format!("{} KiB", bytes / KIB),
        _ => format!("{}.{} MiB", bytes / (KIB * KIB), bytes % (KIB * KIB) * 10 / (KIB * KIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!([10, 234_567, 19_000_000].map(size), ["10 B", "229 KiB", "18.1 MiB"]);
    }
}
