//! Which connectors are there, by tenant and name. A call takes its version once and ends on it; a swap is one pointer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tape_connector_port::{ConnectorError, ConnectorInfo, ConnectorState, Deployable, Description, is_canary};
use tokio::time::Instant;

use crate::breaker::Breaker;
use crate::contract::GuestPre;
use crate::deploy::Source;
use crate::egress::Policy;
use crate::kept::Kept;
use crate::lanes::Lane;
use crate::limits::Limits;
use crate::sandbox::Sandbox;
use crate::secrets::Secrets;

/// Versions that get no calls and stay loaded, for questions about what they dispatched. Others are loaded when they are asked.
const FORMER_LOADED_MAX: usize = 3;
/// A name is called "nearest" only if it resembles the one that was asked for.
const SIMILARITY_MIN: f64 = 0.7;

/// One version of one deployed connector, ready to be called.
pub struct Loaded {
    pub name: Arc<str>,
    pub tenant: Arc<str>,
    /// Under which it is deployed: usually what it calls itself.
    pub version: Arc<str>,
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

/// One version of one deployed connector, loaded or not.
pub struct Slot {
    pub version: Arc<str>,
    /// What it is loaded from; none if it was loaded by hand.
    pub from: Option<(Deployable, Arc<dyn Source>)>,
    loaded: ArcSwapOption<Loaded>,
    pub loading: tokio::sync::Mutex<()>,
    /// When it was asked for last, as a number that rises.
    used: AtomicU64,
}

/// Who answers a call.
pub enum Found {
    Ready(Arc<Loaded>),
    /// It is there, and has to be loaded first.
    Cold(Arc<Slot>),
}

type Key = (Arc<str>, Arc<str>);

#[derive(Clone)]
struct Deployed {
    /// None, one, or two of which the second is the canary; with percents.
    shares: Vec<(Arc<Loaded>, u8)>,
    /// In the order in which they were put.
    versions: Vec<Arc<Slot>>,
}

#[derive(Default)]
pub struct Registry {
    connectors: ArcSwap<BTreeMap<Key, Deployed>>,
    /// Writers one at a time: each copies the map, changes its copy and swaps it in.
    writing: Mutex<()>,
    uses: AtomicU64,
}

impl Registry {
    /// Makes `loaded` the active version of its name. The former ones stay for questions about what they dispatched, unless one has
    /// the same version, which then means this one.
    pub fn put(&self, loaded: Arc<Loaded>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.lane.adopt(&loaded.limits);
        let key = (Arc::clone(&loaded.tenant), Arc::clone(&loaded.name));
        let mut versions = self.versions(&key);
        versions.retain(|slot| slot.version != loaded.version);
        if versions.len() > FORMER_LOADED_MAX {
            versions.drain(..versions.len() - FORMER_LOADED_MAX);
        }
        versions.push(Arc::new(Slot::ready(Arc::clone(&loaded))));
        self.write(
            key,
            Deployed {
                shares: vec![(loaded, 100)],
                versions,
            },
        );
    }

    /// Deploys a connector: these versions, and calls to these. Without versions it is taken away.
    pub fn deploy(&self, tenant: &str, name: &str, versions: Vec<Arc<Slot>>, shares: Vec<(Arc<Loaded>, u8)>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // The lane is the connector's: what its older version was given holds for the canary, too.
        if let Some((loaded, _)) = shares.first() {
            loaded.lane.adopt(&loaded.limits);
        }
        let called = |slot: &Slot| shares.iter().any(|(loaded, _)| loaded.version == slot.version);
        let mut former: Vec<&Arc<Slot>> = versions.iter().filter(|slot| !called(slot)).collect();
        former.sort_by_key(|slot| std::cmp::Reverse(slot.used.load(Ordering::Relaxed)));
        for slot in former.into_iter().skip(FORMER_LOADED_MAX) {
            // Calls that are under way keep it until they end.
            slot.loaded.store(None);
        }
        self.write((tenant.into(), name.into()), Deployed { shares, versions });
    }

    fn write(&self, key: Key, deployed: Deployed) {
        let mut connectors = BTreeMap::clone(&self.connectors.load());
        for (left, _) in connectors.get(&key).into_iter().flat_map(|before| &before.shares) {
            left.kept.retire();
        }
        for (called, _) in &deployed.shares {
            called.kept.revive();
        }
        if deployed.versions.is_empty() {
            connectors.remove(&key);
        } else {
            connectors.insert(key, deployed);
        }
        self.connectors.store(Arc::new(connectors));
    }

    fn versions(&self, key: &Key) -> Vec<Arc<Slot>> {
        let connectors = self.connectors.load();
        connectors
            .get(key)
            .map(|deployed| deployed.versions.clone())
            .unwrap_or_default()
    }

    /// The place of a version: the one that is there, loaded as it is, if it is deployed just like this; otherwise a new one.
    pub fn slot(&self, version: &Deployable, source: &Arc<dyn Source>) -> Arc<Slot> {
        let there = self.deployed(&version.tenant, &version.name, &version.version);
        let same = |slot: &Arc<Slot>| slot.from.as_ref().is_some_and(|(deployed, _)| deployed == version);
        there.filter(same).unwrap_or_else(|| {
            Arc::new(Slot {
                version: version.version.as_str().into(),
                from: Some((version.clone(), Arc::clone(source))),
                loaded: ArcSwapOption::empty(),
                loading: tokio::sync::Mutex::default(),
                used: AtomicU64::new(self.uses.fetch_add(1, Ordering::Relaxed)),
            })
        })
    }

    /// A version that is deployed.
    pub fn deployed(&self, tenant: &str, name: &str, version: &str) -> Option<Arc<Slot>> {
        let versions = self.versions(&(tenant.into(), name.into()));
        versions.into_iter().find(|slot| *slot.version == *version)
    }

    /// Which versions get calls, in words.
    pub fn active(&self, tenant: &str, name: &str) -> Vec<String> {
        let connectors = self.connectors.load();
        let deployed = connectors.get(&(tenant.into(), name.into()));
        let shares = deployed.into_iter().flat_map(|deployed| &deployed.shares);
        shares
            .map(|(loaded, weight)| format!("{} {weight} %", loaded.version))
            .collect()
    }

    /// Takes a connector away with all its versions; whether there was one. Calls in flight end undisturbed.
    pub fn remove(&self, tenant: &str, name: &str) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connectors = BTreeMap::clone(&self.connectors.load());
        let removed = connectors.remove(&(tenant.into(), name.into()));
        self.connectors.store(Arc::new(connectors));
        for (left, _) in removed.iter().flat_map(|before| &before.shares) {
            left.kept.retire();
        }
        removed.is_some()
    }

    /// `version` if it is still there, else the one that is active for `key`: of two always the same for the same key.
    pub fn find(&self, tenant: &str, name: &str, version: Option<&str>, key: &str) -> Result<Found, ConnectorError> {
        let connectors = self.connectors.load();
        let deployed = connectors.get(&(tenant.into(), name.into()));
        let asked = version.and_then(|version| {
            let mut versions = deployed.into_iter().flat_map(|deployed| &deployed.versions);
            versions.find(|slot| *slot.version == *version)
        });
        if let Some(slot) = asked {
            slot.used
                .store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
            return Ok(slot
                .loaded()
                .map_or_else(|| Found::Cold(Arc::clone(slot)), Found::Ready));
        }
        match deployed.and_then(|deployed| deployed.choose(key)) {
            Some(loaded) => Ok(Found::Ready(Arc::clone(loaded))),
            None => {
                let names = connectors
                    .iter()
                    .filter(|((owner, other), deployed)| {
                        &**owner == tenant && &**other != name && !deployed.shares.is_empty()
                    })
                    .map(|((_, name), _)| &**name);
                Err(ConnectorError::Unknown {
                    name: name.to_owned(),
                    nearest: nearest(name, names),
                })
            }
        }
    }

    /// What the version says of itself that gets most calls.
    pub fn describe(&self, tenant: &str, name: &str) -> Option<Description> {
        let connectors = self.connectors.load();
        let deployed = connectors.get(&(tenant.into(), name.into()))?;
        deployed.main().map(|loaded| loaded.description.clone())
    }

    /// Of each connector the version that gets most calls.
    pub fn list(&self) -> Vec<ConnectorInfo> {
        let connectors = self.connectors.load();
        let active = connectors.values().filter_map(Deployed::main);
        active.map(|loaded| loaded.info()).collect()
    }

    /// Drops all idle instances.
    pub fn make_room(&self) {
        for (loaded, _) in self.connectors.load().values().flat_map(|deployed| &deployed.shares) {
            loaded.kept.make_room();
        }
    }

    /// How each version does that gets calls.
    pub fn states(&self) -> Vec<ConnectorState> {
        let connectors = self.connectors.load();
        let active = connectors.values().flat_map(|deployed| &deployed.shares);
        active.map(|(loaded, _)| loaded.state()).collect()
    }
}

impl Deployed {
    fn choose(&self, key: &str) -> Option<&Arc<Loaded>> {
        match &self.shares[..] {
            [(stable, _), (canary, weight)] => Some(if is_canary(key, *weight) { canary } else { stable }),
            shares => shares.first().map(|(loaded, _)| loaded),
        }
    }

    fn main(&self) -> Option<&Arc<Loaded>> {
        // Of equals the first: the one that was there before.
        let main = self.shares.iter().rev().max_by_key(|(_, weight)| *weight);
        main.map(|(loaded, _)| loaded)
    }
}

impl Slot {
    fn ready(loaded: Arc<Loaded>) -> Self {
        Self {
            version: Arc::clone(&loaded.version),
            from: None,
            loaded: ArcSwapOption::from(Some(loaded)),
            loading: tokio::sync::Mutex::default(),
            used: AtomicU64::default(),
        }
    }

    /// The version, if it is loaded.
    pub fn loaded(&self) -> Option<Arc<Loaded>> {
        self.loaded.load_full()
    }

    pub(crate) fn keep(&self, loaded: Arc<Loaded>) {
        self.loaded.store(Some(loaded));
    }
}

impl Loaded {
    pub fn info(&self) -> ConnectorInfo {
        let tally = self.breaker.tally();
        ConnectorInfo {
            name: self.name.to_string(),
            tenant: self.tenant.to_string(),
            app: None,
            version: self.version.to_string(),
            digest: self.digest.clone(),
            description: self.description.clone(),
            calls: tally.calls,
            failures: tally.failures,
            last_error: tally.last_error,
        }
    }
}

impl Loaded {
    pub fn state(&self) -> ConnectorState {
        let tally = self.breaker.tally();
        let (running, running_max) = self.lane.running();
        let (tenant_running, tenant_running_max) = self.lane.tenant_running();
        let (rate_used, rate_max) = self.lane.rate();
        ConnectorState {
            tenant: self.tenant.to_string(),
            name: self.name.to_string(),
            version: self.version.to_string(),
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
