//! `tape connector push`: into a registry of artifacts, with its signatures.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;
use tape_connector_artifact::{Artifact, Reference};
use tape_host::Inspection;

use super::{folder, identity, oci, sign};
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// A component's file, or a connector's folder
    path: PathBuf,
    /// Where to: oci://HOST[:PORT]/NAME[:TAG]
    to: String,
    /// Sign it first with this private key, PEM. Signatures that stand beside the component go with it in any case
    #[arg(long, env = "TAPE_SIGNING_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    identity: identity::IdentityArgs,
    #[command(flatten)]
    oci: oci::OciArgs,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let to: Reference = args.to.parse().map_err(oci::explained)?;
    let is_folder = args.path.is_dir();
    let (file, component) = folder::find(&args.path, (!is_folder).then_some(args.path.as_path()))?;
    let Inspection {
        imports,
        exports,
        digest,
        ..
    } = tape_host::inspect(&component)?;
    let mut signatures = sign::read_signatures(&file)?;
    if let Some(old) = signatures.iter().find(|signature| signature.digest != digest) {
        bail!(
            "{} holds a signature by key {} for another build of it: sign this one with `tape connector sign`",
            sign::beside(&file).display(),
            old.key
        );
    }
    let who = args
        .identity
        .of(is_folder.then_some(args.path.as_path()), &component)
        .await?;
    if let Some(key) = &args.key {
        let signature = sign::read_key(key)?.sign(&who.name, &who.version, &component);
        signatures.retain(|one| one.key != signature.key);
        signatures.push(signature);
    }
    let artifact = Artifact {
        name: who.name,
        version: who.version,
        component,
        imports,
        exports,
        signatures,
    };
    let place = args
        .oci
        .client(&to)?
        .push(&to, &artifact)
        .await
        .map_err(oci::explained)?;
    let signed_by: Vec<_> = artifact.signatures.iter().map(|one| one.key.as_str()).collect();
    if cx.is_json() {
        ui::json(&json!({
            "reference": to.to_string(), "pinned": place.to_string(), "digest": digest,
            "name": artifact.name, "version": artifact.version, "signed_by": signed_by,
        }))?;
        return Ok(Exit::Fine);
    }
    ui::line(format!("{to}  {} {}  {digest}", artifact.name, artifact.version))?;
    ui::line(format!("pinned    {place}"))?;
    ui::line(format!(
        "signed by {}",
        if signed_by.is_empty() {
            "nobody".to_owned()
        } else {
            signed_by.join(", ")
        }
    ))?;
    Ok(Exit::Fine)
}
