//! `tape connector rollback`: away from the version that came last.

use tape_client::VersionName;

use super::deployed::Asker;
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui::{self, Mark};

#[derive(clap::Args)]
pub struct Args {
    /// The connector
    name: String,
    /// The version to leave: if it is not active any more, nothing changes [default: the one that came last]
    #[arg(long, value_name = "VERSION")]
    from: Option<String>,
    #[command(flatten)]
    asker: Asker,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let client = cx.client().await?;
    let tenant = &args.asker.tenant;
    let from = VersionName {
        tenant: tenant.clone(),
        name: args.name.clone(),
        version: args.from.clone().unwrap_or_default(),
    };
    let active = client.rollback_connector(from, args.asker.by()).await?;
    if cx.is_json() {
        ui::json(&active)?;
    } else {
        ui::marked(
            Mark::Tick,
            format!(
                "{} is back to {}: {} % of the calls",
                args.name, active.version, active.weight
            ),
        )?;
    }
    Ok(Exit::Fine)
}
