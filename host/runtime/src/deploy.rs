//! Following what is deployed: which versions there are, and which of them calls go to.
//!
//! ```text
//! judge(component) ─▶ would it be taken?
//! deploy(versions, shares) ─▶ load what gets calls ─▶ swap ─▶ calls that begin now go there; those under way end where they are
//!                             the others are loaded when somebody asks them about what they did
//! ```

use std::sync::Arc;

use async_trait::async_trait;
use tape_connector_artifact::{Signature, Trust, Untrusted};
use tape_connector_port::{ConnectorError, Deployable, EffectCall, Judged, Misfit, Vouched};
use url::Url;

use crate::egress::{BadGrant, Grants};
use crate::host::{Host, Shared};
use crate::limits::Limits;
use crate::load::{self, Deployment, LoadError};
use crate::registry::{Found, Loaded, Slot};
use crate::secrets::Secrets;

/// Where the bytes of components come from, and the values of their secrets.
#[async_trait]
pub trait Source: Send + Sync {
    /// The component of a version.
    ///
    /// # Errors
    /// Why it cannot be had now, for people.
    async fn component(&self, version: &Deployable) -> Result<Vec<u8>, String>;

    /// The secrets of a connector.
    fn secrets(&self, tenant: &str, name: &str) -> Arc<dyn Secrets>;
}

/// How a connector is to be deployed: all of its versions, and which of them get calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    pub tenant: String,
    pub name: String,
    /// In the order in which they were put.
    pub versions: Vec<Deployable>,
    /// Version and percent: none, one, or two of which the second is the canary.
    pub shares: Vec<(String, u8)>,
}

impl Host {
    /// Whether the host would take a component: contract, description, configuration, grants, limits. It is compiled on the way, so
    /// that nobody waits for that later.
    ///
    /// # Errors
    /// [`Misfit`] names what is wrong.
    pub async fn judge(
        &self,
        version: &Deployable,
        component: Vec<u8>,
        vouched: &Vouched,
        secrets: Arc<dyn Secrets>,
    ) -> Result<Judged, Misfit> {
        let untrusted = |source: Untrusted| {
            misfit(LoadError::Untrusted {
                name: version.name.clone(),
                source,
            })
        };
        // Before anything of it is looked at.
        let signatures = match vouched {
            Vouched::By(text) => Some(signatures(text)?),
            Vouched::Before => None,
        };
        let digest = tape_connector_artifact::digest(&component);
        let signed = match &signatures {
            Some(signatures) => self.shared.trust.check(&digest, signatures).map_err(untrusted)?,
            None => None,
        };
        let deployment = deployment(version, component, secrets).map_err(misfit)?;
        let loaded = load::load(&self.shared, deployment).await.map_err(misfit)?;
        if let Some(signed) = signed {
            let description = &loaded.description;
            Trust::check_name(signed, &description.name, &description.version).map_err(untrusted)?;
        }
        Ok(Judged {
            signed_by: signed.map(|signed| signed.key.clone()).unwrap_or_default(),
            missing: missing(&loaded),
            description: loaded.description,
            digest: loaded.digest,
        })
    }

    /// Deploys a connector as it is wanted. Versions that get calls are loaded first; then all calls that begin go to them.
    ///
    /// # Errors
    /// [`LoadError`]: one of them cannot be loaded. Calls go where they went before.
    pub async fn deploy(&self, wanted: &Wanted, source: &Arc<dyn Source>) -> Result<(), LoadError> {
        let registry = &self.shared.registry;
        let slots: Vec<Arc<Slot>> = wanted
            .versions
            .iter()
            .map(|version| registry.slot(version, source))
            .collect();
        let mut shares = Vec::with_capacity(wanted.shares.len());
        for (version, weight) in &wanted.shares {
            let slot = slots.iter().find(|slot| *slot.version == **version);
            let slot = slot.ok_or_else(|| LoadError::Host {
                name: wanted.name.clone(),
                problem: format!("version {version} is to be called and is not there"),
            })?;
            shares.push((slot.warm(&self.shared).await?, *weight));
        }
        let before = registry.active(&wanted.tenant, &wanted.name);
        let after: Vec<String> = shares
            .iter()
            .map(|(loaded, weight)| format!("{} {weight} %", loaded.version))
            .collect();
        registry.deploy(&wanted.tenant, &wanted.name, slots, shares);
        if before != after {
            tracing::info!(
                connector = wanted.name,
                tenant = wanted.tenant,
                active = after.join(", "),
                "connector swapped"
            );
        }
        Ok(())
    }

    /// Loads a version that gets no calls yet, so that it can get them at once.
    ///
    /// # Errors
    /// [`LoadError`]: it cannot be loaded now.
    pub async fn warm(&self, tenant: &str, name: &str, version: &str) -> Result<(), LoadError> {
        match self.shared.registry.deployed(tenant, name, version) {
            Some(slot) => slot.warm(&self.shared).await.map(drop),
            None => Ok(()),
        }
    }

    /// Who answers a call: the version that is asked for if it is there, else one that is active.
    pub(crate) async fn find(
        &self,
        call: &EffectCall,
        name: &str,
        version: Option<&str>,
    ) -> Result<Arc<Loaded>, ConnectorError> {
        match self
            .shared
            .registry
            .find(&call.tenant, name, version, &call.idempotency_key)?
        {
            Found::Ready(loaded) => Ok(loaded),
            Found::Cold(slot) => slot.warm(&self.shared).await.map_err(|error| ConnectorError::Broke {
                name: name.to_owned(),
                message: error.to_string(),
            }),
        }
    }
}

impl Slot {
    /// The version, loaded if it is not yet. Whoever else wants it meanwhile waits for the same loading.
    pub(crate) async fn warm(&self, shared: &Shared) -> Result<Arc<Loaded>, LoadError> {
        if let Some(loaded) = self.loaded() {
            return Ok(loaded);
        }
        let _one = self.loading.lock().await;
        if let Some(loaded) = self.loaded() {
            return Ok(loaded);
        }
        let host = |problem: String| LoadError::Host {
            name: self.version.to_string(),
            problem,
        };
        let Some((spec, source)) = &self.from else {
            return Err(host("it was loaded by hand and is gone".to_owned()));
        };
        let component = source.component(spec).await.map_err(host)?;
        let secrets = source.secrets(&spec.tenant, &spec.name);
        let loaded = load::load(shared, deployment(spec, component, secrets)?).await?;
        if !spec.digest.is_empty() && loaded.digest != spec.digest {
            return Err(host(format!("its bytes are {} and not {}", loaded.digest, spec.digest)));
        }
        let loaded = Arc::new(Loaded {
            version: Arc::clone(&self.version),
            ..loaded
        });
        self.keep(Arc::clone(&loaded));
        Ok(loaded)
    }
}

fn deployment(version: &Deployable, component: Vec<u8>, secrets: Arc<dyn Secrets>) -> Result<Deployment, LoadError> {
    let name = || version.name.clone();
    let grants: Grants = document(&version.grants_json).map_err(|problem| LoadError::Grant {
        name: name(),
        source: BadGrant {
            grant: "grants".to_owned(),
            problem,
        },
    })?;
    let limits: Limits =
        document(&version.limits_json).map_err(|problem| LoadError::Limits { name: name(), problem })?;
    let config = match document::<serde_json::Value>(&version.config_json) {
        Ok(serde_json::Value::Null) => serde_json::Value::Object(serde_json::Map::new()),
        Ok(config @ serde_json::Value::Object(_)) => config,
        Ok(_) => {
            return Err(LoadError::Config {
                name: name(),
                problem: "it is a JSON object, {\"key\": value, ...}".to_owned(),
            });
        }
        Err(problem) => return Err(LoadError::Config { name: name(), problem }),
    };
    Ok(Deployment {
        tenant: version.tenant.clone(),
        name: version.name.clone(),
        component,
        config,
        grants,
        limits,
        secrets,
    })
}

/// Signatures as they stand in a file beside a component: one on a line.
fn signatures(text: &str) -> Result<Vec<Signature>, Misfit> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let read = |line: &str| {
        line.parse::<Signature>().map_err(|error| Misfit {
            code: "TAPE-C048",
            field: "signature",
            message: format!(
                "the signature cannot be read: {error}; send what `tape connector sign` writes, one on a line"
            ),
        })
    };
    lines.map(read).collect()
}

fn document<T: serde::de::DeserializeOwned + Default>(text: &str) -> Result<T, String> {
    if text.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// What the connector asks for and cannot have: each with its cure.
fn missing(loaded: &Loaded) -> Vec<String> {
    let config: serde_json::Value = serde_json::from_str(&loaded.config_json).unwrap_or_default();
    let why = |why: &str| {
        if why.is_empty() {
            String::new()
        } else {
            format!(" ({why})")
        }
    };
    let mut missing = Vec::new();
    for ask in &loaded.description.asks.hosts {
        let asked = match ask.host.strip_prefix("config:") {
            None => Some(ask.host.as_str()),
            Some(key) => config.get(key).and_then(serde_json::Value::as_str),
        };
        // A host that the configuration does not name is not needed.
        let Some(origin) = asked.and_then(origin) else { continue };
        let methods = ask.methods.iter().map(String::as_str);
        let refused: Vec<&str> = methods
            .filter(|method| !loaded.policy.reaches_by(method, &origin))
            .collect();
        let why = why(&ask.why);
        if !loaded.policy.reaches(&origin) {
            let by = if refused.is_empty() {
                String::new()
            } else {
                format!("={}", refused.join(","))
            };
            missing.push(format!("host {origin}{why}: --grant {origin}{by}"));
        } else if !refused.is_empty() {
            let methods = refused.join(",");
            missing.push(format!("{methods} at {origin}{why}: --grant {origin}={methods}"));
        }
    }
    for ask in &loaded.description.asks.secrets {
        let granted = loaded.policy.secret_names().any(|name| name == ask.name);
        if !granted {
            missing.push(format!("secret {}{}: --secret {0}=HOST", ask.name, why(&ask.why)));
        } else if loaded.secrets.get(&ask.name).is_none() {
            missing.push(format!(
                "secret {} is granted and has no value here: {}",
                ask.name,
                loaded.secrets.cure(&ask.name)
            ));
        }
    }
    missing
}

fn origin(text: &str) -> Option<String> {
    let text = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    Some(Url::parse(&text).ok()?.origin().ascii_serialization())
}

fn misfit(error: LoadError) -> Misfit {
    Misfit {
        code: error.code(),
        field: error.field(),
        message: error.to_string(),
    }
}
