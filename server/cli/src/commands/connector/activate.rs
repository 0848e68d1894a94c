//! `tape connector activate`: directs calls to a version, all of them or a share.

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
    /// Its share of the calls, in percent; the version that is active keeps the rest [default: all calls]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(i32).range(1..=100))]
    weight: Option<i32>,
    #[command(flatten)]
    asker: Asker,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let version = VersionName {
        tenant: args.asker.tenant.clone(),
        name: args.name.clone(),
        version: args.version.clone(),
    };
    let weight = args.weight.unwrap_or_default();
    let active = cx
        .client()
        .await?
        .activate_version(version, weight, args.asker.by())
        .await?;
    if cx.is_json() {
        ui::json(&active)?;
        return Ok(Exit::Fine);
    }
    for version in &active {
        ui::marked(
            Mark::Tick,
            format!(
                "{} {} gets {} % of the calls",
                args.name, version.version, version.weight
            ),
        )?;
    }
    Ok(Exit::Fine)
}
