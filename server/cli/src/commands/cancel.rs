//! `tape cancel`: ask a run's driver to stop.

use crate::commands::status::show;
use crate::cx::Cx;
use crate::exit::Exit;

#[derive(clap::Args)]
pub struct Args {
    /// The run
    run_id: String,
    /// Why; goes into the journal
    #[arg(long, default_value = "cancelled by an operator")]
    reason: String,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let run = cx.client().await?.cancel(&args.run_id, &args.reason).await?;
    show(&run, cx)?;
    Ok(Exit::Fine)
}
