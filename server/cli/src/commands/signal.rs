//! `tape signal`: answer a gate.

use anyhow::Context;
use serde_json::{Value, json};
use tape_client::Signal;

use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The run
    run_id: String,
    /// The gate's name
    gate: String,
    /// What it is answered: JSON
    #[arg(default_value = "null")]
    payload: String,
    /// Names this answer, so that giving it again changes nothing
    #[arg(long)]
    request_id: Option<String>,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    serde_json::from_str::<Value>(&args.payload)
        .with_context(|| format!("`{}` is no JSON. Quote a text twice: '\"yes\"'", args.payload))?;
    let signal = Signal {
        run_id: args.run_id.clone(),
        gate: args.gate.clone(),
        resolution_json: args.payload,
        request_id: args.request_id.unwrap_or_default(),
        ..Signal::default()
    };
    let accepted = cx.client().await?.signal(signal).await?;
    if cx.is_json() {
        ui::json(&json!({ "run_id": args.run_id, "gate": args.gate, "accepted": accepted }))?;
    } else if accepted {
        ui::marked(
            ui::Mark::Tick,
            format!("gate `{}` of {} is answered", args.gate, args.run_id),
        )?;
    } else {
        ui::marked(
            ui::Mark::Cross,
            format!("gate `{}` of {} had its answer already", args.gate, args.run_id),
        )?;
    }
    Ok(if accepted { Exit::Fine } else { Exit::Failed })
}
