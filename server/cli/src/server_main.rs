//! `tape-server`: a node with what the flags say, until a signal ends it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tape_core::DueKind;
use tape_node::project::Project;
use tape_node::{Node, NodeConfig, TlsFiles, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::code_cache::CodeCacheArgs;
use crate::exit::Exit;
use crate::ui;

/// The Tape server: keeps runs, drives reactors, calls connectors. Ends on SIGINT and SIGTERM after what runs has finished.
#[derive(Parser)]
#[command(name = "tape-server", version)]
struct Args {
    /// Where gRPC listens
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:7878",
        env = "TAPE_LISTEN"
    )]
    listen: String,
    /// Where /healthz, /readyz and /metrics listen
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7879", env = "TAPE_HTTP")]
    http: String,
    /// The store, for example sqlite:tape.db [default: the project's, or sqlite:tape.db]
    #[arg(long, value_name = "URL", env = "TAPE_STORE_URL")]
    store: Option<String>,
    /// Which reactors run here: all, none, or a list like recovery,outbox [default: as the project says, or all]
    #[arg(long, value_name = "KINDS")]
    reactors: Option<String>,
    /// A project's file: its connectors are loaded
    #[arg(long, value_name = "TAPE.YAML")]
    config: Option<PathBuf>,
    /// How long a reactor's claim on a row lasts without renewal, in milliseconds; for all of them
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(100..))]
    claim_ttl_ms: Option<i64>,
    /// The certificate of both listeners, PEM; with it clients come by tapes:// and https://. Read again on SIGHUP
    #[arg(long, value_name = "FILE", env = "TAPE_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, PEM
    #[arg(long, value_name = "FILE", env = "TAPE_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A file that says who may call: a list of {token or token_sha256, principal, role, tenant}. Read again on SIGHUP
    #[arg(long, value_name = "FILE", env = "TAPE_AUTH_TOKENS")]
    auth_tokens: Option<PathBuf>,
    /// Connections at the same time; calls on more are refused [default: the project's, or 10000]
    #[arg(long, value_name = "N", env = "TAPE_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,
    /// Calls and streams at the same time on one connection; more wait [default: the project's, or 1024]
    #[arg(long, value_name = "N", env = "TAPE_MAX_STREAMS", value_parser = clap::value_parser!(u32).range(1..))]
    max_streams: Option<u32>,
    /// A peer that is silent for so long, in milliseconds, is pinged, and hung up on after as much again [default: the project's, or 20000]
    #[arg(long, value_name = "MS", env = "TAPE_KEEPALIVE_MS", value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    keepalive_ms: Option<u64>,
    /// How often the store is counted for the metrics, at most, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, env = "TAPE_COUNT_INTERVAL_MS", value_parser = clap::value_parser!(u64).range(10..))]
    count_interval_ms: u64,
    #[command(flatten)]
    code_cache: CodeCacheArgs,
    /// Listen in plaintext and without authentication on other addresses than loopback
    #[arg(long)]
    insecure: bool,
}

/// Runs the server.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match serve(&args) {
        Ok(()) => Exit::Fine.into(),
        Err(error) => {
            ui::talk(format!("tape-server: {error:#}"));
            Exit::Failed.into()
        }
    }
}

#[tokio::main]
async fn serve(args: &Args) -> anyhow::Result<()> {
    let telemetry = telemetry::start("tape-server")?;
    let ended = run(args).await;
    telemetry.stop().await;
    ended
}

async fn run(args: &Args) -> anyhow::Result<()> {
    let config = args.config()?;
    allow_files();
    let stop = CancellationToken::new();
    // Without anything to read again, the signal means what it always did: the terminal is gone. With it, one that comes while the
    // server starts must not end it.
    let files = config.tls.is_some() || config.auth_tokens.is_some();
    let mut hangup = files.then(|| signal(SignalKind::hangup())).transpose()?;
    let node = Node::start(config);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let asked = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(asked);
    let node = tokio::select! {
        node = node => node?,
        () = &mut asked => return Ok(()),
    };
    let credentials = node.credentials();
    let running = node.run(stop.clone());
    tokio::pin!(running);
    loop {
        tokio::select! {
            ended = &mut running => return Ok(ended?),
            () = &mut asked => break,
            () = again(&mut hangup) => credentials.reload(),
        }
    }
    stop.cancel();
    Ok(running.await?)
}

/// Somebody asks for the files to be read again.
async fn again(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// A connection takes a file: as many as this process may have without asking anybody.
fn allow_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard {
            setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        }
        Ok(())
    });
    if let Err(error) = raised {
        ui::talk(format!("tape-server: the limit of open files stays as it is ({error})"));
    }
}

impl Args {
    fn config(&self) -> anyhow::Result<NodeConfig> {
        let project = self.config.as_deref().map(Project::load).transpose()?;
        let store_url = match (&self.store, &project) {
            (Some(url), _) => url.clone(),
            (None, Some(project)) => project.store_url.clone(),
            (None, None) => "sqlite:tape.db".to_owned(),
        };
        let mut config = NodeConfig::new(store_url, project);
        config.grpc.clone_from(&self.listen);
        config.http = Some(self.http.clone());
        config.insecure = self.insecure;
        config.tls = self
            .tls_cert
            .clone()
            .zip(self.tls_key.clone())
            .map(|(cert, key)| TlsFiles { cert, key });
        config.auth_tokens.clone_from(&self.auth_tokens);
        config.connector_cache = self.code_cache.folder();
        if let Some(connections) = self.max_connections {
            config.doors.connections_max = usize::try_from(connections).unwrap_or(usize::MAX);
        }
        if let Some(streams) = self.max_streams {
            config.doors.streams_max = streams;
        }
        if let Some(ms) = self.keepalive_ms {
            config.doors.keepalive = Duration::from_millis(ms);
        }
        config.count_interval = Duration::from_millis(self.count_interval_ms);
        if let Some(kinds) = &self.reactors {
            let kinds = chosen(kinds)?;
            // One that the project turned off but the flag names runs with its defaults.
            let before = std::mem::take(&mut config.reactors);
            config.reactors = kinds
                .into_iter()
                .map(|kind| (kind, before.get(&kind).cloned().unwrap_or_default()))
                .collect();
        }
        if let Some(ttl_ms) = self.claim_ttl_ms {
            for reactor in config.reactors.values_mut() {
                reactor.claim_ms = ttl_ms;
            }
        }
        Ok(config)
    }
}

/// `all`, `none`, or a list of kinds.
fn chosen(text: &str) -> anyhow::Result<Vec<DueKind>> {
    match text.trim() {
        "all" => return Ok(DueKind::ALL.to_vec()),
        "none" => return Ok(Vec::new()),
        _ => {}
    }
    let kind = |name: &str| {
        let found = DueKind::ALL.into_iter().find(|kind| kind.reactor() == name.trim());
        found.with_context(|| {
            let known = DueKind::ALL.map(DueKind::reactor).join(", ");
            format!(
                "--reactors {text}: there is no reactor `{}`. Known: {known}; or all, or none",
                name.trim()
            )
        })
    };
    let kinds: Vec<DueKind> = text.split(',').map(kind).collect::<anyhow::Result<_>>()?;
    if kinds.is_empty() {
        bail!("--reactors needs all, none, or a list");
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reactors_are_chosen_by_name() {
        assert_eq!(chosen("all").unwrap().len(), 5);
        assert!(chosen("none").unwrap().is_empty());
        assert_eq!(
            chosen("outbox, recovery").unwrap(),
            [DueKind::Outbox, DueKind::Recovery]
        );
        let error = chosen("outbox,recovry").unwrap_err().to_string();
        assert!(error.contains("`recovry`") && error.contains("recovery, "), "{error}");
    }

    #[test]
    fn flags_win_over_defaults() {
        let args = Args::parse_from([
            "tape-server",
            "--store",
            "memory:",
            "--reactors",
            "outbox",
            "--claim-ttl-ms",
            "2000",
        ]);
        let config = args.config().unwrap();
        assert_eq!(config.store_url, "memory:");
        assert_eq!(config.reactors.len(), 1);
        assert_eq!(config.reactors[&DueKind::Outbox].claim_ms, 2000);
    }
}
