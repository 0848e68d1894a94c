//! `tape migrate`: the numbered steps of the store's schema that are pending, shown or applied.

use anyhow::Context as _;
use serde::Serialize;
use tape_node::{migrate, schema};

use crate::cx::Cx;
use crate::exit::Exit;
use crate::server_process::store_file;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// Show the pending steps and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The store [default: the project's]
    #[arg(long, value_name = "URL", env = "TAPE_STORE_URL")]
    store: Option<String>,
}

/// What a program is told.
#[derive(Serialize)]
struct Report {
    /// Number of the newest step that the store had.
    from: i64,
    /// Number of the newest step that this version knows.
    to: i64,
    applied: bool,
    pending: Vec<Pending>,
}

#[derive(Serialize)]
struct Pending {
    number: i64,
    name: String,
    sql: String,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let url = match args.store {
        Some(url) => url,
        None => {
            let project = cx.project_if_any()?;
            let project = project.context("no project here: name the store by --store URL")?;
            // A path in the project's file starts at the file's folder.
            store_file(&project.store_url, &project.root)
                .map_or(project.store_url, |file| format!("sqlite:{}", file.display()))
        }
    };
    let found = schema(&url).await?;
    found
        .refuse_newer()
        .map_err(|problem| anyhow::anyhow!("TAPE-N002: the store: {problem}"))?;
    if !args.dry_run && !found.pending.is_empty() {
        migrate(&url).await?;
    }
    let report = Report {
        from: found.at,
        to: found.known,
        applied: !args.dry_run && !found.pending.is_empty(),
        pending: found
            .pending
            .into_iter()
            .map(|step| Pending {
                number: step.number,
                name: step.name,
                sql: step.sql,
            })
            .collect(),
    };
    if cx.is_json() {
        ui::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(Exit::Fine)
}

fn show(report: &Report) -> anyhow::Result<()> {
    if report.pending.is_empty() {
        ui::line(format!("The schema is up to date: {}.", report.to))?;
    }
    for step in &report.pending {
        ui::line(format!("{:04} {}", step.number, step.name))?;
        if !report.applied {
            for line in step.sql.trim_end().lines() {
                ui::line(format!("     {line}"))?;
            }
        }
    }
    if report.applied {
        ui::line(format!("The schema was brought from {} to {}.", report.from, report.to))?;
    }
    Ok(())
}
