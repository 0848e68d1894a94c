//! `tape resolve`: settle what the server could not settle by itself.

use std::env;

use anyhow::{Context, bail};
use serde_json::Value;
use tape_client::{SettleEffect, SettleObligation};

use crate::cx::Cx;
use crate::exit::Exit;
use crate::names;
use crate::ui;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true)))]
pub struct Args {
    /// The effect, by its idempotency key
    #[arg(long, value_name = "KEY", group = "what")]
    effect: Option<String>,
    /// The obligation, as RUN/NUMBER
    #[arg(long, value_name = "ID", group = "what")]
    obligation: Option<String>,
    /// What it is settled as: confirmed or failed (an effect), compensated or stuck (an obligation)
    #[arg(long = "as", value_enum)]
    outcome: Outcome,
    /// Why; goes into the journal
    #[arg(long)]
    reason: String,
    /// The upstream's own name for what it did
    #[arg(long, value_name = "REF", default_value = "")]
    external_ref: String,
    /// What the run is given as the effect's result, or as its error: JSON
    #[arg(long, value_name = "JSON", default_value = "")]
    response: String,
    /// The effect's run, if its key is one of your own
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Who decides [default: the user of this shell]
    #[arg(long)]
    who: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Outcome {
    Confirmed,
    Failed,
    Compensated,
    Stuck,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let who = args
        .who
        .clone()
        .or_else(|| env::var("USER").ok())
        .unwrap_or_else(|| "operator".to_owned());
    match (&args.effect, &args.obligation) {
        (Some(key), _) => effect(key, &args, who, cx).await,
        (None, Some(id)) => obligation(id, &args, who, cx).await,
        (None, None) => bail!("say what is to be settled: --effect KEY or --obligation ID"),
    }
}

async fn effect(key: &str, args: &Args, who: String, cx: &Cx) -> anyhow::Result<Exit> {
    let confirmed = match args.outcome {
        Outcome::Confirmed => true,
        Outcome::Failed => false,
        Outcome::Compensated | Outcome::Stuck => bail!("an effect is settled --as confirmed or --as failed"),
    };
    if !args.response.is_empty() {
        serde_json::from_str::<Value>(&args.response)
            .with_context(|| format!("--response {} is no JSON", args.response))?;
    }
    let run_id = match (&args.run, run_of(key)) {
        (Some(run), _) => run.as_str(),
        (None, Some(run)) => run,
        (None, None) => bail!("`{key}` does not begin with its run, so say which: --run RUN"),
    };
    let settlement = SettleEffect {
        run_id: run_id.to_owned(),
        key: key.to_owned(),
        confirmed,
        external_ref: args.external_ref.clone(),
        response_json: args.response.clone(),
        reason: args.reason.clone(),
        who,
    };
    let settled = cx.client().await?.resolve_effect(settlement).await?;
    if cx.is_json() {
        ui::json(&settled)?;
    } else {
        ui::marked(
            ui::Mark::Tick,
            format!("{} is {}", settled.key, ui::status(names::effect(settled.status))),
        )?;
    }
    Ok(Exit::Fine)
}

async fn obligation(id: &str, args: &Args, who: String, cx: &Cx) -> anyhow::Result<Exit> {
    let compensated = match args.outcome {
        Outcome::Compensated => true,
        Outcome::Stuck => false,
        Outcome::Confirmed | Outcome::Failed => bail!("an obligation is settled --as compensated or --as stuck"),
    };
    let parsed = id
        .rsplit_once('/')
        .and_then(|(run, number)| Some((run, number.parse().ok()?)));
    let (run_id, number) = parsed.with_context(|| format!("`{id}` is not RUN/NUMBER, as `tape doctor` shows it"))?;
    let settlement = SettleObligation {
        run_id: run_id.to_owned(),
        seq: number,
        compensated,
        reason: args.reason.clone(),
        who,
    };
    let settled = cx.client().await?.resolve_obligation(settlement).await?;
    if cx.is_json() {
        ui::json(&settled)?;
    } else {
        ui::marked(
            ui::Mark::Tick,
            format!("{id} is {}", ui::status(names::obligation(settled.status))),
        )?;
    }
    Ok(Exit::Fine)
}

/// The run at the beginning of a key that the server derived.
fn run_of(key: &str) -> Option<&str> {
    let (run, _) = key.split_once('/')?;
    run.starts_with("r-").then_some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_key_begins_with_its_run() {
        assert_eq!(run_of("r-1/d-2/wire_money/0"), Some("r-1"));
        assert_eq!(run_of("mine"), None);
        assert_eq!(run_of("my/key"), None);
    }
}
