//! `tape connector upstream`: the model of the upstream as a server of its own, for a deployed connector to call.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use tape_connector_kit::{Fake, Fault, Subject};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::call::read_fault;
use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// The connector's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where it listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7900")]
    listen: SocketAddr,
    /// What goes wrong with the first request that changes something: lose, hang, reset-before, reset-after, answer-twice,
    /// book-twice, cut=BYTES, delay-ms=MS
    #[arg(long, value_parser = read_fault)]
    fault: Option<Fault>,
}

pub async fn run(args: &Args) -> anyhow::Result<Exit> {
    let setup = Subject::read(&args.folder, Vec::new())?.setup;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listen on {}; name another with --listen", args.listen))?;
    let fake = Fake::serve_on(listener, setup.routes, setup.read_only_paths)?;
    if let Some(fault) = args.fault {
        fake.break_next(fault);
    }
    ui::talk(format!(
        "the upstream of cases/upstream.yaml is at {}, with empty books",
        fake.origin()
    ));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // What came, and what was made of it.
    for request in fake.received() {
        ui::talk(request.line());
    }
    for request in fake.unexpected() {
        ui::talk(request);
    }
    ui::json(&fake.books())?;
    Ok(Exit::Fine)
}
