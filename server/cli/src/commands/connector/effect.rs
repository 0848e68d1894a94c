//! `tape connector effect`: one effect the whole way, through the running server, until it is settled.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tape_client::{Effect, EffectStatus, Sample, TapeClient};
use tape_connector_kit::{EffectSpec, Subject};

use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui::{self, Mark};

#[derive(clap::Args)]
pub struct Args {
    /// The deployed connector [default: the folder's]
    name: Option<String>,
    /// The connector's folder, whose cases/upstream.yaml has the sample effect
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Default: that of the sample effect, like all that follows
    #[arg(long)]
    operation: Option<String>,
    /// JSON
    #[arg(long)]
    payload: Option<String>,
    #[arg(long)]
    business_key: Option<String>,
    /// The upstream deduplicates by the key
    #[arg(long)]
    idempotent: bool,
    /// How long to wait until it is settled
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    wait_ms: u64,
    /// For whom [default: your own tenant]
    #[arg(long, default_value = "")]
    tenant: String,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let sample = sample(args)?;
    let client = cx.client().await?;
    let connector = sample.connector.clone();
    let begun = client.begin_sample(sample).await?;
    let settled = tokio::time::timeout(
        Duration::from_millis(args.wait_ms),
        settled(&client, &begun.found_in, &begun.key),
    );
    let Ok(effect) = settled.await else {
        anyhow::bail!(
            "{connector}: not settled after {} ms; `tape inspect {}` shows how far it got, `tape status` who works on it",
            args.wait_ms,
            begun.run_id
        );
    };
    let effect = effect?;
    if effect.status == EffectStatus::Confirmed || effect.status == EffectStatus::Failed {
        client.end_sample(&begun.run_id).await?;
    }
    if begun.found_in != begun.run_id && !cx.is_json() {
        ui::talk(format!(
            "run {} has an effect with business key {} already: this is its answer, and nothing was sent again",
            begun.found_in, effect.business_key
        ));
    }
    show(&effect, cx)?;
    Ok(match effect.status {
        EffectStatus::Confirmed => Exit::Fine,
        EffectStatus::Stuck => Exit::Stuck,
        EffectStatus::Pending | EffectStatus::Failed | EffectStatus::Unknown => Exit::Failed,
    })
}

/// What the flags say, over the sample effect of the folder if it is needed.
fn sample(args: &Args) -> anyhow::Result<Sample> {
    let (mut name, mut spec) = (args.name.clone(), None);
    if name.is_none() || args.operation.is_none() || args.payload.is_none() {
        let subject = Subject::read(&args.folder, Vec::new())
            .context("the sample effect is the folder's; or say NAME, --operation and --payload")?;
        name.get_or_insert(subject.manifest.name);
        spec = Some(subject.setup.effect);
    }
    let of_spec = |field: fn(&EffectSpec) -> Option<String>| spec.as_ref().and_then(field);
    let payload = match &args.payload {
        Some(payload) => {
            serde_json::from_str::<Value>(payload).with_context(|| format!("--payload {payload} is no JSON"))?;
            payload.clone()
        }
        None => of_spec(|spec| Some(spec.payload.to_string())).unwrap_or_default(),
    };
    Ok(Sample {
        tenant: args.tenant.clone(),
        connector: name.unwrap_or_default(),
        operation: args
            .operation
            .clone()
            .or_else(|| of_spec(|spec| Some(spec.operation.clone())))
            .unwrap_or_default(),
        payload_json: payload,
        business_key: args
            .business_key
            .clone()
            .or_else(|| of_spec(|spec| spec.business_key.clone()))
            .unwrap_or_default(),
        is_idempotent: args.idempotent,
        driver: format!("by-hand-{}", uuid::Uuid::now_v7().simple()),
    })
}

/// The effect once nobody works on it any more. In doubt it is being looked for: that is waited for, too.
async fn settled(client: &TapeClient, run_id: &str, key: &str) -> anyhow::Result<Effect> {
    const LOOK_AGAIN: Duration = Duration::from_millis(50);
    loop {
        let effect = client.effect(run_id, key).await?;
        let effect = effect.with_context(|| format!("effect {key} is not there any more"))?;
        if !matches!(effect.status, EffectStatus::Pending | EffectStatus::Unknown) {
            return Ok(effect);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn show(effect: &Effect, cx: &Cx) -> anyhow::Result<()> {
    if cx.is_json() {
        return ui::json(effect);
    }
    let status = serde_json::to_value(effect.status)?;
    let mark = match effect.status {
        EffectStatus::Confirmed => Mark::Tick,
        _ => Mark::Cross,
    };
    ui::marked(
        mark,
        format!("effect {}: {}", effect.key, status.as_str().unwrap_or_default()),
    )?;
    for (name, text) in [
        (
            "connector",
            format!("{} {}", effect.connector, effect.connector_version),
        ),
        ("external_ref", effect.external_ref.clone()),
        ("response", effect.response_json.clone()),
        ("attempts", effect.attempts.len().to_string()),
        ("error", effect.last_error.clone()),
    ] {
        if !text.is_empty() {
            ui::line(format!("    {name}: {text}"))?;
        }
    }
    Ok(())
}
