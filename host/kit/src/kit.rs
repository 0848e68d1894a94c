//! One connector in one host, and everything that is tried on it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tape_connector_port::{ConnectorInfo, Description};
use tape_host::{Deployment, FixedSecrets, Grants, Host, HostConfig, HostGrant, Limits, NoSecrets, SecretGrant};
use tokio::time::Instant;

use crate::world::{Grant, World, millis};
use crate::{Fake, Finding, Line, Problem, Report, Subject, facts, shape};

/// The surroundings of a call to the real upstream.
#[derive(Debug, Clone)]
pub struct Real {
    /// The configuration, as it would be deployed.
    pub config: Value,
    /// Hosts to grant, by the methods that the manifest asks for.
    pub hosts: Vec<String>,
    /// Name to value; each may travel to every granted host.
    pub secrets: BTreeMap<String, String>,
}

/// Who a component says it is, without anything else of its folder.
///
/// # Errors
/// [`Problem::Host`] if the host does not accept it.
pub async fn describe(component: Vec<u8>, config: Value) -> Result<Description, Problem> {
    let host = Host::new(HostConfig::default()).map_err(Problem::host)?;
    let deployment = Deployment {
        tenant: TENANT.to_owned(),
        name: NAME.to_owned(),
        component,
        config,
        grants: Grants::default(),
        limits: Limits {
            memory_bytes: Limits::MEMORY_BYTES_MAX,
            ..Limits::default()
        },
        secrets: Arc::new(NoSecrets),
    };
    Ok(load(&host, deployment).await?.description)
}

/// A few versions of the largest components.
const CACHE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Calls at the same time. The kit makes one after the other.
const CALLS_MAX: u32 = 4;
const TENANT: &str = "default";
/// What a component is called before it has introduced itself.
const NAME: &str = "under-test";

/// A host with one connector.
pub struct Kit {
    /// What is tested.
    pub subject: Subject,
    host: Host,
    info: ConnectorInfo,
    /// Compiled code for as long as the kit is there, if it is kept nowhere else.
    _compiled: Option<tempfile::TempDir>,
}

impl Kit {
    /// Starts a host, and loads the component as its cases configure it.
    ///
    /// # Errors
    /// [`Problem::Host`] if the host does not accept it.
    pub async fn open(subject: Subject) -> Result<Self, Problem> {
        Self::open_with(subject, None).await
    }

    /// The same; compiled code is kept in the folder `cache`, for the next kit over the same component. None: it goes with the kit.
    ///
    /// # Errors
    /// [`Problem::Host`] if the host does not accept the component.
    pub async fn open_with(subject: Subject, cache: Option<PathBuf>) -> Result<Self, Problem> {
        // Every fact has a deployment of its own: without any cache each would compile.
        let (cache_dir, compiled) = match cache {
            Some(dir) => (dir, None),
            None => {
                let compiled = tempfile::tempdir().map_err(Problem::host)?;
                (compiled.path().join("compiled"), Some(compiled))
            }
        };
        let host = Host::new(HostConfig {
            calls_max: CALLS_MAX,
            cache_dir: Some(cache_dir),
            cache_bytes_max: CACHE_BYTES_MAX,
            ..HostConfig::default()
        })
        .map_err(Problem::host)?;
        let fake = Fake::open(Vec::new(), Vec::new()).await.map_err(Problem::host)?;
        let info = load(&host, deployment(&subject, &fake.origin(), &Grant::All, &Value::Null)).await?;
        Ok(Self {
            subject,
            host,
            info,
            _compiled: compiled,
        })
    }

    /// Who the connector says it is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.info.description
    }

    /// `sha256:<hex>` of the component.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.info.digest
    }

    /// Tries everything: facts first, then cases.
    pub async fn run(&self) -> Report {
        self.run_with(&mut |_| ()).await
    }

    /// The same; `seen` is shown every line as soon as it is known.
    pub async fn run_with(&self, seen: &mut dyn FnMut(&Line)) -> Report {
        let mut facts = Vec::new();
        for fact in facts::ALL {
            let began = Instant::now();
            let finding = match (fact.applies)(self) {
                Err(why) => Finding::DoesNotApply(why),
                Ok(()) => finding((fact.hold)(self).await),
            };
            facts.push(line(fact.name.to_owned(), finding, began, seen));
        }
        let mut cases = Vec::new();
        for (file, case) in &self.subject.cases {
            let began = Instant::now();
            let finding = finding(crate::world::play(self, case).await);
            cases.push(line(format!("{file}: {}", case.case), finding, began, seen));
        }
        let description = self.description();
        Report {
            connector: format!("{} {}", description.name, description.version),
            digest: self.info.digest.clone(),
            facts,
            cases,
        }
    }

    /// A fresh upstream, and a fresh deployment that may reach it.
    ///
    /// # Errors
    /// In words for people: the host or the system refused.
    pub async fn world(&self, grant: Grant, config: &Value) -> Result<World, String> {
        let setup = &self.subject.setup;
        let fake = Fake::open(setup.routes.clone(), setup.read_only_paths.clone()).await;
        let fake = fake.map_err(|error| format!("the fake upstream cannot be opened: {error}"))?;
        let origin = match &grant {
            Grant::Nobody(origin) => origin.clone(),
            Grant::All | Grant::None => fake.origin(),
        };
        let deployment = deployment(&self.subject, &origin, &grant, config);
        load(&self.host, deployment)
            .await
            .map_err(|problem| problem.to_string())?;
        let name = self.subject.manifest.name.clone();
        Ok(World::new(self.host.clone(), name, TENANT, setup.clone(), fake))
    }

    /// The real upstream: what is asked here really happens there.
    ///
    /// # Errors
    /// In words for people: the host or the system refused.
    pub async fn real(&self, real: Real) -> Result<World, String> {
        let fake = Fake::open(Vec::new(), Vec::new()).await;
        let fake = fake.map_err(|error| format!("no port is free: {error}"))?;
        let host = |host: &String| HostGrant {
            host: host.clone(),
            read_only_paths: self.subject.setup.read_only_paths.clone(),
            ..HostGrant::default()
        };
        let secret = |name: &String| SecretGrant {
            name: name.clone(),
            hosts: real.hosts.clone(),
        };
        let grants = Grants {
            hosts: real.hosts.iter().map(host).collect(),
            methods: self.subject.manifest.asks.methods(),
            secrets: real.secrets.keys().map(secret).collect(),
            ..Grants::default()
        };
        let deployment = Deployment {
            config: real.config,
            grants,
            secrets: Arc::new(real.secrets.into_iter().collect::<FixedSecrets>()),
            ..deployment(&self.subject, &fake.origin(), &Grant::None, &Value::Null)
        };
        load(&self.host, deployment)
            .await
            .map_err(|problem| problem.to_string())?;
        Ok(World::new(
            self.host.clone(),
            self.subject.manifest.name.clone(),
            TENANT,
            self.subject.setup.clone(),
            fake,
        ))
    }
}

fn finding(held: Result<(), String>) -> Finding {
    held.map_or_else(Finding::Broken, |()| Finding::Holds)
}

fn line(name: String, finding: Finding, began: Instant, seen: &mut dyn FnMut(&Line)) -> Line {
    let took_ms = millis(began.elapsed());
    let line = Line { name, finding, took_ms };
    seen(&line);
    line
}

async fn load(host: &Host, deployment: Deployment) -> Result<ConnectorInfo, Problem> {
    host.load(deployment).await.map_err(|error| Problem::Host {
        code: Some(error.code()),
        problem: error.to_string(),
    })
}

fn deployment(subject: &Subject, origin: &str, grant: &Grant, config: &Value) -> Deployment {
    let setup = &subject.setup;
    let mut merged = setup.config.clone();
    if !config.is_null() {
        shape::merge(&mut merged, config);
    }
    let config = shape::with_upstream(&merged, origin);
    let grants = match grant {
        Grant::None => Grants::default(),
        Grant::All | Grant::Nobody(_) => Grants {
            hosts: vec![HostGrant {
                host: origin.to_owned(),
                read_only_paths: setup.read_only_paths.clone(),
                ..HostGrant::default()
            }],
            methods: subject.manifest.asks.methods(),
            secrets: setup
                .secrets
                .keys()
                .map(|name| SecretGrant {
                    name: name.clone(),
                    hosts: vec![origin.to_owned()],
                })
                .collect(),
            ..Grants::default()
        },
    };
    Deployment {
        tenant: TENANT.to_owned(),
        name: subject.manifest.name.clone(),
        component: subject.component.clone(),
        config,
        grants,
        limits: subject.manifest.limits,
        secrets: Arc::new(
            setup
                .secrets
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect::<FixedSecrets>(),
        ),
    }
}
