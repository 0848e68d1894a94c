//! `tape connector inspect`: what a component is, asks for, and can do.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tape_host::Inspection;

use super::{build, folder};
use crate::cx::Cx;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// A component's file, or a connector's folder
    #[arg(default_value = ".")]
    path: PathBuf,
}

pub async fn run(args: &Args, cx: &Cx) -> anyhow::Result<Exit> {
    let is_folder = args.path.is_dir();
    let (file, component) = folder::find(&args.path, (!is_folder).then_some(args.path.as_path()))?;
    let Inspection {
        imports,
        exports,
        digest,
        bytes,
    } = tape_host::inspect(&component)?;
    let description = describe(is_folder.then_some(args.path.as_path()), component).await;
    if cx.is_json() {
        let (description, problem) = match &description {
            Ok(description) => (description.clone(), Value::Null),
            Err(problem) => (Value::Null, Value::String(format!("{problem:#}"))),
        };
        ui::json(&json!({
            "file": file, "bytes": bytes, "digest": digest, "imports": imports, "exports": exports,
            "description": description, "problem": problem,
        }))?;
        return Ok(Exit::Fine);
    }
    ui::line(format!("{}  {}\n{digest}", file.display(), build::size(bytes)))?;
    ui::line(format!("exports   {}", exports.join(", ")))?;
    ui::line(format!("imports   {}", imports.join(", ")))?;
    match description {
        Ok(description) => show(&description)?,
        Err(problem) => {
            ui::line(format!("\nIt does not describe itself: {problem:#}"))?;
            return Ok(Exit::Failed);
        }
    }
    Ok(Exit::Fine)
}

/// What it says of itself: as the folder's cases configure it; a lone file with an empty configuration.
async fn describe(folder: Option<&Path>, component: Vec<u8>) -> anyhow::Result<Value> {
    let description = match folder {
        Some(folder) => folder::open(folder, component).await?.description().clone(),
        None => tape_connector_kit::describe(component, json!({}))
            .await
            .map_err(folder::explained)?,
    };
    Ok(serde_json::to_value(description)?)
}

fn show(description: &Value) -> anyhow::Result<()> {
    let text = |key: &str| description[key].as_str().unwrap_or_default().to_owned();
    ui::line(format!(
        "\n{} {}, contract {}: {}",
        text("name"),
        text("version"),
        text("contract"),
        text("summary")
    ))?;
    for operation in description["operations"].as_array().into_iter().flatten() {
        let of = |key: &str| operation[key].as_str().unwrap_or_default();
        ui::line(format!(
            "operation {}  {}  {}",
            of("name"),
            of("semantics"),
            of("summary")
        ))?;
        if !of("payload_schema").is_empty() {
            ui::line(format!("          {}", of("payload_schema")))?;
        }
    }
    let supports = description["supports"].as_object().into_iter().flatten();
    let supports: Vec<_> = supports
        .filter(|(_, yes)| **yes == true)
        .map(|(name, _)| name.replace('_', "-"))
        .collect();
    ui::line(format!(
        "supports  {}",
        if supports.is_empty() {
            "dispatch alone".to_owned()
        } else {
            supports.join(", ")
        }
    ))?;
    for (key, name) in [("hosts", "host"), ("secrets", "name")] {
        for ask in description["asks"][key].as_array().into_iter().flatten() {
            let label = key.trim_end_matches('s');
            let methods = ask["methods"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let methods: Vec<&str> = methods.collect();
            ui::line(format!(
                "asks for  {label} {}{}  {}",
                ask[name].as_str().unwrap_or_default(),
                if methods.is_empty() {
                    String::new()
                } else {
                    format!("={}", methods.join(","))
                },
                ask["why"].as_str().unwrap_or_default()
            ))?;
        }
    }
    if !text("config_schema").is_empty() {
        ui::line(format!("config    {}", text("config_schema")))?;
    }
    Ok(())
}
