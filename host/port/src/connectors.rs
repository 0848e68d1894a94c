//! The port itself: what a reactor may ask, and the callback by which nothing leaves unrecorded.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    CompensateOutcome, ConnectorError, ConnectorState, Description, EffectCall, Evidence, ObligationCall,
    ObserveAnswer, Outcome, StatusAnswer,
};

/// The mark before the byte: the host calls it before the first unsafe request of a call is written.
#[async_trait]
pub trait Mark: Send + Sync {
    /// Makes "this attempt has started" durable. The request leaves only after this returned `Ok`; it is called at most once per call.
    ///
    /// # Errors
    /// [`MarkRefused`]: the caller no longer owns the work, or could not write. Nothing leaves, and the call ends with
    /// [`ConnectorError::MarkRefused`].
    async fn sent(&self, sender: Sender<'_>) -> Result<(), MarkRefused>;
}

/// Which component is about to send: the mark remembers it, so that it is asked about its own effect even if the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender<'a> {
    /// The version under which it is deployed.
    pub version: &'a str,
    /// `sha256:<hex>`.
    pub digest: &'a str,
}

/// Why nothing may leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MarkRefused(pub String);

/// A mark that nobody needs: for calls by hand and for tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmarked;

#[async_trait]
impl Mark for Unmarked {
    async fn sent(&self, _: Sender<'_>) -> Result<(), MarkRefused> {
        Ok(())
    }
}

/// An outcome, what the host saw on the way to it, and which component it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called<T> {
    pub outcome: T,
    pub evidence: Evidence,
    /// The connector's version: pass it back as `version` when asking about this effect later.
    pub version: String,
    /// `sha256:<hex>` of the component. Empty for connectors that are not components.
    pub digest: String,
}

/// One deployed connector, as `tape connector list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorInfo {
    pub name: String,
    pub tenant: String,
    /// The app that it serves alone, in whose processes it lives. None: a component, for all apps of its tenant.
    #[serde(default)]
    pub app: Option<String>,
    pub version: String,
    pub digest: String,
    pub description: Description,
    /// Calls that ended since this version was loaded, whatever their outcome.
    pub calls: u64,
    /// Calls among them that ended by a trap, a timeout, a limit or a breach, or in which the upstream never answered.
    pub failures: u64,
    pub last_error: Option<String>,
}

/// All connectors that a process can call.
///
/// `name` is looked up in the call's tenant. `version` is the version that dispatched the effect; it is used if it is still there, else the
/// active one. No method outlives the call's deadline (or the connector's own limit, 30 s unless deployed otherwise) by more than
/// a few milliseconds, and dropping a future ends its call.
#[async_trait]
pub trait Connectors: Send + Sync {
    /// The active version of every connector, by tenant and name.
    fn list(&self) -> Vec<ConnectorInfo>;

    /// How each version that calls may reach is doing in this process. Empty where nobody counts.
    fn states(&self) -> Vec<ConnectorState> {
        Vec::new()
    }

    /// The active version's description; None if there is no such connector for effects of `app`.
    fn describe(&self, tenant: &str, app: &str, name: &str) -> Option<Description>;

    /// Waits until the list may be another than it was. A hint that may get lost: whoever waits looks now and then. Never ends where
    /// nobody can tell.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    /// Does it, at most once. `mark` is called before anything that could change the upstream leaves.
    ///
    /// # Errors
    /// [`ConnectorError`]: the call did not take place and nothing left. A crash of the connector is an [`Outcome`], not an error.
    async fn dispatch(
        &self,
        name: &str,
        version: Option<&str>,
        call: &EffectCall,
        mark: &dyn Mark,
    ) -> Result<Called<Outcome>, ConnectorError>;

    /// Asks whether this very request committed. `reference` is the upstream's own id or the idempotency key.
    /// A crash of the connector is [`StatusAnswer::Inconclusive`] with its name.
    ///
    /// # Errors
    /// [`ConnectorError::Unsupported`] if the connector cannot say; otherwise as for [`dispatch`](Self::dispatch).
    async fn status_check(
        &self,
        name: &str,
        version: Option<&str>,
        call: &EffectCall,
        reference: &str,
    ) -> Result<Called<StatusAnswer>, ConnectorError>;

    /// Asks what the upstream's books say about the effect's business key.
    /// A crash of the connector is [`ObserveAnswer::Inconclusive`] with its name.
    ///
    /// # Errors
    /// [`ConnectorError::Unsupported`] if the connector cannot say; otherwise as for [`dispatch`](Self::dispatch).
    async fn observe(
        &self,
        name: &str,
        version: Option<&str>,
        call: &EffectCall,
    ) -> Result<Called<ObserveAnswer>, ConnectorError>;

    /// Undoes an effect. `mark` is called before anything that could change the upstream leaves.
    ///
    /// # Errors
    /// [`ConnectorError::Unsupported`] if the connector cannot undo; otherwise as for [`dispatch`](Self::dispatch).
    async fn compensate(
        &self,
        name: &str,
        version: Option<&str>,
        call: &ObligationCall,
        mark: &dyn Mark,
    ) -> Result<Called<CompensateOutcome>, ConnectorError>;
}
