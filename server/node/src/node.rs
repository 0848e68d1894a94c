//! One server process: started as a whole, stopped as a whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tape_api::{ServerInfo, Services, WorkerHub};
use tape_connector_port::Connectors;
use tape_engine::{Engine, EngineConfig, Retention};
use tape_port::{Clock as _, ConnectorHost as _, LivingConnectors, TapeError};
use tape_reactors::{Everywhere, ReportBoard};
use tape_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{SystemClock, SystemLuck};
use crate::config::NodeConfig;
use crate::connectors::ProcessSecrets;
use crate::follow::Follower;
use crate::project::Project;
use crate::reactors::Crew;
use crate::security::{self, Credentials};
use crate::serving::Listeners;
use crate::{census, connectors, footprint, http, lanes, reactions, retention, store};

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration is wrong. The text names what, and the cure.
    #[error("TAPE-N001: {0}")]
    Config(String),
    /// The store cannot be opened.
    #[error("TAPE-N002: the store {url:?} cannot be opened: {problem}")]
    Store {
        /// The store's URL, without a password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An address cannot be listened on.
    #[error(
        "TAPE-N003: {what} cannot listen on {address}: {problem}. Is another server running there? Choose another address by {flag}."
    )]
    Listen {
        /// What wants to listen.
        what: &'static str,
        /// Where.
        address: String,
        /// Why not.
        problem: String,
        /// The flag that changes it.
        flag: &'static str,
    },
    /// A connector was not accepted.
    #[error("{code}: {problem}")]
    Connector {
        /// The connector host's code.
        code: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A listener failed while it served.
    #[error("TAPE-N004: the server stopped serving: {0}")]
    Serve(String),
}

/// A running server.
pub struct Node {
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// Where HTTP listens.
    pub http: Option<SocketAddr>,
    credentials: Arc<Credentials>,
    stop: Stop,
    serving: TaskTracker,
    failed: tokio::sync::mpsc::Receiver<NodeError>,
}

/// What has to be stopped, in this order.
struct Stop {
    reactors: CancellationToken,
    reacting: TaskTracker,
    crew: Crew,
    hub: Arc<WorkerHub>,
    listeners: CancellationToken,
    store: Arc<dyn Store>,
}

impl Node {
    /// Opens the store, loads the connectors, listens, and starts the reactors.
    ///
    /// # Errors
    /// [`NodeError`]: nothing is left running.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        // Only an error if somebody else installed one: then there is one.
        drop(rustls::crypto::ring::default_provider().install_default());
        security::check_exposure(&config)?;
        let credentials = Credentials::read(&config)?;
        let tenancy = security::tenancy(&config)?;
        let grpc = listen("gRPC", &config.grpc, "--listen").await?;
        let web = match &config.http {
            Some(address) => Some(listen("HTTP", address, "--http").await?),
            None => None,
        };
        let store = store::open(&config.store_url).await?;
        let host = connectors::host(config.project.as_ref(), config.connector_cache.clone())?;
        let secrets = ProcessSecrets::read(config.project.as_ref())?;
        let declared = connectors::declared(config.project.as_ref(), &host, &secrets).await?;
        let everywhere = Arc::new(Everywhere::new(Arc::new(host.clone())));
        let connectors: Arc<dyn Connectors> = everywhere.clone();
        lanes::show(&connectors);
        let project = config.project.as_ref();
        let engine_config = EngineConfig {
            strict_connectors: project.is_some_and(|project| project.strict_connectors),
            connectors_in_workers: project
                .map(|project| project.connectors_in_workers.clone())
                .unwrap_or_default(),
        };
        let engine = Arc::new(Engine::new(
            store.clone(),
            Arc::new(SystemClock),
            Arc::new(SystemLuck),
            connectors.clone(),
            engine_config,
        ));
        let follower = Arc::new(Follower::new(engine.clone(), host, secrets));
        follower.declare(&declared).await.map_err(|error| undeclared(&error))?;
        // Calls begin with what is deployed, and not with nothing.
        follower.catch_up().await;
        let hub = Arc::new(WorkerHub::new(engine.clone()));
        let workers: Arc<dyn LivingConnectors> = hub.clone();
        everywhere.join(&workers);
        let board = Arc::new(ReportBoard::new());
        let info = ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: SystemClock.now(),
            store_url: store::redact(&config.store_url),
        };
        let services = Services::new(
            engine.clone(),
            connectors.clone(),
            hub.clone(),
            board.clone(),
            info,
            tenancy,
            Some(follower.clone()),
        );

        let (stop, reacting, serving) = (CancellationToken::new(), TaskTracker::new(), TaskTracker::new());
        let listeners = CancellationToken::new();
        let (failing, failed) = tokio::sync::mpsc::channel(2);
        let addresses = (address(&grpc)?, web.as_ref().map(address).transpose()?);
        let serve = Listeners {
            doors: config.doors,
            credentials: &credentials,
            serving: serving.clone(),
            stop: listeners.clone(),
            failing,
        };
        serve.grpc(grpc, services)?;
        if let Some(web) = web {
            serve.http(web, http::router(engine.clone(), credentials.verifier()))?;
        }
        let owner = format!("server-{}", engine.fresh());
        reactions::serve(&reacting, &engine, &owner, &stop);
        retention::serve(&reacting, &engine, kept(config.project.as_ref()), &stop);
        retention::forget(&reacting, &engine, &stop);
        let crew = Crew {
            tape: engine.clone(),
            connectors,
            workers: hub.clone(),
            board,
            abandon: CancellationToken::new(),
        };
        for (kind, reactor) in &config.reactors {
            if let Some(driver) = crew.driver(*kind, reactor, &owner) {
                reacting.spawn(driver.run(stop.clone()));
            }
        }
        let (hearing, until) = (engine.clone(), stop.clone());
        reacting.spawn(async move {
            tokio::select! {
                () = hearing.hear() => {}
                () = until.cancelled() => {}
            }
        });
        reacting.spawn(follower.run(Vec::new(), stop.clone()));
        let (collecting, until) = (engine.clone(), stop.clone());
        reacting.spawn(async move {
            tokio::select! {
                () = collecting.collect_components_forever() => {}
                () = until.cancelled() => {}
            }
        });
        let counting = census::run(engine, hub.clone(), config.count_interval, stop.clone());
        reacting.spawn(counting);
        tracing::info!(grpc = %addresses.0, http = ?addresses.1, store = store::redact(&config.store_url), "serving");
        footprint::forget_text();
        let stop = Stop {
            reactors: stop,
            reacting,
            crew,
            hub,
            listeners,
            store,
        };
        Ok(Self {
            grpc: addresses.0,
            http: addresses.1,
            credentials: Arc::new(credentials),
            stop,
            serving,
            failed,
        })
    }

    /// What the server shows and asks for; it can be read again while the node runs.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        self.credentials.clone()
    }

    /// Serves until `shutdown`, then stops: takes no more work, finishes what runs, closes the store.
    ///
    /// # Errors
    /// [`NodeError::Serve`] if a listener failed.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let failure = tokio::select! {
            () = shutdown.cancelled() => None,
            failure = self.failed.recv() => failure,
        };
        tracing::info!("stopping: no more work is taken");
        self.stop.reactors.cancel();
        self.stop.crew.finish(&self.stop.reacting).await;
        self.stop.hub.drain().await;
        self.stop.listeners.cancel();
        self.serving.close();
        if tokio::time::timeout(Duration::from_secs(5), self.serving.wait())
            .await
            .is_err()
        {
            tracing::info!("some streams were still open");
        }
        self.stop.store.close().await;
        tracing::info!("stopped");
        failure.map_or(Ok(()), Err)
    }
}

/// The registry did not take what the project declares.
fn undeclared(error: &TapeError) -> NodeError {
    NodeError::Config(format!("tape.connectors cannot be deployed: {error}"))
}

/// How long the project keeps runs whole.
fn kept(project: Option<&Project>) -> Retention {
    let ages = project.into_iter().flat_map(|project| &project.retention);
    let ms = |age: &Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Retention {
        ages: ages.map(|(status, age)| (*status, ms(age))).collect(),
    }
}

async fn listen(what: &'static str, address: &str, flag: &'static str) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|error| NodeError::Listen {
        what,
        address: address.to_owned(),
        problem: error.to_string(),
        flag,
    })
}

fn address(listener: &TcpListener) -> Result<SocketAddr, NodeError> {
    listener
        .local_addr()
        .map_err(|error| NodeError::Serve(error.to_string()))
}
