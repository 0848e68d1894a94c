//! Following what is deployed: whatever changes in the registry, this process's host calls it within a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tape_connector_port::{Deployable, Judged, Line, Misfit, Vouched};
use tape_core::connector::{Connector, ConnectorName, ConnectorVersion, Deployed};
use tape_host::{Host, Source, Wanted};
use tape_port::{ConnectorHost, Deployments, TapeError};
use tokio::sync::{Mutex, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::connectors::{Declared, ProcessSecrets, Stored};
use crate::footprint;

/// The fallback: a change of which nobody told is seen no later than this.
const POLL: Duration = Duration::from_secs(1);
/// Before a version that cannot be loaded is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// After the registry could not be asked; doubles up to [`RETRY`].
const PAUSE: Duration = Duration::from_millis(100);

/// Keeps a host as the registry wants it.
pub(crate) struct Follower {
    deployments: Arc<dyn Deployments>,
    host: Host,
    secrets: Arc<ProcessSecrets>,
    source: Arc<dyn Source>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last change of each connector that the host has made.
    known: BTreeMap<ConnectorName, i64>,
    /// Changes that it could not make, and when it tries again.
    failed: BTreeMap<ConnectorName, (i64, Instant)>,
}

impl Follower {
    pub(crate) fn new(deployments: Arc<dyn Deployments>, host: Host, secrets: Arc<ProcessSecrets>) -> Self {
        let source = Arc::new(Stored {
            deployments: deployments.clone(),
            secrets: secrets.clone(),
        });
        Self {
            deployments,
            host,
            secrets,
            source,
            state: Mutex::default(),
        }
    }

    /// Puts what the project declares, where that is not applied yet.
    ///
    /// # Errors
    /// [`TapeError`]: the registry refused it, or does not answer.
    pub(crate) async fn declare(&self, declared: &[Declared]) -> Result<(), TapeError> {
        for one in declared {
            let done = self.deployments.declare(&one.put, &one.component).await?;
            if done.created {
                let (name, version) = (&one.put.name.name, &done.version.version);
                tracing::info!(connector = name, version, "put, as the project declares it");
            }
        }
        Ok(())
    }

    /// Makes all changes that were made in the registry until now. Returns the versions that may be activated next.
    ///
    /// # Errors
    /// [`TapeError`]: the registry does not answer.
    pub(crate) async fn look(&self) -> Result<Vec<Deployable>, TapeError> {
        let mut state = self.state.lock().await;
        let (mut newest, mut loaded) = (Vec::new(), false);
        for deployed in self.deployments.deployed_since(&state.known).await? {
            let Deployed { connector, versions } = deployed;
            let failed = state.failed.get(&connector.name);
            if failed.is_some_and(|(seq, again)| *seq == connector.seq && Instant::now() < *again) {
                continue;
            }
            let wanted = wanted(&connector, versions);
            match self.host.deploy(&wanted, &self.source).await {
                Ok(()) => {
                    loaded = true;
                    let idle = wanted
                        .versions
                        .last()
                        .filter(|last| connector.weight(&last.version) == 0);
                    newest.extend(idle.cloned());
                    state.failed.remove(&connector.name);
                    state.known.insert(connector.name, connector.seq);
                }
                Err(error) => {
                    tracing::error!(connector = connector.name.name, %error, "it cannot be called here as it is deployed; calls go where they went before");
                    state
                        .failed
                        .insert(connector.name, (connector.seq, Instant::now() + RETRY));
                }
            }
        }
        if loaded {
            footprint::forget_text();
        }
        Ok(newest)
    }

    /// Follows until `stop`. `declared` is put as soon as the registry answers.
    pub(crate) async fn run(self: Arc<Self>, mut declared: Vec<Declared>, stop: CancellationToken) {
        let mut changes = self.deployments.deployments();
        let mut pause = PAUSE;
        loop {
            // What was told so far is in what is read now.
            changes.mark_unchanged();
            let followed = self.follow(&mut declared).await;
            let wait = match followed {
                Ok(()) => {
                    pause = PAUSE;
                    POLL
                }
                Err(error) => {
                    tracing::debug!(%error, "what is deployed cannot be read now");
                    pause = (pause * 2).min(RETRY);
                    pause
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changes.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn follow(&self, declared: &mut Vec<Declared>) -> Result<(), TapeError> {
        match self.declare(declared).await {
            Ok(()) => declared.clear(),
            Err(error @ TapeError::Unavailable(_)) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "what the project declares was refused");
                declared.clear();
            }
        }
        let newest = self.look().await?;
        let warmed = !newest.is_empty();
        for version in newest {
            // Nobody waits for it: whoever activates it later does not wait for its loading.
            if let Err(error) = self.host.warm(&version.tenant, &version.name, &version.version).await {
                tracing::warn!(connector = version.name, version = version.version, %error, "it cannot be loaded in advance");
            }
        }
        if warmed {
            footprint::forget_text();
        }
        Ok(())
    }
}

#[async_trait]
impl ConnectorHost for Follower {
    async fn judge(&self, version: &Deployable, component: Vec<u8>, vouched: &Vouched) -> Result<Judged, Misfit> {
        let secrets = self.secrets.of(&version.tenant, &version.name);
        self.host.judge(version, component, vouched, secrets).await
    }

    fn tail(&self, name: &ConnectorName, limit: usize) -> (Vec<Line>, broadcast::Receiver<Line>) {
        self.host.tail(&name.tenant, &name.name, limit)
    }

    fn told(&self, name: &ConnectorName, line: Line) {
        self.host.told(&name.tenant, &name.name, line);
    }

    async fn catch_up(&self) {
        if let Err(error) = self.look().await {
            tracing::debug!(%error, "what is deployed cannot be read now");
        }
    }
}

fn wanted(connector: &Connector, versions: Vec<ConnectorVersion>) -> Wanted {
    let name = &connector.name;
    let version = |version: ConnectorVersion| Deployable {
        tenant: name.tenant.clone(),
        name: name.name.clone(),
        version: version.version,
        digest: version.digest,
        config_json: version.config_json,
        grants_json: version.grants_json,
        limits_json: version.limits_json,
    };
    Wanted {
        tenant: name.tenant.clone(),
        name: name.name.clone(),
        versions: versions.into_iter().map(version).collect(),
        shares: connector
            .active
            .iter()
            .map(|share| (share.version.clone(), share.weight))
            .collect(),
    }
}
