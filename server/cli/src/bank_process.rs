//! The demo bank: a process of its own, this very binary with another verb.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use crate::bank_client::BankClient;
use crate::ports;
use crate::process::{Process, Sink, Spec, ending};

/// The hidden verb.
pub const VERB: &str = "demo-bank";
const START_MAX: Duration = Duration::from_secs(20);

/// A bank that answers.
pub struct BankProcess {
    /// The process.
    pub process: Process,
    /// Its counter.
    pub client: BankClient,
}

impl BankProcess {
    /// Starts a bank with empty books on `port` and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start(port: u16, folder: &Path, sink: Sink) -> anyhow::Result<Self> {
        let listen = ports::loopback(port).to_string();
        let us = env::current_exe().context("find this program's own file")?;
        let mut process = Process::start(Spec {
            name: "bank",
            command: vec![us.into(), VERB.into(), "--listen".into(), OsString::from(&listen)],
            folder: folder.to_owned(),
            env: Vec::new(),
            sink,
        })?;
        let client = BankClient::new(&format!("http://{listen}"));
        let deadline = Instant::now() + START_MAX;
        while client.wires().await.is_err() {
            if let Some(status) = process.has_ended() {
                process.wait().await;
                bail!(
                    "the demo bank ended at once ({}):{}",
                    ending(Some(status)),
                    process.last_lines()
                );
            }
            if Instant::now() > deadline {
                bail!("the demo bank does not answer at {listen}:{}", process.last_lines());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { process, client })
    }
}
