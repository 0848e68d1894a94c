//! `tape-bench`: measures a server and says which targets it meets.
#![allow(clippy::print_stdout, reason = "the table is this program's output")]

mod plot;
mod report;
mod section;
mod stored;
mod swap;
mod waking;

use std::path::PathBuf;
use std::time::Duration;

use crate::report::{Report, tell};
use crate::section::{Plan, Section};
use anyhow::Context as _;
use clap::Parser;

/// Measures a Tape server against the floors of this machine.
///
/// Every figure is of this machine at this moment; what counts are the ratios, which are taken within one run.
#[derive(Parser)]
struct Args {
    /// The server to measure, built for release.
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    /// A project file with a connector, for the idle server.
    #[arg(long, value_name = "FILE")]
    project: Option<PathBuf>,
    /// A folder on the disk to measure.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    folder: PathBuf,
    /// Where pictures and the history are written.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// How long each load lasts, in seconds.
    #[arg(long, value_name = "S", default_value_t = 4)]
    seconds: u64,
    /// How many runs the large store holds.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    stored: u32,
    /// Folders of connectors in other languages than Rust, to be measured where they are built.
    #[arg(long = "connector", value_name = "FOLDER")]
    connectors: Vec<PathBuf>,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.out).with_context(|| format!("{}", args.out.display()))?;
    let plan = Plan {
        server: args.server,
        project: args.project,
        folder: args.folder,
        pictures: args.out.clone(),
        load: Duration::from_secs(args.seconds),
        stored: args.stored,
        connectors: args.connectors,
    };
    let mut report = Report {
        at: jiff::Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Report::default()
    };
    let sections = if args.only.is_empty() {
        Section::ALL.to_vec()
    } else {
        args.only
    };
    let mut failed = Vec::new();
    for section in sections {
        // What one part cannot measure does not take the others' figures away.
        if let Err(error) = plan.measure(section, &mut report).await {
            tell(&format!("  this part ends here: {error:#}"));
            failed.push(section);
        }
    }
    let history = args.out.join("history.jsonl");
    report.append(&history)?;
    tell(&format!("appended to {}", history.display()));
    print!("{}", report.table());
    anyhow::ensure!(failed.is_empty(), "not measured to the end: {failed:?}");
    Ok(())
}
