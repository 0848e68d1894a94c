//! Reactors in a process of their own, beside a server elsewhere: connectors here, everything else there.
//!
//! The server may come later, go away and come back: the reactors wait for it. What they hold when they are told to stop
//! they finish; what does not finish in time they give back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tape_client::{RemoteConfig, RemoteTape};
use tape_connector_port::Connectors;
use tape_core::DueKind;
use tape_port::{LivingConnectors, Luck as _, Tape, Workers};
use tape_reactors::{
    Compensation, Driver, Everywhere, Identity, Outbox, Reactor, Reconciler, Recovery, ReportBoard, TIMER_LEAD_MS,
    Timers,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SystemLuck;
use crate::config::ReactorConfig;
use crate::connectors::ProcessSecrets;
use crate::follow::Follower;
use crate::node::NodeError;
use crate::project::Project;
use crate::{connectors, lanes};

/// How long a stop waits for what runs.
pub(crate) const GRACE: Duration = Duration::from_secs(30);
/// How long after that it waits for what is given back.
pub(crate) const GIVE_BACK: Duration = Duration::from_secs(5);

/// What a process of reactors is told at its start.
#[derive(Clone, Debug)]
pub struct ReactorNodeConfig {
    /// The server, `tape://host[:port]`.
    pub url: String,
    /// Which run here.
    pub reactors: BTreeMap<DueKind, ReactorConfig>,
    /// Only runs of these apps; none = of all.
    pub apps: Vec<String>,
    /// Only runs of these tenants; none = of all.
    pub tenants: Vec<String>,
    /// The project whose connectors are loaded, if there is one.
    pub project: Option<Project>,
    /// Where compiled connectors are kept between starts; none = nowhere.
    pub connector_cache: Option<PathBuf>,
}

/// Runs reactors until `shutdown`, then finishes what they hold.
///
/// # Errors
/// [`NodeError::Config`] or [`NodeError::Connector`], before anything runs. A server that cannot be reached is none.
pub async fn run_reactors(config: ReactorNodeConfig, shutdown: CancellationToken) -> Result<(), NodeError> {
    // Only an error if somebody else installed one: then there is one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let host = connectors::host(config.project.as_ref(), config.connector_cache.clone())?;
    let secrets = ProcessSecrets::read(config.project.as_ref())?;
    let declared = connectors::declared(config.project.as_ref(), &host, &secrets).await?;
    let everywhere = Arc::new(Everywhere::new(Arc::new(host.clone())));
    let connectors: Arc<dyn Connectors> = everywhere.clone();
    lanes::show(&connectors);
    let reactor_id = format!("reactor-{}", SystemLuck.fresh());
    let remote = RemoteConfig {
        url: config.url.clone(),
        reactor_id: reactor_id.clone(),
        tenants: config.tenants,
        apps: config.apps,
    };
    let remote = Arc::new(RemoteTape::new(remote).map_err(|error| NodeError::Config(error.to_string()))?);
    let workers: Arc<dyn LivingConnectors> = remote.clone();
    everywhere.join(&workers);
    let heard = host.overhear();
    let follower = Arc::new(Follower::new(remote.clone(), host, secrets));
    let board = Arc::new(ReportBoard::new());
    let crew = Crew {
        tape: remote.clone(),
        connectors,
        workers: remote.clone(),
        board,
        abandon: CancellationToken::new(),
    };
    let kinds: Vec<DueKind> = config.reactors.keys().copied().collect();
    let names: Vec<&str> = kinds.iter().map(|kind| kind.reactor()).collect();
    tracing::info!(
        reactor = reactor_id,
        kinds = names.join(","),
        server = config.url,
        "reacting"
    );

    let (reacting, listening) = (TaskTracker::new(), TaskTracker::new());
    let (stop, deaf) = (shutdown.clone(), CancellationToken::new());
    listening.spawn({
        let (remote, deaf) = (remote.clone(), deaf.clone());
        async move { remote.relay_lines(heard, deaf).await }
    });
    listening.spawn({
        let deaf = deaf.clone();
        async move { remote.watch(&kinds, deaf).await }
    });
    listening.spawn(follower.run(declared, deaf.clone()));
    for (kind, reactor) in &config.reactors {
        if let Some(driver) = crew.driver(*kind, reactor, &reactor_id) {
            reacting.spawn(driver.run(stop.clone()));
        }
    }
    shutdown.cancelled().await;
    tracing::info!("stopping: no more work is taken");
    crew.finish(&reacting).await;
    deaf.cancel();
    listening.close();
    listening.wait().await;
    tracing::info!("stopped");
    Ok(())
}

/// What all reactors of a process work with.
pub(crate) struct Crew {
    pub(crate) tape: Arc<dyn Tape>,
    pub(crate) connectors: Arc<dyn Connectors>,
    pub(crate) workers: Arc<dyn Workers>,
    pub(crate) board: Arc<ReportBoard>,
    /// What is still in hand is to be given back.
    pub(crate) abandon: CancellationToken,
}

impl Crew {
    /// A reactor and what runs it; none for work that is no reactor's.
    pub(crate) fn driver(&self, kind: DueKind, config: &ReactorConfig, owner: &str) -> Option<Driver> {
        let (tape, connectors, workers) = (self.tape.clone(), self.connectors.clone(), self.workers.clone());
        let identity = Identity {
            owner: owner.to_owned(),
            claim_ms: config.claim_ms,
            abandon: self.abandon.clone(),
        };
        let reactor: Arc<dyn Reactor> = match kind {
            DueKind::Recovery => Arc::new(Recovery::new(tape, workers)),
            DueKind::Outbox => Arc::new(Outbox {
                tape,
                connectors,
                identity,
            }),
            DueKind::Reconcile => Arc::new(Reconciler {
                tape,
                connectors,
                workers,
                identity,
            }),
            DueKind::Timers => Arc::new(Timers::new(tape, workers, identity, TIMER_LEAD_MS)),
            DueKind::Compensation => Arc::new(Compensation::new(tape, connectors, workers, identity)),
            // Whoever claims tasks looks for them by reaction; retention is the server's own.
            DueKind::Task
            | DueKind::TaskClaim
            | DueKind::TaskDone
            | DueKind::TaskDead
            | DueKind::TaskWindow
            | DueKind::Retention
            | DueKind::Request => {
                return None;
            }
        };
        Some(Driver::new(
            self.tape.clone(),
            reactor,
            config.driver.clone(),
            self.board.clone(),
        ))
    }

    /// Waits for what is in hand, up to [`GRACE`]; what is not done by then is given back.
    pub(crate) async fn finish(&self, reacting: &TaskTracker) {
        reacting.close();
        if tokio::time::timeout(GRACE, reacting.wait()).await.is_ok() {
            return;
        }
        tracing::warn!("some work did not finish in time; it is given back");
        self.abandon.cancel();
        if tokio::time::timeout(GIVE_BACK, reacting.wait()).await.is_err() {
            tracing::warn!("some work could not be given back; its claims run out by themselves");
        }
    }
}
