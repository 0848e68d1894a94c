//! `tape tail`: a run's journal from its beginning, then live until the run ends; or the events of all runs.

use std::pin::pin;

use futures_util::StreamExt;
use serde_json::Value;
use tape_client::{Entry, Event, EventFilter, TapeClient};

use crate::cx::Cx;
use crate::exit::Exit;
use crate::journal::payload;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The run [default: all runs]
    run_id: Option<String>,
    /// Begin at this entry of the run, or at this cursor
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    from: i64,
    /// Only events with such a subject: `*` is one segment, `**` any number, as in /tape/effect/*/**
    #[arg(long, value_name = "PATTERN", conflicts_with = "run_id")]
    subject: Option<String>,
    /// Only events of this kind, such as effect.failed
    #[arg(long, conflicts_with = "run_id")]
    kind: Option<String>,
    /// Only events for which this CEL expression is true, such as "payload.tool == 'wire_money'"
    #[arg(long = "where", value_name = "CEL", conflicts_with = "run_id")]
    predicate: Option<String>,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let client = cx.client().await?;
    let Some(run_id) = &args.run_id else {
        return everything(args, &client, cx).await;
    };
    let mut journal = pin!(client.subscribe_run(run_id, args.from).await?);
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

/// The events of all runs, until Ctrl-C.
async fn everything(args: Args, client: &TapeClient, cx: &Cx) -> anyhow::Result<Exit> {
    let filter = EventFilter {
        kind: args.kind.unwrap_or_default(),
        subject_pattern: args.subject.unwrap_or_default(),
        predicate_cel: args.predicate.unwrap_or_default(),
    };
    let mut events = pin!(client.events(filter, args.from).await?);
    while let Some(event) = events.next().await {
        let event = event?;
        if cx.is_json() {
            ui::json_line(&event)?;
        } else {
            ui::line(render_event(&event))?;
        }
    }
    Ok(Exit::Fine)
}

fn render_event(event: &Event) -> String {
    let details = details(serde_json::from_str(&event.payload_json).unwrap_or(Value::Null));
    let line = format!("{:>7}  {}  {details}", event.cursor, event.subject);
    line.trim_end().to_owned()
}

fn render(entry: &Entry) -> String {
    let decision = entry.decision_index.map_or(String::new(), |index| format!("d-{index}"));
    let details = details(payload(entry));
    let line = format!("{:>5}  {:<22} {decision:<5} {details}", entry.seq, entry.kind);
    line.trim_end().to_owned()
}

fn details(payload: Value) -> String {
    match payload {
        Value::Null => String::new(),
        Value::Object(map) if map.is_empty() => String::new(),
        other => other.to_string(),
    }
}
