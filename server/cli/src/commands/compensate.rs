//! `tape compensate`: undo what a run did, newest first.

use serde_json::json;

use crate::commands::status::show;
use crate::cx::Cx;
use crate::exit::Exit;
use crate::names;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The run
    run_id: String,
    /// Why; goes into the journal
    #[arg(long, default_value = "compensated by an operator")]
    reason: String,
    /// When one effect cannot be undone, undo the older ones all the same
    #[arg(long)]
    go_on: bool,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let (run, obligations) = cx
        .client()
        .await?
        .compensate(&args.run_id, &args.reason, args.go_on)
        .await?;
    if cx.is_json() {
        ui::json(&json!({ "run": run, "obligations": obligations }))?;
        return Ok(Exit::Fine);
    }
    show(&run, cx)?;
    for obligation in &obligations {
        let (id, status) = (
            format!("{}/{}", obligation.run_id, obligation.seq),
            names::obligation(obligation.status),
        );
        ui::line(format!(
            "    {id}  {}  undoes {}",
            ui::status(status),
            obligation.effect
        ))?;
    }
    Ok(Exit::Fine)
}
