//! `tape connector remove`: takes a version away.

use tape_client::VersionName;

use super::deployed::Asker;
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui::{self, Mark};

#[derive(clap::Args)]
pub struct Args {
    /// The connector
    name: String,
    /// The version
    #[arg(id = "of", value_name = "VERSION")]
    version: String,
    /// Also if effects that it dispatched are not settled: the active version is asked about them then
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    asker: Asker,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let version = VersionName {
        tenant: args.asker.tenant.clone(),
        name: args.name.clone(),
        version: args.version.clone(),
    };
    let removed = cx
        .client()
        .await?
        .remove_connector(version, args.force, args.asker.by())
        .await?;
    if cx.is_json() {
        ui::json(&serde_json::json!({ "name": args.name, "version": args.version, "removed": removed }))?;
    } else if removed {
        ui::marked(Mark::Tick, format!("{} {} is gone", args.name, args.version))?;
    } else {
        ui::line(format!(
            "{} has no version {}: nothing changed",
            args.name, args.version
        ))?;
    }
    Ok(Exit::Fine)
}
