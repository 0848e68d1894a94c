//! `tape dev`: the whole project in one window, or the demo that breaks it on purpose.

mod rebuilt;
mod window;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tape_node::project::Project;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use self::rebuilt::Rebuilt;
use self::window::Window;
use crate::agent_process;
use crate::bank_process::BankProcess;
use crate::cx::Cx;
use crate::demo::{self, Variant};
use crate::exit::Exit;
use crate::process::{Process, ending};
use crate::server_process::{self, ServerProcess, ServerSpec};
use crate::{ports, python, ui};

/// The connector that the demo bank serves.
const BANK: &str = "bank";
const BANK_PORT: u16 = 7880;
const DEFAULT_PORT: u16 = 7878;
/// The agent drains for this long; the server finishes what runs.
const STOP_MAX: Duration = Duration::from_secs(10);
/// An agent that keeps dying is started ever more slowly.
const RESTART_FIRST: Duration = Duration::from_millis(500);
const RESTART_MAX: Duration = Duration::from_secs(10);
/// One that lived this long did not die of being started.
const LIVED: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// The store [default: the project's]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The server's gRPC port [default: the one in tape.url]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// The server's HTTP port [default: the one after it]
    #[arg(long, value_name = "N")]
    http_port: Option<u16>,
    /// A run, a kill in the worst moment, a recovery; each line is checked against the journal and the bank's books
    #[arg(long, conflicts_with_all = ["store", "port", "http_port", "no_agent"])]
    kill_resume_demo: bool,
    /// The demo, with the bank's answer lost instead of the agent killed
    #[arg(long, requires = "kill_resume_demo", conflicts_with = "kill_dispatcher")]
    lose_answer: bool,
    /// The demo, with the server killed between request and answer
    #[arg(long, requires = "kill_resume_demo")]
    kill_dispatcher: bool,
    /// Another tape-server than the one beside this program
    #[arg(long, value_name = "PATH")]
    server_binary: Option<PathBuf>,
    /// Everything but the agent: it is started elsewhere
    #[arg(long)]
    no_agent: bool,
}

pub async fn run(args: Args, cx: &Cx) -> anyhow::Result<Exit> {
    let project = cx.project()?;
    let binary = server_process::binary(args.server_binary.as_deref())?;
    need_components(&project)?;
    if !args.no_agent {
        need_python(&project).await?;
    }
    if !args.kill_resume_demo {
        return develop(&project, &args, binary, cx).await;
    }
    let variant = match (args.lose_answer, args.kill_dispatcher) {
        (true, _) => Variant::LoseAnswer,
        (_, true) => Variant::KillDispatcher,
        _ => Variant::KillAgent,
    };
    let mut stop = Stop::listen()?;
    tokio::select! {
        played = demo::run(&project, variant, binary, cx) => played,
        () = stop.asked() => bail!("interrupted: the demo's processes are gone"),
    }
}

/// Ctrl-C, or a polite kill.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn need_components(project: &Project) -> anyhow::Result<()> {
    for (name, connector) in &project.connectors {
        let Some(file) = connector.file(&project.root) else {
            continue;
        };
        if !file.is_file() {
            bail!(
                "connector `{name}` has no component: {} is not there. Build it, or correct tape.connectors.{name}.source in tape.yaml",
                file.display()
            );
        }
    }
    Ok(())
}

async fn need_python(project: &Project) -> anyhow::Result<()> {
    let Some(agent) = &project.agent else { return Ok(()) };
    if !agent
        .command
        .first()
        .is_some_and(|first| python::is_bare(&first.into()))
    {
        return Ok(());
    }
    let asked = python::ask(&python::interpreter(&project.root), &project.root).await?;
    asked.need(&agent.framework)
}

async fn develop(project: &Project, args: &Args, binary: PathBuf, cx: &Cx) -> anyhow::Result<Exit> {
    let port = args.port.map_or_else(|| own_port(&project.url), Ok)?;
    let http_port = args.http_port.unwrap_or_else(|| port.saturating_add(1));
    ports::need_free(port, "the server (gRPC)", "--port")?;
    ports::need_free(http_port, "the server (HTTP)", "--http-port")?;
    let window = Window::new(cx.format);
    let mut stop = Stop::listen()?;

    let bank = if project.connectors.contains_key(BANK) && std::env::var_os("BANK_URL").is_none() {
        let port = if ports::is_free(BANK_PORT) {
            BANK_PORT
        } else {
            let [other] = ports::free()?;
            other
        };
        Some(BankProcess::start(port, &project.root, window.sink("bank")).await?)
    } else {
        None
    };
    let bank_env: Vec<(String, OsString)> = bank
        .iter()
        .map(|bank| ("BANK_URL".to_owned(), bank.client.url().into()))
        .collect();
    let store_url = args.store.clone().unwrap_or_else(|| project.store_url.clone());
    demo::forget_origin(&store_url, &project.root);
    let spec = ServerSpec {
        binary,
        folder: project.root.clone(),
        port,
        http_port,
        store_url,
        reactors: enabled_reactors(project),
        config: Some(std::path::absolute(cx.project_file())?),
        claim_ttl_ms: None,
        env: bank_env.clone(),
    };
    let started = tokio::select! {
        started = ServerProcess::start(&spec, window.sink("server")) => started,
        () = stop.asked() => return Ok(Exit::Fine),
    };
    let server = started?;
    ui::talk(format!(
        "server at {}, http://{}; `tape status --follow` in another window, Ctrl-C here ends all",
        spec.url(),
        ports::loopback(http_port)
    ));

    let mut env = bank_env;
    env.push(("TAPE_URL".to_owned(), spec.url().into()));
    env.push(("PYTHONUNBUFFERED".to_owned(), "1".into()));
    let agent = AgentKeeper::new(project, args.no_agent, env);
    let rebuilt = Rebuilt::watch(project);
    let mut house = House {
        bank,
        server,
        agent,
        rebuilt,
    };
    let ended = house.keep(&window, &mut stop).await;
    ui::talk("stopping: Ctrl-C again ends all at once");
    tokio::select! {
        () = house.close() => {}
        () = stop.asked() => {}
    }
    ended.map(|()| Exit::Fine)
}

/// The port of a `tape.url` that means this machine.
fn own_port(url: &str) -> anyhow::Result<u16> {
    let authority = url.strip_prefix("tape://").unwrap_or(url).trim_end_matches('/');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if !["127.0.0.1", "localhost", "[::1]"].contains(&host) {
        bail!(
            "tape.url is {url}, which is not this machine, so there is no server to run here. Give a port to run one all the same: --port {DEFAULT_PORT}"
        );
    }
    port.map_or(Ok(DEFAULT_PORT), |port| {
        port.parse()
            .with_context(|| format!("tape.url is {url}: `{port}` is no port"))
    })
}

/// All but those that the project turns off.
fn enabled_reactors(project: &Project) -> String {
    let off = |kind: &&str| {
        project
            .reactors
            .get(*kind)
            .is_some_and(|settings| settings.enabled == Some(false))
    };
    let on: Vec<&str> = tape_node::project::REACTORS
        .into_iter()
        .filter(|kind| !off(kind))
        .collect();
    if on.is_empty() { "none".to_owned() } else { on.join(",") }
}

/// Everything that runs.
struct House<'a> {
    bank: Option<BankProcess>,
    server: ServerProcess,
    agent: AgentKeeper<'a>,
    rebuilt: Rebuilt,
}

impl House<'_> {
    /// Until it is asked to stop, or what cannot be replaced has ended.
    async fn keep(&mut self, window: &Window, stop: &mut Stop) -> anyhow::Result<()> {
        let client = self.server.client.clone();
        let rebuilding = self.rebuilt.follow(&client);
        tokio::pin!(rebuilding);
        loop {
            tokio::select! {
                () = stop.asked() => return Ok(()),
                () = &mut rebuilding => {}
                status = self.server.process.wait() => {
                    bail!("tape-server ended by itself ({}). Its last lines are above; `tape dev` starts it again on what it kept", ending(status));
                }
                status = wait(self.bank.as_mut().map(|bank| &mut bank.process)) => {
                    bail!("the demo bank ended by itself ({})", ending(status));
                }
                changed = self.agent.turn(window) => changed?,
            }
        }
    }

    async fn close(&mut self) {
        if let Some(agent) = &mut self.agent.process {
            agent.stop(STOP_MAX).await;
        }
        self.server.process.stop(STOP_MAX).await;
        if let Some(bank) = &mut self.bank {
            bank.process.stop(STOP_MAX).await;
        }
    }
}

/// Waits for a process, forever if there is none.
async fn wait(process: Option<&mut Process>) -> Option<std::process::ExitStatus> {
    match process {
        Some(process) => process.wait().await,
        None => std::future::pending().await,
    }
}

/// Starts the agent, and again whenever it dies.
struct AgentKeeper<'a> {
    project: &'a Project,
    env: Vec<(String, OsString)>,
    process: Option<Process>,
    wanted: bool,
    due: Instant,
    started: Instant,
    pause: Duration,
}

impl<'a> AgentKeeper<'a> {
    fn new(project: &'a Project, unwanted: bool, env: Vec<(String, OsString)>) -> Self {
        Self {
            project,
            env,
            process: None,
            wanted: !unwanted && project.agent.is_some(),
            due: Instant::now(),
            started: Instant::now(),
            pause: RESTART_FIRST,
        }
    }

    /// One start, or one death.
    async fn turn(&mut self, window: &Window) -> anyhow::Result<()> {
        let Some(agent) = self.project.agent.as_ref().filter(|_| self.wanted) else {
            return std::future::pending().await;
        };
        if let Some(process) = &mut self.process {
            let status = process.wait().await;
            self.process = None;
            self.pause = if self.started.elapsed() > LIVED {
                RESTART_FIRST
            } else {
                (self.pause * 2).min(RESTART_MAX)
            };
            self.due = Instant::now() + self.pause;
            ui::talk(format!(
                "agent ended ({}); it is started again in {}",
                ending(status),
                ui::age(i64::try_from(self.pause.as_millis()).unwrap_or(i64::MAX))
            ));
        } else {
            sleep_until(self.due).await;
            self.process = Some(agent_process::start(
                agent,
                &self.project.root,
                self.env.clone(),
                window.sink("agent"),
            )?);
            self.started = Instant::now();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_urls_if_that_means_this_machine() {
        assert_eq!(own_port("tape://127.0.0.1:9000").unwrap(), 9000);
        assert_eq!(own_port("tape://localhost").unwrap(), DEFAULT_PORT);
        assert_eq!(own_port("tape://[::1]:9000").unwrap(), 9000);
        assert!(
            own_port("tape://elsewhere:9000")
                .unwrap_err()
                .to_string()
                .contains("--port")
        );
        assert!(own_port("tape://127.0.0.1:x").is_err());
    }
}
