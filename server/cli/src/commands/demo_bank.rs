//! `tape demo-bank`: the bank of the demo as a process of its own.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::ui;

#[derive(clap::Args)]
pub struct Args {
    /// Where it listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7880")]
    listen: SocketAddr,
}

pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("listen on {}", args.listen))?;
    ui::talk(format!(
        "the bank is open at http://{}, with empty books",
        listener.local_addr()?
    ));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let closing = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tape_demo_bank::serve(listener, closing).await?;
    Ok(Exit::Fine)
}
