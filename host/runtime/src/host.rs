//! The host: loads connectors, swaps them, and answers for them through the port.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use rustls::crypto::SecureRandom;
use tape_connector_artifact::{Signature, Trust};
use tape_connector_port::verdict::{compensation_verdict, observation_verdict, status_verdict, verdict};
use tape_connector_port::{
    Called, CompensateOutcome, ConnectorError, ConnectorInfo, ConnectorState, Connectors, Description, Doubt,
    EffectCall, Evidence, Line, Mark, ObligationCall, ObserveAnswer, Outcome, Overheard, StatusAnswer, Unmarked,
};
use thiserror::Error;
use tokio::sync::{Semaphore, broadcast};
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::cache::CodeCache;
use crate::call::{self, Ended, Question};
use crate::contract::{self, Preview, wit};
use crate::egress::{Clients, Names, Reach, SystemNames};
use crate::engine::{self, Ticker};
use crate::lanes::Lanes;
use crate::lines::AllLines;
use crate::load::{self, Deployment, LoadError};
use crate::registry::{Loaded, Registry};
use crate::sandbox::Sandbox;

/// Where wall-clock time comes from.
pub trait Clock: Send + Sync {
    /// Unix milliseconds.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// How a host is made.
#[derive(Clone)]
pub struct HostConfig {
    /// Calls at the same time, over all connectors. Default 64.
    pub calls_max: u32,
    /// Calls at the same time of one tenant, over all of its connectors. Default 32, so that one tenant never takes them all.
    pub tenant_calls_max: u32,
    pub clock: Arc<dyn Clock>,
    /// Default: the machine's resolver.
    pub names: Arc<dyn Names>,
    /// Where compiled code is kept between starts: a directory of the host's own. Default: nowhere.
    pub cache_dir: Option<PathBuf>,
    /// How much of it is kept there; what was used least recently goes first. Default 1 GiB.
    pub cache_bytes_max: u64,
    /// Whose signatures count, and whether one is required. Default: none, and no.
    pub trust: Trust,
    /// Contract versions to come, linked beside the released ones. Default: none.
    pub previews: Vec<Arc<dyn Preview>>,
}

/// Why there is no host.
#[derive(Debug, Error)]
#[error("the connector host cannot start: {0}")]
pub struct HostError(String);

/// Runs connectors. Cheap to clone; all clones are one host.
#[derive(Clone)]
pub struct Host {
    pub(crate) shared: Arc<Shared>,
}

/// What all calls share.
pub struct Shared {
    pub engine: Engine,
    pub linker: Linker<Sandbox>,
    /// Of the contract: those that are linked.
    pub versions: Vec<String>,
    pub ticker: Ticker,
    pub clients: Arc<Clients>,
    pub random: &'static dyn SecureRandom,
    pub clock: Arc<dyn Clock>,
    pub lanes: Lanes,
    pub compiling: Arc<Semaphore>,
    /// Room for idle instances.
    pub idle: Arc<Semaphore>,
    pub cache: Option<Arc<CodeCache>>,
    pub trust: Trust,
    pub lines: AllLines,
    pub registry: Registry,
}

impl Host {
    /// A host without connectors.
    ///
    /// # Errors
    /// [`HostError`] if the engine or TLS cannot be set up: nothing that a repetition would cure.
    pub fn new(config: HostConfig) -> Result<Self, HostError> {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let engine = engine::engine(config.calls_max).map_err(|error| HostError(format!("{error:#}")))?;
        let mut linker = Linker::new(&engine);
        contract::link(&mut linker).map_err(|error| HostError(format!("{error:#}")))?;
        let mut versions: Vec<_> = contract::VERSIONS.iter().map(|version| (*version).to_owned()).collect();
        for preview in &config.previews {
            preview
                .link(&mut linker)
                .map_err(|error| HostError(format!("{error:#}")))?;
            versions.push(preview.version().to_owned());
        }
        let cache = config.cache_dir.and_then(|dir| {
            let opened = CodeCache::open(&dir, &engine, crypto.secure_random, config.cache_bytes_max, &config.clock);
            match opened {
                Ok(cache) => Some(Arc::new(cache)),
                Err(error) => {
                    tracing::warn!(%error, dir = %dir.display(), "compiled code is not kept: every start compiles anew");
                    None
                }
            }
        });
        let shared = Shared {
            ticker: Ticker::start(&engine).map_err(|error| HostError(error.to_string()))?,
            engine,
            linker,
            versions,
            clients: Arc::new(Clients::new(&crypto, &config.names).map_err(|error| HostError(error.to_string()))?),
            random: crypto.secure_random,
            clock: config.clock,
            lanes: Lanes::new(config.calls_max, config.tenant_calls_max),
            compiling: Arc::new(Semaphore::new(1)),
            idle: Arc::new(Semaphore::new(engine::IDLE_MAX as usize)),
            cache,
            trust: config.trust,
            lines: AllLines::default(),
            registry: Registry::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Checks, compiles and activates a connector in place of the one that had its name; calls in flight end on the version
    /// that they began with.
    ///
    /// # Errors
    /// [`LoadError`]: it was not accepted, and what was deployed before stays active.
    pub async fn load(&self, deployment: Deployment) -> Result<ConnectorInfo, LoadError> {
        self.load_signed(deployment, &[]).await
    }

    /// The same for a component that somebody vouches for. Where [`HostConfig::trust`] requires that, anything else is refused before it
    /// is looked at.
    ///
    /// # Errors
    /// [`LoadError`], [`LoadError::Untrusted`] among them.
    pub async fn load_signed(
        &self,
        deployment: Deployment,
        signatures: &[Signature],
    ) -> Result<ConnectorInfo, LoadError> {
        let name = deployment.name.clone();
        let untrusted = |source| LoadError::Untrusted {
            name: name.clone(),
            source,
        };
        let digest = tape_connector_artifact::digest(&deployment.component);
        let vouched = self.shared.trust.check(&digest, signatures).map_err(untrusted)?;
        let loaded = Arc::new(load::load(&self.shared, deployment).await?);
        if let Some(vouched) = vouched {
            let description = &loaded.description;
            Trust::check_name(vouched, &description.name, &description.version).map_err(untrusted)?;
        }
        let info = loaded.info();
        tracing::info!(
            connector = info.name,
            version = info.version,
            digest = info.digest,
            "connector active"
        );
        self.shared.registry.put(loaded);
        Ok(info)
    }

    /// What a connector said lately and how its calls ended, at most `limit` lines; and what comes after them.
    #[must_use]
    pub fn tail(&self, tenant: &str, name: &str, limit: usize) -> (Vec<Line>, broadcast::Receiver<Line>) {
        self.shared.lines.of(tenant, name).tail(limit)
    }

    /// What all connectors say here from now on. A listener that falls behind loses lines.
    #[must_use]
    pub fn overhear(&self) -> broadcast::Receiver<Overheard> {
        self.shared.lines.overhear()
    }

    /// Keeps what a connector said in another process beside what it says here.
    pub fn told(&self, tenant: &str, name: &str, line: Line) {
        self.shared.lines.of(tenant, name).say(line);
    }

    /// Takes a connector away; whether there was one.
    pub fn unload(&self, tenant: &str, name: &str) -> bool {
        self.shared.registry.remove(tenant, name)
    }
}

#[async_trait]
impl Connectors for Host {
    fn list(&self) -> Vec<ConnectorInfo> {
        self.shared.registry.list()
    }

    fn states(&self) -> Vec<ConnectorState> {
        self.shared.registry.states()
    }

    fn describe(&self, tenant: &str, _app: &str, name: &str) -> Option<Description> {
        self.shared.registry.describe(tenant, name)
    }

    async fn dispatch(
        &self,
        name: &str,
        version: Option<&str>,
        call: &EffectCall,
        mark: &dyn Mark,
    ) -> Result<Called<Outcome>, ConnectorError> {
        let loaded = self.find(call, name, version).await?;
        let question = Question {
            name: "dispatch",
            reach: Reach::Change,
            effect: Some(call),
            mark,
        };
        let effect = wit::Effect::from(call);
        let Ended { end, evidence, span } = call::run(&self.shared, &loaded, question, |guest, store| {
            Box::pin(async move { guest.tape_connector_connector().call_dispatch(store, &effect).await })
        })
        .await?;
        let outcome = match verdict(end, evidence.furthest(), loaded.description.offline) {
            Outcome::Unknown(doubt) => Outcome::Unknown(with_evidence(doubt, &evidence)),
            outcome => outcome,
        };
        span.record("outcome", outcome.name());
        Ok(called(&loaded, outcome, evidence))
    }

    async fn status_check(
        &self,
        name: &str,
        version: Option<&str>,
        call: &EffectCall,
        reference: &str,
    ) -> Result<Called<StatusAnswer>, ConnectorError> {
        let loaded = self.find(call, name, version).await?;
        supported(&loaded, loaded.description.supports.status_check, "status-check")?;
        let question = Question {
            name: "status-check",
            reach: Reach::Read,
            effect: Some(call),
            mark: &Unmarked,
        };
        let (effect, reference) = (wit::Effect::from(call), reference.to_owned());
        let Ended { end, evidence, span } = call::run(&self.shared, &loaded, question, |guest, store| {
            Box::pin(async move {
                guest
                    .tape_connector_connector()
                    .call_status_check(store, &effect, &reference)
                    .await
            })
        })
        .await?;
        let answer = status_verdict(end, evidence.has_read() || loaded.description.offline);
        span.record("outcome", answer.name());
        Ok(called(&loaded, answer, evidence))
    }

    async fn observe(
        &self,
        name: &str,
        version: Option<&str>,
        call: &EffectCall,
    ) -> Result<Called<ObserveAnswer>, ConnectorError> {
        let loaded = self.find(call, name, version).await?;
        supported(&loaded, loaded.description.supports.observe, "observe")?;
        let question = Question {
            name: "observe",
            reach: Reach::Read,
            effect: Some(call),
            mark: &Unmarked,
        };
        let effect = wit::Effect::from(call);
        let Ended { end, evidence, span } = call::run(&self.shared, &loaded, question, |guest, store| {
            Box::pin(async move { guest.tape_connector_connector().call_observe(store, &effect).await })
        })
        .await?;
        let answer = observation_verdict(end, evidence.has_read() || loaded.description.offline);
        span.record("outcome", answer.name());
        Ok(called(&loaded, answer, evidence))
    }

    async fn compensate(
        &self,
        name: &str,
        version: Option<&str>,
        call: &ObligationCall,
        mark: &dyn Mark,
    ) -> Result<Called<CompensateOutcome>, ConnectorError> {
        let loaded = self.find(&call.effect, name, version).await?;
        supported(&loaded, loaded.description.supports.compensate, "compensate")?;
        let question = Question {
            name: "compensate",
            reach: Reach::Change,
            effect: Some(&call.effect),
            mark,
        };
        let obligation = wit::Obligation::from(call);
        let Ended { end, evidence, span } = call::run(&self.shared, &loaded, question, |guest, store| {
            Box::pin(async move {
                guest
                    .tape_connector_connector()
                    .call_compensate(store, &obligation)
                    .await
            })
        })
        .await?;
        let grounded = evidence.has_read() || loaded.description.offline;
        let outcome = match compensation_verdict(end, evidence.furthest(), grounded) {
            CompensateOutcome::Unknown(doubt) => CompensateOutcome::Unknown(with_evidence(doubt, &evidence)),
            outcome => outcome,
        };
        span.record("outcome", outcome.name());
        Ok(called(&loaded, outcome, evidence))
    }
}

fn supported(loaded: &Loaded, supported: bool, what: &str) -> Result<(), ConnectorError> {
    if supported {
        return Ok(());
    }
    Err(ConnectorError::Unsupported {
        name: loaded.name.to_string(),
        what: what.to_owned(),
    })
}

fn called<T>(loaded: &Loaded, outcome: T, evidence: Evidence) -> Called<T> {
    Called {
        outcome,
        evidence,
        version: loaded.version.to_string(),
        digest: loaded.digest.clone(),
    }
}

/// A doubt says what had left, as the host saw it.
fn with_evidence(doubt: Doubt, evidence: &Evidence) -> Doubt {
    Doubt {
        sent: evidence.sent_summary(),
        ..doubt
    }
}

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place in the host where the machine's clock is read"
    )]
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            calls_max: 64,
            tenant_calls_max: 32,
            clock: Arc::new(SystemClock),
            names: Arc::new(SystemNames),
            cache_dir: None,
            cache_bytes_max: 1024 * 1024 * 1024,
            trust: Trust::default(),
            previews: Vec::new(),
        }
    }
}
