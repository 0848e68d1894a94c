//! The connectors of a process: a host, what it calls, and where their secrets come from.
//!
//! ```text
//! tape.yaml ── declares ──▶ registry in the store ◀── tape connector put, activate, rollback, grant
//!                                  │ followed by every server and every process of reactors
//!                                  ▼
//!                           host: loads, swaps
//! ```
//!
//! The registry is the one truth. A project's file declares connectors, and a declaration is applied when it differs from the one
//! that was applied last: so what an operator does while the server runs stands after a restart, and an edit of the file takes hold.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use tape_connector_port::{Deployable, Misfit, Vouched};
use tape_core::Time;
use tape_core::command::connector::{By, PutVersion, Taken};
use tape_core::connector::{ConnectorName, ConnectorVersion, digest_of};
use tape_host::{Clock as HostClock, Host, HostConfig, Secret, Secrets, Source};
use tape_port::{Clock, Deployments};

use crate::clock::SystemClock;
use crate::node::NodeError;
use crate::project::{Connector, Project, TenancyMode};
use crate::source::{self, Sourced};

/// Connector calls at the same time, over all connectors.
const CALLS_MAX: u32 = 64;
/// Who puts what a project declares.
const DECLARED_BY: &str = "tape.yaml";

/// A host without connectors.
pub(crate) fn host(project: Option<&Project>, cache_dir: Option<PathBuf>) -> Result<Host, NodeError> {
    let config = HostConfig {
        calls_max: CALLS_MAX,
        tenant_calls_max: tenant_calls_max(project),
        trust: project.map(|project| project.trust.clone()).unwrap_or_default(),
        clock: Arc::new(WallClock),
        cache_dir,
        ..HostConfig::default()
    };
    Host::new(config).map_err(|error| NodeError::Config(error.to_string()))
}

/// Where there is one tenant it may have all; among several none takes more than half.
fn tenant_calls_max(project: Option<&Project>) -> u32 {
    match project.map(|project| project.tenancy.mode) {
        None | Some(TenancyMode::Single) => CALLS_MAX,
        Some(TenancyMode::TrustedMultiApp | TenancyMode::HardMultiTenant) => CALLS_MAX / 2,
    }
}

/// A connector that a project's file declares, ready to be put.
pub(crate) struct Declared {
    pub(crate) put: PutVersion,
    pub(crate) component: Vec<u8>,
}

/// Reads and judges what the project declares. One that the host would not take stops the start: an effect that waits for it
/// would only be found much later.
pub(crate) async fn declared(
    project: Option<&Project>,
    host: &Host,
    secrets: &Arc<ProcessSecrets>,
) -> Result<Vec<Declared>, NodeError> {
    let mut all = Vec::new();
    for (name, connector) in project.into_iter().flat_map(|project| &project.connectors) {
        let Some(project) = project else { continue };
        all.push(declaration(project, name, connector, host, secrets).await?);
    }
    Ok(all)
}

/// One of them.
pub(crate) async fn declaration(
    project: &Project,
    name: &str,
    connector: &Connector,
    host: &Host,
    secrets: &Arc<ProcessSecrets>,
) -> Result<Declared, NodeError> {
    let Sourced { component, signatures } = source::read(project, name, connector).await?;
    let text = |document: serde_json::Result<String>| document.map_err(|error| NodeError::Config(error.to_string()));
    let name = ConnectorName::new(project.tenancy.tenant_id.clone().unwrap_or_default(), name);
    let deployable = Deployable {
        tenant: name.tenant.clone(),
        name: name.name.clone(),
        version: String::new(),
        digest: digest_of(&component),
        config_json: connector.config.to_string(),
        grants_json: text(serde_json::to_string(&connector.grants))?,
        limits_json: text(serde_json::to_string(&connector.limits))?,
    };
    let vouched = Vouched::By(signatures);
    let judged = host
        .judge(
            &deployable,
            component.clone(),
            &vouched,
            secrets.of(&name.tenant, &name.name),
        )
        .await
        .map_err(|Misfit { code, message, .. }| NodeError::Connector { code, problem: message })?;
    let version = &judged.description.version;
    if let Some(wanted) = connector.version.as_ref().filter(|wanted| *wanted != version) {
        return Err(NodeError::Config(format!(
            "tape.connectors.{}.version is {wanted:?}, and {} is version {version:?}; correct one of them",
            name.name, connector.source
        )));
    }
    for missing in &judged.missing {
        tracing::warn!(connector = name.name, missing, "it asks for what it was not given");
    }
    let fingerprint = json!([
        deployable.digest,
        deployable.config_json,
        deployable.grants_json,
        deployable.limits_json
    ]);
    let put = PutVersion {
        version: ConnectorVersion {
            version: version.clone(),
            digest: deployable.digest,
            size: component.len() as u64,
            contract: judged.description.contract.clone(),
            description_json: text(serde_json::to_string(&judged.description))?,
            config_json: deployable.config_json,
            grants_json: deployable.grants_json,
            limits_json: deployable.limits_json,
            put_at: Time::ZERO,
            put_by: DECLARED_BY.to_owned(),
            signed_by: judged.signed_by,
        },
        name,
        taken: Taken::Rename,
        activate: true,
        declared: Some(digest_of(fingerprint.to_string().as_bytes())),
        by: By {
            who: DECLARED_BY.to_owned(),
            reason: format!("declared as {}", connector.source),
        },
    };
    Ok(Declared { put, component })
}

/// The values of secrets: those that the project's file gives to a connector of its own tenant, and for all others the environment,
/// `TAPE_SECRET_<NAME>`; for another tenant `TAPE_SECRET_<TENANT>__<NAME>`, so that nobody gets at a secret by granting its name.
#[derive(Default)]
pub(crate) struct ProcessSecrets {
    /// The process's own tenant.
    own: String,
    /// By connector and secret.
    given: BTreeMap<String, BTreeMap<String, Secret>>,
}

impl ProcessSecrets {
    /// What the project gives.
    pub(crate) fn read(project: Option<&Project>) -> Result<Arc<Self>, NodeError> {
        let Some(project) = project else {
            return Ok(Arc::default());
        };
        let mut given: BTreeMap<String, BTreeMap<String, Secret>> = BTreeMap::new();
        for (name, connector) in &project.connectors {
            for (secret, source) in &connector.secrets {
                let value = std::env::var(&source.env).map_err(|_| {
                    NodeError::Config(format!(
                        "secret {secret:?} of connector {name:?} comes from environment variable {}, which is not set; set it",
                        source.env
                    ))
                })?;
                given
                    .entry(name.clone())
                    .or_default()
                    .insert(secret.clone(), Secret::new(value));
            }
        }
        let own = project.tenancy.tenant_id.clone().unwrap_or_default();
        Ok(Arc::new(Self { own, given }))
    }

    /// Those of one connector.
    pub(crate) fn of(self: &Arc<Self>, tenant: &str, name: &str) -> Arc<dyn Secrets> {
        Arc::new(ConnectorSecrets {
            all: self.clone(),
            tenant: tenant.to_owned(),
            name: name.to_owned(),
        })
    }
}

struct ConnectorSecrets {
    all: Arc<ProcessSecrets>,
    tenant: String,
    name: String,
}

impl ConnectorSecrets {
    fn variable(&self, secret: &str) -> String {
        let shout = |text: &str| -> String {
            let plain = |letter: char| {
                if letter.is_ascii_alphanumeric() {
                    letter.to_ascii_uppercase()
                } else {
                    '_'
                }
            };
            text.chars().map(plain).collect()
        };
        if self.tenant == self.all.own {
            format!("TAPE_SECRET_{}", shout(secret))
        } else {
            format!("TAPE_SECRET_{}__{}", shout(&self.tenant), shout(secret))
        }
    }
}

impl Secrets for ConnectorSecrets {
    fn get(&self, name: &str) -> Option<Secret> {
        let ours = self.tenant == self.all.own;
        let given = self
            .all
            .given
            .get(&self.name)
            .filter(|_| ours)
            .and_then(|given| given.get(name));
        given
            .cloned()
            .or_else(|| std::env::var(self.variable(name)).ok().map(Secret::new))
    }

    fn cure(&self, name: &str) -> String {
        format!(
            "set {} where the server and its reactors are started",
            self.variable(name)
        )
    }
}

/// Where the host gets components from: whoever keeps them.
pub(crate) struct Stored {
    pub(crate) deployments: Arc<dyn Deployments>,
    pub(crate) secrets: Arc<ProcessSecrets>,
}

#[async_trait]
impl Source for Stored {
    async fn component(&self, version: &Deployable) -> Result<Vec<u8>, String> {
        let name = ConnectorName::new(&version.tenant, &version.name);
        let component = self.deployments.component_of(&name, &version.version).await;
        component.map_err(|error| error.to_string())
    }

    fn secrets(&self, tenant: &str, name: &str) -> Arc<dyn Secrets> {
        self.secrets.of(tenant, name)
    }
}

/// The node's clock, as the host asks for it.
struct WallClock;

impl HostClock for WallClock {
    fn now_ms(&self) -> i64 {
        SystemClock.now().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_of_one_tenant_is_not_another_tenants() {
        let all = Arc::new(ProcessSecrets {
            own: "home".into(),
            given: BTreeMap::from([(
                "bank".to_owned(),
                BTreeMap::from([("bank-token".to_owned(), Secret::new("s"))]),
            )]),
        });
        assert!(all.of("home", "bank").get("bank-token").is_some());
        assert!(all.of("home", "other").get("bank-token").is_none());
        assert!(all.of("away", "bank").get("bank-token").is_none());
        assert!(
            all.of("home", "x")
                .cure("bank-token")
                .contains("TAPE_SECRET_BANK_TOKEN ")
        );
        assert!(
            all.of("a-b", "x")
                .cure("bank-token")
                .contains("TAPE_SECRET_A_B__BANK_TOKEN ")
        );
    }
}
