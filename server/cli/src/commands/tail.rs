//! `tape tail`: a run's journal from its beginning, then live until the run ends.

use std::pin::pin;

use futures_util::StreamExt;
use serde_json::Value;
use tape_client::Entry;

use crate::cx::Cx;
use crate::exit::Exit;
use crate::journal::payload;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The run
    run_id: String,
    /// Begin at this entry
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    from: i64,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let client = cx.client().await?;
    let mut journal = pin!(client.subscribe_run(&args.run_id, args.from).await?);
    while let Some(entry) = journal.next().await {
        let entry = entry?;
        if cx.is_json() {
            ui::json_line(&entry)?;
        } else {
            ui::line(render(&entry))?;
        }
    }
    Ok(Exit::Fine)
}

fn render(entry: &Entry) -> String {
    let decision = entry.decision_index.map_or(String::new(), |index| format!("d-{index}"));
    let payload = match payload(entry) {
        Value::Null => String::new(),
        Value::Object(map) if map.is_empty() => String::new(),
        other => other.to_string(),
    };
    let line = format!("{:>5}  {:<22} {decision:<5} {payload}", entry.seq, entry.kind);
    line.trim_end().to_owned()
}
