//! `tape connector put`: a version of a connector into the running server.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;
use tape_client::{PutConnector, VersionName};
use tape_connector_artifact::Reference;
use tape_connector_kit::Manifest;

use super::deployed::{Asker, Grants, full_name, name_of, object, short, show_missing};
use super::oci::OciArgs;
use super::{build, folder};
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui::{self, Mark};

#[derive(clap::Args)]
pub struct Args {
    /// A component, the folder of a connector: it is built, or oci://HOST[:PORT]/NAME[:TAG][@sha256:DIGEST]: it is pulled
    #[arg(default_value = ".")]
    source: PathBuf,
    /// What runs call it [default: the folder's, the file's, or the artifact's name]
    #[arg(long)]
    name: Option<String>,
    /// Under which version [default: what the component calls itself]
    #[arg(id = "as", long = "as", value_name = "VERSION", default_value = "")]
    version: String,
    /// If the version exists with other bytes, name it after its digest
    #[arg(long)]
    again: bool,
    /// Direct all calls to it at once
    #[arg(long)]
    activate: bool,
    /// Its configuration: JSON, or a file of it [default: that of the active version]
    #[arg(long, value_name = "JSON|FILE")]
    config: Option<String>,
    #[command(flatten)]
    grants: Grants,
    #[command(flatten)]
    asker: Asker,
    #[command(flatten)]
    oci: OciArgs,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let Found {
        name,
        component,
        signature,
    } = read(args).await?;
    let size = component.len();
    let config_json = match &args.config {
        Some(config) => object(config, "--config")?.to_string(),
        None => String::new(),
    };
    let put = PutConnector {
        at: VersionName {
            tenant: args.asker.tenant.clone(),
            name: args.name.clone().unwrap_or(name),
            version: args.version.clone(),
        },
        component,
        config_json,
        grants: if args.grants.is_empty() {
            None
        } else {
            Some(args.grants.on(Value::Null)?)
        },
        signature,
        activate: args.activate,
        rename: args.again,
        by: args.asker.by(),
    };
    let client = cx.client().await?;
    let progress = ui::Progress::start(format!("putting {}", put.at.name));
    let done = client.put_connector(put).await;
    drop(progress);
    let done = done?;
    if cx.is_json() {
        ui::json(&done)?;
        return Ok(Exit::Fine);
    }
    let version = &done.version;
    let what = if done.created { "put" } else { "it was there already" };
    let name = full_name(version);
    ui::marked(
        Mark::Tick,
        format!(
            "{name} {}: {what}, {}, {}",
            version.version,
            build::size(size),
            short(&version.digest)
        ),
    )?;
    show_missing(&done.missing_grants)?;
    if version.weight > 0 {
        ui::marked(Mark::Tick, format!("it gets {} % of the calls", version.weight))?;
    } else {
        ui::line(format!("\nNext: tape connector activate {name} {}", version.version))?;
    }
    Ok(Exit::Fine)
}

/// What stands beside a component's file: who vouches for it.
fn signature(source: &Path) -> anyhow::Result<String> {
    let file = PathBuf::from(format!("{}.sig", source.display()));
    if !file.exists() {
        return Ok(String::new());
    }
    std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))
}

/// What is put, and what it is called unless somebody says otherwise.
struct Found {
    name: String,
    component: Vec<u8>,
    /// Who vouches for it, one signature on a line.
    signature: String,
}

async fn read(args: &Args) -> anyhow::Result<Found> {
    let source = args.source.to_string_lossy();
    if Reference::is_one(&source) {
        let pulled = args.oci.pull(&source).await?;
        let lines = pulled.signatures.iter().map(|signature| format!("{signature}\n"));
        ui::talk(format!("pulled {}", pulled.reference));
        return Ok(Found {
            name: pulled.reference.name().to_owned(),
            signature: lines.collect(),
            component: pulled.component,
        });
    }
    if args.source.is_dir() {
        return Ok(Found {
            component: folder::build(&args.source)?.1,
            name: Manifest::read(&args.source)?.name,
            signature: String::new(),
        });
    }
    Ok(Found {
        component: folder::find(Path::new("."), Some(&args.source))?.1,
        name: name_of(&args.source),
        signature: signature(&args.source)?,
    })
}
