//! `tape connector call`: by hand, over the model of the upstream, or over the real one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use tape_client::{ConnectorCall, ConnectorCalled, Question, VersionName};
use tape_connector_kit::{Call, Fault, Grant, Kit, Real, Step, Told, World};

use super::folder;
use super::test::secrets;
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui::{self, Mark};

#[derive(clap::Args)]
pub struct Args {
    /// dispatch, observe, status-check, compensate: one after the other, over the same upstream
    #[arg(required = true, value_parser = read_call)]
    calls: Vec<Call>,
    /// The connector's folder
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// This component instead of one that is built now
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Default: that of cases/upstream.yaml, like all that follows
    #[arg(long)]
    operation: Option<String>,
    /// JSON
    #[arg(long)]
    payload: Option<String>,
    /// The idempotency key
    #[arg(long)]
    key: Option<String>,
    #[arg(long)]
    business_key: Option<String>,
    /// The receipt's external reference, for compensate [default: that of the call before]
    #[arg(long)]
    receipt: Option<String>,
    /// What goes wrong with the first request that changes something: lose, hang, reset-before, reset-after, answer-twice,
    /// book-twice, cut=BYTES, delay-ms=MS
    #[arg(long, value_parser = read_fault, conflicts_with = "config")]
    fault: Option<Fault>,
    /// The real thing: a file with its configuration, in JSON
    #[arg(long, value_name = "FILE", requires = "grants")]
    config: Option<PathBuf>,
    /// The real thing: a host to grant, by the methods that connector.toml asks for
    #[arg(long = "grant", value_name = "HOST", requires = "config")]
    grants: Vec<String>,
    /// The real thing: a secret, and the environment variable that holds it
    #[arg(long = "secret", value_name = "NAME=VARIABLE", requires = "config")]
    secrets: Vec<String>,
    /// The real thing: a connector of the running server, as it is deployed there
    #[arg(long, value_name = "NAME", conflicts_with_all = ["folder", "component", "fault", "config"])]
    deployed: Option<String>,
    /// Of the deployed connector, this version [default: the active one]
    #[arg(
        id = "of",
        long = "of",
        value_name = "VERSION",
        requires = "deployed",
        default_value = ""
    )]
    version: String,
    /// The tenant of the deployed connector [default: your own]
    #[arg(long, requires = "deployed", default_value = "")]
    tenant: String,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    if let Some(name) = &args.deployed {
        return deployed(args, name, cx).await;
    }
    let (_, component) = folder::find(&args.folder, args.component.as_deref())?;
    let mut kit = folder::open(&args.folder, component).await?;
    change_effect(args, &mut kit)?;
    let world = match &args.config {
        None => kit.world(Grant::All, &Value::Null).await.map_err(anyhow::Error::msg)?,
        Some(file) => real(args, &kit, file).await?,
    };
    let (mut last, mut exit, mut shown) = (None, Exit::Fine, Vec::new());
    for (at, call) in args.calls.iter().enumerate() {
        let step = Step {
            call: *call,
            fault: args.fault.filter(|_| at == 0),
            reference: None,
            receipt: args.receipt.clone(),
            expect: Value::Null,
            requests: None,
        };
        let told = world.take(&step, &world.effect(), last.as_ref()).await;
        exit = exit.max(ended(&told));
        if cx.is_json() {
            shown.push(json!({"call": call, "answer": told.answer, "evidence": told.evidence, "took_ms": told.took_ms, "log": said(&told)}));
        } else {
            show(*call, &told)?;
        }
        last = told.receipt.or(last);
    }
    if cx.is_json() {
        ui::json(&shown)?;
    }
    if let Some(request) = world.fake.unexpected().first() {
        ui::talk(format!(
            "{request}\nSay it in cases/upstream.yaml, or call the real thing with --config and --grant."
        ));
    }
    Ok(exit)
}

/// The same questions, put to a connector in the running server.
async fn deployed(args: &Args, name: &str, cx: &Cx) -> anyhow::Result<Exit> {
    let client = cx.client().await?;
    // One key for all of them: they are about one effect.
    let key = args
        .key
        .clone()
        .unwrap_or_else(|| format!("by-hand-{}", std::process::id()));
    let (mut reference, mut exit, mut shown) = (args.receipt.clone().unwrap_or_default(), Exit::Fine, Vec::new());
    for call in &args.calls {
        let asked = ConnectorCall {
            of: VersionName {
                tenant: args.tenant.clone(),
                name: name.to_owned(),
                version: args.version.clone(),
            },
            question: question(*call),
            operation: args.operation.clone().unwrap_or_default(),
            payload_json: args.payload.clone().unwrap_or_default(),
            key: key.clone(),
            business_key: args.business_key.clone().unwrap_or_default(),
            reference: reference.clone(),
        };
        let called = client.call_connector(asked).await?;
        exit = exit.max(verdict(&called));
        if args.receipt.is_none()
            && let Some(external_ref) = called.answer["external_ref"].as_str()
        {
            external_ref.clone_into(&mut reference);
        }
        if cx.is_json() {
            shown.push(json!({ "call": call, "answer": called }));
        } else {
            show_called(*call, &called)?;
        }
    }
    if cx.is_json() {
        ui::json(&shown)?;
    }
    Ok(exit)
}

fn question(call: Call) -> Question {
    match call {
        Call::Dispatch => Question::Dispatch,
        Call::Observe => Question::Observe,
        Call::StatusCheck => Question::StatusCheck,
        Call::Compensate => Question::Compensate,
    }
}

fn verdict(called: &ConnectorCalled) -> Exit {
    match called.verdict.as_str() {
        "unknown" | "inconclusive" => Exit::Unknown,
        "failed" | "retry" | "" => Exit::Failed,
        _ => Exit::Fine,
    }
}

fn show_called(call: Call, called: &ConnectorCalled) -> anyhow::Result<()> {
    let mark = match verdict(called) {
        Exit::Fine => Mark::Tick,
        Exit::Unknown => Mark::Again,
        Exit::Failed | Exit::Stuck => Mark::Cross,
    };
    let told = if called.error.is_empty() {
        called.verdict.as_str()
    } else {
        called.error.as_str()
    };
    let by = if called.version.is_empty() {
        String::new()
    } else {
        format!("  by {}", called.version)
    };
    ui::marked(mark, format!("{}: {told}  ({} ms){by}", name(call), called.duration_ms))?;
    for (key, value) in called.answer.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !text.is_empty() && text != "null" {
            ui::line(format!("    {key}: {text}"))?;
        }
    }
    for exchange in called.evidence["exchanges"].as_array().into_iter().flatten() {
        let text = |key: &str| exchange[key].as_str().unwrap_or_default();
        let status = exchange["status"]
            .as_u64()
            .map_or_else(String::new, |status| format!(" {status}"));
        ui::line(format!(
            "    → {} {}{}  {}{status}",
            text("method"),
            text("authority"),
            text("path"),
            text("progress")
        ))?;
    }
    for line in &called.logs {
        ui::line(format!("    log {line}"))?;
    }
    Ok(())
}

fn change_effect(args: &Args, kit: &mut Kit) -> anyhow::Result<()> {
    let effect = &mut kit.subject.setup.effect;
    if let Some(operation) = &args.operation {
        effect.operation.clone_from(operation);
    }
    if let Some(payload) = &args.payload {
        effect.payload = serde_json::from_str(payload).with_context(|| format!("--payload {payload} is no JSON"))?;
    }
    if let Some(key) = &args.key {
        effect.idempotency_key.clone_from(key);
    }
    if args.business_key.is_some() {
        effect.business_key.clone_from(&args.business_key);
    }
    Ok(())
}

async fn real(args: &Args, kit: &Kit, file: &Path) -> anyhow::Result<World> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let config = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
    let real = Real {
        config,
        hosts: args.grants.clone(),
        secrets: secrets(&args.secrets)?,
    };
    ui::talk(format!("calling the real thing at {}", args.grants.join(", ")));
    kit.real(real).await.map_err(anyhow::Error::msg)
}

fn ended(told: &Told) -> Exit {
    match told.outcome() {
        "confirmed" | "resolved" | "committed" | "not-committed" | "in-progress" | "present" | "absent"
        | "duplicate" => Exit::Fine,
        "unknown" | "inconclusive" => Exit::Unknown,
        _ => Exit::Failed,
    }
}

fn show(call: Call, told: &Told) -> anyhow::Result<()> {
    let mark = match ended(told) {
        Exit::Fine => Mark::Tick,
        Exit::Unknown => Mark::Again,
        Exit::Failed | Exit::Stuck => Mark::Cross,
    };
    ui::marked(
        mark,
        format!("{}: {}  ({} ms)", name(call), told.outcome(), told.took_ms),
    )?;
    if let Some(fields) = told.answer.as_object() {
        for (key, value) in fields
            .iter()
            .filter(|(key, value)| *key != "outcome" && !value.is_null() && *value != "")
        {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            ui::line(format!("    {key}: {text}"))?;
        }
    }
    for exchange in &told.evidence.exchanges {
        let status = exchange.status.map_or_else(String::new, |status| format!(" {status}"));
        let progress = serde_json::to_value(exchange.progress)?;
        ui::line(format!(
            "    → {} {}{}  {}{status}",
            exchange.method,
            exchange.authority,
            exchange.path,
            progress.as_str().unwrap_or_default()
        ))?;
    }
    for line in said(told) {
        ui::line(format!("    log {line}"))?;
    }
    Ok(())
}

/// What the connector logged, without the host's own lines.
fn said(told: &Told) -> Vec<String> {
    let lines = told
        .log
        .lines()
        .filter_map(|line| Some(line.split_once(" tape::connector: ")?.1.to_owned()));
    lines.collect()
}

fn name(call: Call) -> String {
    serde_json::to_value(call)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn read_call(text: &str) -> Result<Call, String> {
    serde_json::from_value(text.into()).map_err(|_| "write dispatch, observe, status-check or compensate".to_owned())
}

pub(super) fn read_fault(text: &str) -> Result<Fault, String> {
    let value = match text.split_once('=') {
        Some((name, number)) => json!({name: number.parse::<u64>().map_err(|error| format!("{number:?}: {error}"))?}),
        None => text.into(),
    };
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        assert_eq!(read_fault("lose"), Ok(Fault::Lose));
        assert_eq!(read_fault("cut=12"), Ok(Fault::Cut(12)));
        assert!(read_fault("explode").unwrap_err().contains("reset-before"));
        assert!(read_fault("cut=x").is_err());
        assert_eq!(read_call("status-check"), Ok(Call::StatusCheck));
    }
}
