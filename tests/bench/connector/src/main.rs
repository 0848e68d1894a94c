//! The connectors' part of the bench alone: `make bench` prints the same lines among the others.
#![allow(clippy::print_stdout, reason = "the table is this program's output")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tape_connector_bench::{Guest, Target, measure};

/// Measures a connector's call against wasmtime and hyper alone.
#[derive(Parser)]
struct Args {
    /// Folders of connectors in other languages than Rust.
    #[arg(long = "connector", value_name = "FOLDER")]
    connectors: Vec<PathBuf>,
    /// How long each guest is called, in seconds.
    #[arg(long, value_name = "S", default_value_t = 4)]
    seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut guests = vec![Guest::probe()];
    for folder in &args.connectors {
        match Guest::read(folder) {
            Ok(guest) => guests.push(guest),
            Err(error) => println!("{} is left out: {error:#}", folder.display()),
        }
    }
    for guest in guests {
        let folder = tempfile::tempdir()?;
        let figures = measure(&guest, Duration::from_secs(args.seconds), folder.path())?;
        let Target { name, host_us, bare_us } = &figures.target;
        let ratio = figures.target.ratio();
        let met = if ratio <= Target::RATIO_MAX { "ok" } else { "short" };
        println!("{name:<58} {host_us:>10.1} us {bare_us:>10.1} us {ratio:>7.2}  {met}");
        for (name, value) in figures.others {
            println!("    {name}: {value:.3}");
        }
    }
    Ok(())
}
