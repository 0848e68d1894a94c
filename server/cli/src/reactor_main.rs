//! `tape-reactor`: reactors beside a server elsewhere, until a signal ends them.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use tape_core::DueKind;
use tape_node::project::{DEFAULT_URL, Project, REACTORS};
use tape_node::{NodeConfig, ReactorNodeConfig, run_reactors, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::code_cache::CodeCacheArgs;
use crate::exit::Exit;
use crate::ui;

/// Reactors in a process of their own: they ask a server for work, and call connectors here. Several share the work.
///
/// The server may go away and come back. Ends on SIGINT and SIGTERM: takes no more work, finishes what runs for up to
/// 30 s, and leaves its leases free.
#[derive(Parser)]
#[command(name = "tape-reactor", version)]
struct Args {
    /// Which reactors run here
    #[arg(required = true, value_name = "KIND", value_parser = PossibleValuesParser::new(REACTORS))]
    kinds: Vec<String>,
    /// The server [default: the project's, or tape://127.0.0.1:7878]
    #[arg(long, env = "TAPE_URL")]
    url: Option<String>,
    /// Only runs of this app; may be given again
    #[arg(long, value_name = "APP")]
    app: Vec<String>,
    /// Only runs of this tenant; may be given again
    #[arg(long, value_name = "TENANT")]
    tenant: Vec<String>,
    /// A project's file: its connectors are loaded here
    #[arg(long, value_name = "TAPE.YAML")]
    config: Option<PathBuf>,
    #[command(flatten)]
    code_cache: CodeCacheArgs,
    /// How long a claim on a row lasts without renewal, in milliseconds; for all of them
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(i64).range(100..))]
    claim_ttl_ms: Option<i64>,
}

/// Runs the reactors.
pub fn main() -> ExitCode {
    let args = Args::parse();
    match react(&args) {
        Ok(()) => Exit::Fine.into(),
        Err(error) => {
            ui::talk(format!("tape-reactor: {error:#}"));
            Exit::Failed.into()
        }
    }
}

#[tokio::main]
async fn react(args: &Args) -> anyhow::Result<()> {
    let telemetry = telemetry::start("tape-reactor")?;
    let ended = until_told(args).await;
    telemetry.stop().await;
    ended
}

async fn until_told(args: &Args) -> anyhow::Result<()> {
    let config = args.config()?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let reacting = run_reactors(config, stop.clone());
    tokio::pin!(reacting);
    tokio::select! {
        ended = &mut reacting => return Ok(ended?),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.cancel();
    Ok(reacting.await?)
}

impl Args {
    fn config(&self) -> anyhow::Result<ReactorNodeConfig> {
        let project = self.config.as_deref().map(Project::load).transpose()?;
        let project_url = project.as_ref().map(|project| project.url.clone());
        let url = self.url.clone().or(project_url);
        // As a server of the project would run them; one that the project turns off there may run here.
        let settings = NodeConfig::new("", project.clone()).reactors;
        let chosen = DueKind::ALL
            .into_iter()
            .filter(|kind| self.kinds.iter().any(|name| name == kind.reactor()));
        let reactors = chosen.map(|kind| {
            let mut config = settings.get(&kind).cloned().unwrap_or_default();
            if let Some(ttl_ms) = self.claim_ttl_ms {
                config.claim_ms = ttl_ms;
            }
            (kind, config)
        });
        Ok(ReactorNodeConfig {
            url: url.unwrap_or_else(|| DEFAULT_URL.to_owned()),
            reactors: reactors.collect(),
            apps: self.app.clone(),
            tenants: self.tenant.clone(),
            project,
            connector_cache: self.code_cache.folder(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reactors_are_named_on_the_command_line() {
        let args = Args::parse_from([
            "tape-reactor",
            "outbox",
            "reconciler",
            "--url",
            "tape://there:1",
            "--app",
            "a",
            "--claim-ttl-ms",
            "2000",
        ]);
        let config = args.config().unwrap();
        let kinds: Vec<_> = config.reactors.keys().copied().collect();
        assert_eq!(kinds, [DueKind::Outbox, DueKind::Reconcile]);
        assert_eq!(
            (config.url.as_str(), config.apps.as_slice()),
            ("tape://there:1", &["a".to_owned()][..])
        );
        assert_eq!(config.reactors[&DueKind::Outbox].claim_ms, 2000);
    }

    #[test]
    fn a_reactor_that_there_is_not_is_refused_by_name() {
        let error = Args::try_parse_from(["tape-reactor", "outbx"])
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("outbx") && error.contains("outbox"), "{error}");
        assert!(Args::try_parse_from(["tape-reactor"]).is_err());
    }
}
