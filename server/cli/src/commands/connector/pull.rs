//! `tape connector pull`: out of a registry of artifacts into a file, its signatures beside it.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;
use tape_connector_artifact::{Pulled, digest};

use super::{oci, sign};
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// What: oci://HOST[:PORT]/NAME[:TAG][@sha256:DIGEST]
    from: String,
    /// The file that the component is written to
    file: PathBuf,
    #[command(flatten)]
    oci: oci::OciArgs,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let Pulled {
        component,
        signatures,
        reference,
        ..
    } = args.oci.pull(&args.from).await?;
    // What stood beside a former component says nothing about this one.
    let beside = sign::beside(&args.file);
    if beside.exists() {
        std::fs::remove_file(&beside).with_context(|| format!("delete {}", beside.display()))?;
    }
    std::fs::write(&args.file, &component).with_context(|| format!("write {}", args.file.display()))?;
    if !signatures.is_empty() {
        let lines: String = signatures.iter().map(|signature| format!("{signature}\n")).collect();
        std::fs::write(&beside, lines).with_context(|| format!("write {}", beside.display()))?;
    }
    let digest = digest(&component);
    let signed_by: Vec<_> = signatures.iter().map(|one| one.key.as_str()).collect();
    if cx.is_json() {
        ui::json(&json!({
            "file": args.file, "digest": digest, "bytes": component.len(), "pinned": reference.to_string(),
            "signed_by": signed_by,
        }))?;
        return Ok(Exit::Fine);
    }
    ui::line(format!("{}  {} bytes  {digest}", args.file.display(), component.len()))?;
    ui::line(format!("pinned    {reference}"))?;
    ui::line(format!(
        "signed by {}",
        if signed_by.is_empty() {
            "nobody".to_owned()
        } else {
            format!("{} (the server checks it against its own keys)", signed_by.join(", "))
        }
    ))?;
    Ok(Exit::Fine)
}
