//! `tape bench`: how fast durable steps are on this machine, beside what its disk and SQLite can do at all.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tape_load::{Measured, Server, Setup, Work, floor};

use crate::cx::Cx;
use crate::exit::Exit;
use crate::{server_process, ui};

/// How often the disk is asked to make something durable.
const SYNCS: u32 = 300;

#[derive(clap::Args)]
pub struct Args {
    /// How many clients at once, one measurement for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64], value_name = "N")]
    clients: Vec<u16>,
    /// How long each measurement lasts, in seconds
    #[arg(long, default_value_t = 3, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// A folder on the disk to measure; the server's store is made there, and taken away again
    #[arg(long, default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// The server's binary [default: beside tape, else on PATH]
    #[arg(long, value_name = "FILE")]
    server_binary: Option<PathBuf>,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    if cfg!(debug_assertions) {
        ui::talk("this is a build for debugging: build with --release for figures that mean something");
    }
    let binary = server_process::binary(args.server_binary.as_deref())?;
    let folder = tempfile::Builder::new()
        .prefix(".tape-bench.")
        .tempdir_in(&args.folder)?;
    let length = Duration::from_secs(args.seconds);

    let progress = ui::Progress::start("the disk and SQLite alone");
    let sync = floor::fdatasync(folder.path(), SYNCS)?;
    let rows = floor::sqlite_rows(folder.path(), length).await?;
    drop(progress);

    let setup = Setup {
        binary,
        store_url: format!("sqlite:{}", folder.path().join("tape.db").display()),
        project: None,
    };
    let server = Server::start(&setup, &folder.path().join("server.log")).await?;
    let mut measured = Vec::new();
    for clients in &args.clients {
        for work in [Work::Step, Work::ShortRun] {
            let progress = ui::Progress::start(format!("{}, {clients} clients", work.name()));
            let name = format!("{}-{clients}", work.name());
            measured.push(tape_load::apply(&server.url, &name, work, usize::from(*clients), length).await?);
            drop(progress);
        }
    }
    server.stop().await?;

    let sync_ms = ms(sync.p50());
    if cx.is_json() {
        let loads: Vec<Value> = measured.iter().map(shown).collect();
        ui::json(&json!({ "fdatasync_p50_ms": sync_ms, "sqlite_rows_per_s": rows, "loads": loads }))?;
        return Ok(Exit::Fine);
    }
    let table: Vec<[String; 6]> = measured.iter().map(|load| row(load, sync_ms)).collect();
    ui::line(ui::table(
        ["what", "clients", "per second", "p50 ms", "p99 ms", "p50 in fdatasyncs"],
        &table,
    ))?;
    ui::line(format!(
        "the floor: fdatasync {sync_ms:.3} ms (p50), SQLite's own inserts {rows:.0} rows/s in batches of 64"
    ))?;
    Ok(Exit::Fine)
}

fn row(load: &Measured, sync_ms: f64) -> [String; 6] {
    [
        load.work.name().to_owned(),
        load.clients.to_string(),
        format!("{:.0}", load.rate()),
        format!("{:.2}", ms(load.latency.p50())),
        format!("{:.2}", ms(load.latency.p99())),
        format!("{:.1}", ms(load.latency.p50()) / sync_ms),
    ]
}

fn shown(load: &Measured) -> Value {
    json!({
        "work": load.work.name(),
        "clients": load.clients,
        "per_s": load.rate(),
        "p50_ms": ms(load.latency.p50()),
        "p99_ms": ms(load.latency.p99()),
    })
}

fn ms(length: Duration) -> f64 {
    length.as_secs_f64() * 1e3
}
