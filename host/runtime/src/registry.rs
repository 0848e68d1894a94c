//! Which connectors are there, by tenant and name. A call takes its version once and ends on it; a swap is one pointer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tape_connector_port::{ConnectorError, ConnectorInfo, ConnectorState, Description};
use tokio::time::Instant;

use crate::breaker::Breaker;
use crate::contract::GuestPre;
use crate::egress::Policy;
use crate::kept::Kept;
use crate::lanes::Lane;
use crate::limits::Limits;
use crate::sandbox::Sandbox;
use crate::secrets::Secrets;

/// Former versions that are kept for questions about what they dispatched.
const FORMER_VERSIONS_MAX: usize = 3;
/// A name is called "nearest" only if it resembles the one that was asked for.
const SIMILARITY_MIN: f64 = 0.7;

/// One version of one deployed connector, ready to be called.
pub struct Loaded {
    pub name: Arc<str>,
    pub tenant: Arc<str>,
    pub digest: String,
    pub description: Description,
    pub config_json: Arc<str>,
    pub policy: Arc<Policy>,
    pub limits: Limits,
    pub secrets: Arc<dyn Secrets>,
    pub lane: Arc<Lane>,
    pub breaker: Breaker,
    pub kept: Kept,
    pub component: GuestPre<Sandbox>,
}

type Key = (Arc<str>, Arc<str>);

#[derive(Clone)]
struct Versions {
    active: Arc<Loaded>,
    /// The youngest first.
    former: Vec<Arc<Loaded>>,
}

#[derive(Default)]
pub struct Registry {
    connectors: ArcSwap<BTreeMap<Key, Versions>>,
    /// Writers one at a time: each copies the map, changes its copy and swaps it in.
    writing: Mutex<()>,
}

impl Registry {
    /// Makes `loaded` the active version of its name. The former one stays for questions about what it dispatched, unless it has
    /// the same version, which then means this one.
    pub fn put(&self, loaded: Arc<Loaded>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.lane.adopt(&loaded.limits);
        let mut connectors = BTreeMap::clone(&self.connectors.load());
        let key = (Arc::clone(&loaded.tenant), Arc::clone(&loaded.name));
        let mut former = Vec::new();
        if let Some(versions) = connectors.remove(&key) {
            versions.active.kept.retire();
            former.push(versions.active);
            former.extend(versions.former);
            former.retain(|one| one.description.version != loaded.description.version);
            former.truncate(FORMER_VERSIONS_MAX);
        }
        connectors.insert(key, Versions { active: loaded, former });
        self.connectors.store(Arc::new(connectors));
    }

    /// Takes a connector away with all its versions; whether there was one. Calls in flight end undisturbed.
    pub fn remove(&self, tenant: &str, name: &str) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connectors = BTreeMap::clone(&self.connectors.load());
        let removed = connectors.remove(&(tenant.into(), name.into()));
        self.connectors.store(Arc::new(connectors));
        if let Some(versions) = &removed {
            versions.active.kept.retire();
        }
        removed.is_some()
    }

    /// `version` if it is still there, else the active one.
    pub fn find(&self, tenant: &str, name: &str, version: Option<&str>) -> Result<Arc<Loaded>, ConnectorError> {
        let connectors = self.connectors.load();
        let Some(versions) = connectors.get(&(tenant.into(), name.into())) else {
            let names = connectors
                .keys()
                .filter(|(owner, _)| &**owner == tenant)
                .map(|(_, name)| &**name);
            return Err(ConnectorError::Unknown {
                name: name.to_owned(),
                nearest: nearest(name, names),
            });
        };
        let asked = version.and_then(|version| versions.former.iter().find(|one| one.description.version == version));
        Ok(Arc::clone(asked.unwrap_or(&versions.active)))
    }

    pub fn list(&self) -> Vec<ConnectorInfo> {
        self.connectors
            .load()
            .values()
            .map(|versions| versions.active.info())
            .collect()
    }

    /// Drops all idle instances.
    pub fn make_room(&self) {
        for versions in self.connectors.load().values() {
            versions.active.kept.make_room();
        }
    }

    pub fn states(&self) -> Vec<ConnectorState> {
        self.connectors
            .load()
            .values()
            .map(|versions| versions.active.state())
            .collect()
    }
}

impl Loaded {
    pub fn info(&self) -> ConnectorInfo {
        let tally = self.breaker.tally();
        ConnectorInfo {
            name: self.name.to_string(),
            tenant: self.tenant.to_string(),
            version: self.description.version.clone(),
            digest: self.digest.clone(),
            description: self.description.clone(),
            calls: tally.calls,
            failures: tally.failures,
            last_error: tally.last_error,
        }
    }

    pub fn state(&self) -> ConnectorState {
        let tally = self.breaker.tally();
        let (running, running_max) = self.lane.running();
        let (tenant_running, tenant_running_max) = self.lane.tenant_running();
        let (rate_used, rate_max) = self.lane.rate();
        ConnectorState {
            tenant: self.tenant.to_string(),
            name: self.name.to_string(),
            version: self.description.version.clone(),
            digest: self.digest.clone(),
            circuit: self.breaker.circuit(Instant::now()),
            calls: tally.calls,
            failures: tally.failures,
            last_error: tally.last_error,
            running,
            running_max,
            tenant_running,
            tenant_running_max,
            rate_used,
            rate_max,
            refused: self.lane.refused(),
        }
    }
}

fn nearest<'a>(asked: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let scored = names.map(|name| (strsim::jaro_winkler(asked, name), name));
    let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 >= SIMILARITY_MIN).then(|| best.1.to_owned())
}
