//! `tape connector sign`: vouch for a component with a key; or make one.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;
use tape_connector_artifact::{Signature, SigningKey};

use super::{folder, identity};
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// A component's file, or a connector's folder
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The private key, PEM
    #[arg(
        long,
        env = "TAPE_SIGNING_KEY",
        value_name = "FILE",
        required_unless_present = "new_key"
    )]
    key: Option<PathBuf>,
    /// Make a private key there, and sign nothing
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    new_key: Option<PathBuf>,
    #[command(flatten)]
    identity: identity::IdentityArgs,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    if let Some(file) = &args.new_key {
        return new_key(file, cx);
    }
    let Some(key) = &args.key else {
        bail!("no key: name it with --key")
    };
    let key = read_key(key)?;
    let is_folder = args.path.is_dir();
    let (file, component) = folder::find(&args.path, (!is_folder).then_some(args.path.as_path()))?;
    let who = args
        .identity
        .of(is_folder.then_some(args.path.as_path()), &component)
        .await?;
    let signature = key.sign(&who.name, &who.version, &component);
    let beside = beside(&file);
    let mut lines = others(&beside, &signature)?;
    lines.push(signature.to_string());
    std::fs::write(&beside, format!("{}\n", lines.join("\n")))
        .with_context(|| format!("write {}", beside.display()))?;
    if cx.is_json() {
        ui::json(&json!({"file": beside, "signature": signature, "public_key": key.public()}))?;
    } else {
        ui::line(format!(
            "{}  {} {} by key {}",
            beside.display(),
            who.name,
            who.version,
            signature.key
        ))?;
        ui::line(format!(
            "servers that trust it have in tape.connectors.signing_keys: {}",
            key.public()
        ))?;
    }
    Ok(Exit::Fine)
}

fn new_key(file: &Path, cx: &Cx) -> anyhow::Result<Exit> {
    let (key, pem) = SigningKey::generate()?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut made = match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already: a key is never written over", file.display())
        }
        made => made.with_context(|| format!("write {}", file.display()))?,
    };
    made.write_all(pem.as_bytes())
        .with_context(|| format!("write {}", file.display()))?;
    if cx.is_json() {
        ui::json(&json!({"file": file, "key": key.public().id(), "public_key": key.public()}))?;
    } else {
        ui::line(format!(
            "{}  the private key {}: whoever has it can sign",
            file.display(),
            key.public().id()
        ))?;
        ui::line(format!(
            "servers that trust it have in tape.connectors.signing_keys: {}",
            key.public()
        ))?;
    }
    Ok(Exit::Fine)
}

/// A private key from its file.
///
/// # Errors
/// It cannot be read, or is none.
pub fn read_key(file: &Path) -> anyhow::Result<SigningKey> {
    let pem = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    SigningKey::from_pem(&pem).with_context(|| format!("read {}", file.display()))
}

/// Where the signatures of a component are.
#[must_use]
pub fn beside(component: &Path) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    name.push(".sig");
    name.into()
}

/// The signatures beside a component; none if there is no such file.
///
/// # Errors
/// A line that is none.
pub fn read_signatures(component: &Path) -> anyhow::Result<Vec<Signature>> {
    let file = beside(component);
    let text = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.with_context(|| format!("read {}", file.display()))?,
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let signatures = lines.map(|line| line.parse().with_context(|| format!("read {}", file.display())));
    signatures.collect()
}

/// What is there already and is for the same bytes, by other keys. A signature for other bytes is of no use any more.
fn others(beside: &Path, new: &Signature) -> anyhow::Result<Vec<String>> {
    let component = beside.with_extension("");
    let kept = read_signatures(&component)?.into_iter();
    let kept = kept.filter(|one| one.digest == new.digest && one.key != new.key);
    Ok(kept.map(|one| one.to_string()).collect())
}
