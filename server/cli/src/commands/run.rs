//! `tape run`: start a run of the project's app.

use std::pin::pin;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use serde_json::Value;
use tape_client::{RunStatus, StartRun};

use crate::commands::status::show;
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// What the run is asked: a sentence, or a JSON object in the framework's own message form
    message: String,
    /// The app [default: the project's]
    #[arg(long)]
    app: Option<String>,
    /// On whose behalf
    #[arg(long, default_value = "user")]
    user: String,
    /// In which of the user's sessions [default: a new one]
    #[arg(long)]
    session: Option<String>,
    /// Wait until the run has ended, and show what it came to
    #[arg(long)]
    wait: bool,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let app = match (&args.app, cx.project_if_any()?) {
        (Some(app), _) => app.clone(),
        (None, Some(project)) => project.app_name().to_owned(),
        (None, None) => bail!("there is no tape.yaml here, so say which app: --app NAME"),
    };
    let client = cx.client().await?;
    let session = args
        .session
        .unwrap_or_else(|| format!("s-{}", uuid::Uuid::now_v7().simple()));
    let start = StartRun {
        app,
        user: args.user,
        session,
        input_json: input(&args.message)?,
        ..StartRun::default()
    };
    let started = client.start_run(start).await?.run;
    if !args.wait {
        if cx.is_json() {
            ui::json(&started)?;
        } else {
            ui::line(&started.run_id)?;
            ui::talk(format!(
                "Started. `tape status --follow` shows it; `tape tail {}` its journal.",
                started.run_id
            ));
        }
        return Ok(Exit::Fine);
    }
    let waiting = ui::Progress::start(format!("{} runs", started.run_id));
    let mut journal = pin!(client.subscribe_run(&started.run_id, 0).await?);
    while let Some(entry) = journal.next().await {
        entry.context("follow the run")?;
    }
    drop(waiting);
    let ended = client.run(&started.run_id).await?;
    show(&ended, cx)?;
    Ok(match ended.status {
        RunStatus::Terminal => Exit::Fine,
        RunStatus::Stuck => Exit::Stuck,
        _ => Exit::Failed,
    })
}

/// A JSON object as it is; anything else as a sentence.
fn input(message: &str) -> anyhow::Result<String> {
    if message.trim().is_empty() {
        bail!(
            "an empty message asks nothing. Say what the run is to do, for example: tape run 'Pay 12.00 EUR to ACME for lunch'"
        );
    }
    match serde_json::from_str(message) {
        Ok(Value::Object(_)) => Ok(message.to_owned()),
        _ => Ok(Value::String(message.to_owned()).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_quoted_and_an_object_is_not() {
        assert_eq!(input("Pay \"ACME\"").unwrap(), r#""Pay \"ACME\"""#);
        assert_eq!(input("12").unwrap(), r#""12""#);
        assert_eq!(input(r#"{"parts":[]}"#).unwrap(), r#"{"parts":[]}"#);
        assert!(input("  ").is_err());
    }
}
