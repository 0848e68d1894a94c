//! The demo's processes, on ports of their own, beside whatever else runs here.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tape_client::{Entry, TapeClient};
use tape_node::project::{Agent, FILE, Project};
use tokio::time::{Instant, sleep, timeout_at};

use super::Variant;
use super::follow::Follower;
use super::keep;
use super::report::Discrepancy;
use crate::agent_process::{self, Events};
use crate::bank_process::BankProcess;
use crate::cx::shown;
use crate::ports;
use crate::process::{Process, Sink, ending};
use crate::server_process::{ServerProcess, ServerSpec};

/// Longest wait for anything that has to happen. Importing the agent framework alone takes seconds on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(90);
const STOP_MAX: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The connector to the demo bank.
const BANK: &str = "bank";
/// A dispatcher that died is noticed this fast; one that lives renews its claim.
const CLAIM_TTL_MS: u64 = 2_000;

/// The demo's processes, and what they leave behind.
pub struct Stage<'a> {
    project: &'a Project,
    agent_spec: &'a Agent,
    server_spec: ServerSpec,
    bank_port: u16,
    logs: Logs,
    model_calls: PathBuf,
    bank: Option<BankProcess>,
    server: Option<ServerProcess>,
    agent: Option<Process>,
    /// What the agent's present process has reported.
    events: Events,
    journal: Option<Follower>,
}

impl<'a> Stage<'a> {
    /// Chooses ports, empties the demo's store and logs.
    ///
    /// # Errors
    /// A project without an agent; files that cannot be written.
    pub fn set(project: &'a Project, variant: Variant, server_binary: PathBuf) -> anyhow::Result<Self> {
        let agent_spec = project
            .agent
            .as_ref()
            .context("tape.yaml has no `agent` section: there is nobody to kill")?;
        if !project.connectors.contains_key(BANK) {
            bail!(
                "tape.yaml has no connector `{BANK}`: the demo wires through it. Play it in a project of `tape init`"
            );
        }
        keep::start_afresh(&project.root)?;
        let logs = Logs::start(&project.root)?;
        let [port, http_port, bank_port] = ports::free()?;
        let model_calls = logs.folder.join("model-calls.jsonl");
        fs::write(&model_calls, "").with_context(|| format!("write {}", model_calls.display()))?;
        let server_spec = ServerSpec {
            binary: server_binary,
            folder: project.root.clone(),
            port,
            http_port,
            store_url: keep::STORE_URL.to_owned(),
            reactors: "all".to_owned(),
            config: Some(FILE.into()),
            claim_ttl_ms: (variant == Variant::KillDispatcher).then_some(CLAIM_TTL_MS),
            env: vec![
                ("BANK_URL".to_owned(), bank_url(bank_port).into()),
                // The demo's own, whatever the shell says.
                ("TAPE_STORE_URL".to_owned(), keep::STORE_URL.into()),
            ],
        };
        Ok(Self {
            project,
            agent_spec,
            server_spec,
            bank_port,
            logs,
            // The agent runs in the project's folder, wherever we are.
            model_calls: std::path::absolute(&model_calls)?,
            bank: None,
            server: None,
            agent: None,
            events: Events::default(),
            journal: None,
        })
    }

    /// Opens the bank.
    pub async fn start_bank(&mut self) -> anyhow::Result<()> {
        self.bank = Some(BankProcess::start(self.bank_port, &self.project.root, self.logs.sink("bank")?).await?);
        Ok(())
    }

    /// Starts tape-server, or starts it again on what it left.
    pub async fn start_server(&mut self) -> anyhow::Result<()> {
        self.server = Some(ServerProcess::start(&self.server_spec, self.logs.sink("server")?).await?);
        Ok(())
    }

    /// Starts the agent's worker, or another one in its place.
    pub fn start_agent(&mut self) -> anyhow::Result<()> {
        let env: Vec<(String, OsString)> = vec![
            ("TAPE_URL".to_owned(), self.server_spec.url().into()),
            ("BANK_URL".to_owned(), bank_url(self.bank_port).into()),
            ("TAPE_MODEL_CALLS".to_owned(), self.model_calls.clone().into()),
            ("PYTHONUNBUFFERED".to_owned(), "1".into()),
        ];
        self.events = Events::default();
        let sink = self.events.listening(self.logs.sink("agent")?);
        self.agent = Some(agent_process::start(self.agent_spec, &self.project.root, env, sink)?);
        Ok(())
    }

    /// SIGKILL for the agent. Returns its process id and how it ended.
    pub async fn kill_agent(&mut self) -> anyhow::Result<(i32, Option<ExitStatus>)> {
        let mut agent = self.agent.take().context("the agent runs")?;
        Ok((agent.pid(), agent.kill().await))
    }

    /// SIGKILL for the server. Returns its process id and how it ended.
    pub async fn kill_server(&mut self) -> anyhow::Result<(i32, Option<ExitStatus>)> {
        let mut server = self.server.take().context("the server runs")?;
        Ok((server.process.pid(), server.process.kill().await))
    }

    /// The connection to the server; it outlives the server's process.
    pub fn client(&self) -> anyhow::Result<TapeClient> {
        self.server
            .as_ref()
            .map(|server| server.client.clone())
            .context("the server runs")
    }

    /// The bank.
    pub fn bank(&self) -> anyhow::Result<&BankProcess> {
        self.bank.as_ref().context("the bank runs")
    }

    /// The app's name.
    pub fn app(&self) -> &str {
        &self.agent_spec.app_name
    }

    /// Follows a run from here on.
    pub fn follow(&mut self, run_id: &str) -> anyhow::Result<()> {
        self.journal = Some(Follower::new(self.client()?, run_id));
        Ok(())
    }

    /// The journal as far as it was seen.
    pub fn entries(&self) -> &[Entry] {
        self.journal.as_ref().map_or(&[], Follower::entries)
    }

    /// Waits until the journal shows it. Fails when the run ends before, when a process dies unasked, or when it takes too long.
    pub async fn until<T>(&mut self, what: &str, found: impl Fn(&[Entry]) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let journal = self.journal.as_mut().context("a run is followed")?;
            if let Some(found) = found(journal.entries()) {
                return Ok(found);
            }
            if journal.is_over() {
                return Err(Discrepancy::new(
                    what,
                    "it in the journal",
                    format!("the run ended: {}", tale(journal.entries())),
                )
                .into());
            }
            tokio::select! {
                grown = timeout_at(deadline, journal.next()) => if grown.is_err() {
                    let saw = format!("{} after {} s", tale(journal.entries()), WAIT_MAX.as_secs());
                    return Err(Discrepancy::new(what, "it in the journal", saw).into());
                },
                (process, status) = died(self.agent.as_mut(), self.server.as_mut().map(|server| &mut server.process)) => {
                    bail!("{what}: the {} ended by itself ({}):{}", process.name(), ending(status), process.last_lines());
                }
            }
        }
    }

    /// Waits until something holds that no journal shows.
    pub async fn poll<T>(
        &mut self,
        what: &str,
        mut look: impl AsyncFnMut(&Self) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            if let Some(found) = look(self).await? {
                return Ok(found);
            }
            if let Some(agent) = &mut self.agent
                && let Some(status) = agent.has_ended()
            {
                agent.wait().await;
                bail!(
                    "{what}: the agent ended by itself ({}):{}",
                    ending(Some(status)),
                    agent.last_lines()
                );
            }
            if Instant::now() > deadline {
                bail!("{what}: not within {} s", WAIT_MAX.as_secs());
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// What the agent's present process has reported under this name about this run.
    pub fn reported(&self, event: &str, run_id: &str) -> Vec<Value> {
        self.events
            .named(event)
            .into_iter()
            .filter(|one| one["run_id"] == run_id)
            .collect()
    }

    /// How often the model was really asked.
    pub fn model_calls(&self) -> anyhow::Result<usize> {
        let text =
            fs::read_to_string(&self.model_calls).with_context(|| format!("read {}", self.model_calls.display()))?;
        Ok(text.lines().filter(|line| !line.trim().is_empty()).count())
    }

    /// Ends the processes: the agent first, so that it can still say goodbye.
    pub async fn clear(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            agent.stop(STOP_MAX).await;
        }
        if let Some(mut server) = self.server.take() {
            server.process.stop(STOP_MAX).await;
        }
        if let Some(mut bank) = self.bank.take() {
            bank.process.stop(STOP_MAX).await;
        }
    }

    /// What there is to look into.
    pub fn files(&self) -> Vec<String> {
        let logs = ["server", "bank", "agent"].map(|name| self.logs.file(name));
        let store = self.project.root.join(".tape").join("demo.db");
        let files = logs.into_iter().chain([store, self.model_calls.clone()]);
        files.map(|file| shown(&file, &self.project.root)).collect()
    }
}

fn bank_url(port: u16) -> String {
    format!("http://{}", ports::loopback(port))
}

/// The first of these processes that ends.
async fn died<'p>(
    agent: Option<&'p mut Process>,
    server: Option<&'p mut Process>,
) -> (&'p Process, Option<ExitStatus>) {
    async fn end(process: Option<&mut Process>) -> (&Process, Option<ExitStatus>) {
        match process {
            Some(process) => {
                let status = process.wait().await;
                (process, status)
            }
            None => std::future::pending().await,
        }
    }
    tokio::select! {
        ended = end(agent) => ended,
        ended = end(server) => ended,
    }
}

/// The newest entries, in a few words.
fn tale(entries: &[Entry]) -> String {
    if entries.is_empty() {
        return "an empty journal".to_owned();
    }
    let newest: Vec<_> = entries
        .iter()
        .rev()
        .take(4)
        .map(|entry| format!("{} {}", entry.seq, entry.kind))
        .collect();
    format!("up to {}", newest.into_iter().rev().collect::<Vec<_>>().join(", "))
}

/// `.tape/logs/<process>.log`, begun afresh for each demo.
struct Logs {
    folder: PathBuf,
}

impl Logs {
    fn start(root: &Path) -> anyhow::Result<Self> {
        let folder = root.join(".tape").join("logs");
        fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
        let logs = Self { folder };
        for name in ["server", "bank", "agent"] {
            File::create(logs.file(name)).with_context(|| format!("write {}", logs.file(name).display()))?;
        }
        Ok(logs)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn sink(&self, name: &str) -> anyhow::Result<Sink> {
        let file = File::options()
            .append(true)
            .open(self.file(name))
            .context("open a log")?;
        let file = Mutex::new(file);
        Ok(Arc::new(move |_, line| {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // A full disk must not stop the demo: its verdict does not rest on logs.
            writeln!(file, "{line}").ok();
        }))
    }
}
