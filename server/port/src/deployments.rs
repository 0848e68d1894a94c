//! What a process that runs connectors asks of whoever keeps them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tape_connector_port::{Deployable, Judged, Line, Misfit, Vouched};
use tape_core::command::connector::{PutDone, PutVersion};
use tape_core::connector::{ConnectorName, Deployed};
use tokio::sync::{broadcast, watch};

use crate::TapeError;

/// The connectors of a deployment, as a host follows them. The engine is one; so is a server elsewhere.
#[async_trait]
pub trait Deployments: Send + Sync {
    /// Changes whenever a connector may have been changed, from now on. A hint that may get lost: whoever follows looks now and then.
    fn deployments(&self) -> watch::Receiver<u64>;

    /// The connectors whose state is another than the one that the caller knows, by the number of their last change. They are
    /// never forgotten: one without versions is gone.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`]: look again.
    async fn deployed_since(&self, known: &BTreeMap<ConnectorName, i64>) -> Result<Vec<Deployed>, TapeError>;

    /// The bytes of a version's component.
    ///
    /// # Errors
    /// NOT_FOUND; [`TapeError::Corrupt`] if they are not what was put.
    async fn component_of(&self, name: &ConnectorName, version: &str) -> Result<Vec<u8>, TapeError>;

    /// Applies a project's declaration of a connector: see [`PutVersion`].
    ///
    /// # Errors
    /// As there.
    async fn declare(&self, put: &PutVersion, component: &[u8]) -> Result<PutDone, TapeError>;
}

/// The host of a server's own process, as those see it who deploy to it.
#[async_trait]
pub trait ConnectorHost: Send + Sync {
    /// Whether the host would take a component.
    ///
    /// # Errors
    /// [`Misfit`] names what is wrong.
    async fn judge(&self, version: &Deployable, component: Vec<u8>, vouched: &Vouched) -> Result<Judged, Misfit>;

    /// What a connector said lately in this process, or was [told](Self::told) to have said elsewhere, and how its calls ended, at most `limit` lines; and what comes after them.
    fn tail(&self, name: &ConnectorName, limit: usize) -> (Vec<Line>, broadcast::Receiver<Line>);

    /// Keeps what a connector said in another process, for [`tail`](Self::tail).
    fn told(&self, name: &ConnectorName, line: Line);

    /// Returns once this host calls what is deployed now, or has found out that it cannot.
    async fn catch_up(&self);
}
