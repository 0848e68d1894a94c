//! `tape connector test`: the facts that every connector holds, and its own cases; or one case recorded against the real upstream.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::Value;
use tape_connector_kit::{Call, Finding, Grant, Kit, Line, Recorder, Report};

use super::folder;
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui::{self, Mark};

#[derive(clap::Args)]
pub struct Args {
    /// The connector's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// This component instead of one that is built now
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Show also what holds and what does not apply
    #[arg(long, short)]
    verbose: bool,
    /// Instead: dispatch the sample effect to the real upstream and write what passed as cases/NAME.yaml
    #[arg(long, value_name = "NAME", requires = "against")]
    record: Option<String>,
    /// The real upstream's origin, for --record: the configuration's {{upstream}}
    #[arg(long, value_name = "ORIGIN")]
    against: Option<String>,
    /// A real secret, for --record, and the environment variable that holds it
    #[arg(long = "secret", value_name = "NAME=VARIABLE")]
    secrets: Vec<String>,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let (_, component) = folder::find(&args.folder, args.component.as_deref())?;
    if let (Some(name), Some(against)) = (&args.record, &args.against) {
        return record(args, cx, component, name, against).await;
    }
    let kit = folder::open(&args.folder, component).await?;
    if cx.is_json() {
        let report = kit.run().await;
        ui::json(&report)?;
        return Ok(exit(&report));
    }
    ui::line(format!("{} {}", kit.description().name, kit.description().version))?;
    let mut printed = Ok(());
    let report = kit
        .run_with(&mut |line| {
            if printed.is_ok() {
                printed = show(line, args.verbose);
            }
        })
        .await;
    printed?;
    let mark = if report.holds() { Mark::Tick } else { Mark::Cross };
    ui::marked(mark, report.summary())?;
    Ok(exit(&report))
}

fn exit(report: &Report) -> Exit {
    if report.holds() { Exit::Fine } else { Exit::Failed }
}

/// What is broken always, the rest as it is wanted; slow lines with their time.
fn show(line: &Line, verbose: bool) -> std::io::Result<()> {
    const SLOW_MS: u64 = 500;
    let took = if line.took_ms >= SLOW_MS {
        format!("  ({} ms)", line.took_ms)
    } else {
        String::new()
    };
    match &line.finding {
        Finding::Holds => ui::marked(Mark::Tick, format!("{}{took}", line.name)),
        Finding::Broken(why) => {
            ui::marked(Mark::Cross, &line.name)?;
            ui::line(format!("    {}", why.replace('\n', "\n    ")))
        }
        Finding::DoesNotApply(why) if verbose => ui::line(format!("- {}: {why}", line.name)),
        Finding::DoesNotApply(_) => Ok(()),
    }
}

async fn record(args: &Args, cx: &Cx, component: Vec<u8>, name: &str, against: &str) -> anyhow::Result<Exit> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name == "upstream" || !name.bytes().all(plain) {
        bail!("`{name}` cannot be a case's name: use letters, digits, - and _, and not `upstream`");
    }
    let file = args.folder.join("cases").join(format!("{name}.yaml"));
    if file.exists() {
        bail!(
            "{} exists, and nothing is overwritten. Choose another name.",
            file.display()
        );
    }
    let mut subject = tape_connector_kit::Subject::read(&args.folder, component)?;
    for (name, value) in secrets(&args.secrets)? {
        subject.setup.secrets.insert(name, value);
    }
    let values = subject.setup.secrets.clone();
    let kit = Kit::open(subject).await.map_err(folder::explained)?;
    let recorder = Recorder::open(against).await?;
    let world = kit
        .world(Grant::Nobody(recorder.origin()), &Value::Null)
        .await
        .map_err(anyhow::Error::msg)?;
    ui::talk(format!(
        "dispatching the sample effect to {against}: this is the real thing"
    ));
    let told = world.dispatch(&world.effect()).await;
    let sentence = format!("{name}, as {against} answered it");
    let recording = recorder.take(&sentence, Call::Dispatch, &told, &values)?;
    std::fs::write(&file, &recording.yaml).with_context(|| format!("write {}", file.display()))?;
    if cx.is_json() {
        ui::json(&serde_json::json!({"file": file, "requests": recording.requests, "answer": told.answer}))?;
    } else {
        ui::marked(
            Mark::Tick,
            format!(
                "{}: {} requests, {}",
                file.display(),
                recording.requests,
                told.outcome()
            ),
        )?;
        ui::talk(
            "Read it before you commit it: names and texts of the real upstream stand in it, only secrets were taken out.",
        );
    }
    Ok(Exit::Fine)
}

/// `NAME=VARIABLE`, read from the environment.
pub fn secrets(written: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for pair in written {
        let Some((name, variable)) = pair.split_once('=') else {
            bail!(
                "--secret {pair}: write NAME=VARIABLE, where VARIABLE is an environment variable that holds the value"
            );
        };
        let value = std::env::var(variable)
            .with_context(|| format!("secret `{name}` comes from {variable}, which is not set; set it"))?;
        values.insert(name.to_owned(), value);
    }
    Ok(values)
}
