//! Loading the project's connectors into the host.

use std::path::PathBuf;
use std::sync::Arc;

use tape_host::{Clock as HostClock, Deployment, FixedSecrets, Host, HostConfig, Signature};
use tape_port::Clock;

use crate::clock::SystemClock;
use crate::node::NodeError;
use crate::project::{Connector, Project, TenancyMode};

/// Connector calls at the same time, over all connectors.
const CALLS_MAX: u32 = 64;

/// A host with the project's connectors. A connector that cannot be loaded stops the start: an effect that waits for
/// it would only be found much later.
pub(crate) async fn host(project: Option<&Project>, cache_dir: Option<PathBuf>) -> Result<Host, NodeError> {
    let config = HostConfig {
        calls_max: CALLS_MAX,
        tenant_calls_max: tenant_calls_max(project),
        trust: project.map(|project| project.trust.clone()).unwrap_or_default(),
        clock: Arc::new(WallClock),
        cache_dir,
        ..HostConfig::default()
    };
    let host = Host::new(config).map_err(|error| NodeError::Config(error.to_string()))?;
    let Some(project) = project else { return Ok(host) };
    for (name, connector) in &project.connectors {
        let deployment = deployment(project, name, connector)?;
        let signatures = signatures(project, name, connector)?;
        let loaded = host.load_signed(deployment, &signatures).await;
        let info = loaded.map_err(|error| NodeError::Connector {
            code: error.code(),
            problem: error.to_string(),
        })?;
        if let Some(wanted) = connector.version.as_ref().filter(|wanted| **wanted != info.version) {
            return Err(NodeError::Config(format!(
                "tape.connectors.{name}.version is {wanted:?}, and {} is version {:?}; correct one of them",
                connector.source, info.version
            )));
        }
    }
    Ok(host)
}

/// Who vouches for a component: what stands in the file beside it, one signature on a line.
fn signatures(project: &Project, name: &str, connector: &Connector) -> Result<Vec<Signature>, NodeError> {
    let path = project.root.join(format!("{}.sig", connector.source));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(NodeError::Config(format!(
                "the signature of connector {name:?}, {:?}, cannot be read ({error}); make it readable, or delete it",
                path.display()
            )));
        }
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let read = |line: &str| {
        line.parse()
            .map_err(|error| NodeError::Config(format!("{:?} of connector {name:?}: {error}", path.display())))
    };
    lines.map(read).collect()
}

/// Where there is one tenant it may have all; among several none takes more than half.
fn tenant_calls_max(project: Option<&Project>) -> u32 {
    match project.map(|project| project.tenancy.mode) {
        None | Some(TenancyMode::Single) => CALLS_MAX,
        Some(TenancyMode::TrustedMultiApp | TenancyMode::HardMultiTenant) => CALLS_MAX / 2,
    }
}

fn deployment(project: &Project, name: &str, connector: &Connector) -> Result<Deployment, NodeError> {
    let path = project.root.join(&connector.source);
    let component = std::fs::read(&path).map_err(|error| {
        NodeError::Config(format!(
            "tape.connectors.{name}.source is {:?}, which cannot be read ({error}); build it, or correct the path",
            path.display()
        ))
    })?;
    let mut secrets = Vec::new();
    for (secret, source) in &connector.secrets {
        let value = std::env::var(&source.env).map_err(|_| {
            NodeError::Config(format!(
                "secret {secret:?} of connector {name:?} comes from environment variable {}, which is not set; set it",
                source.env
            ))
        })?;
        secrets.push((secret.clone(), value));
    }
    Ok(Deployment {
        tenant: project.tenancy.tenant_id.clone().unwrap_or_default(),
        name: name.to_owned(),
        component,
        config: connector.config.clone(),
        grants: connector.grants.clone(),
        limits: connector.limits,
        secrets: Arc::new(FixedSecrets::from_iter(secrets)),
    })
}

/// The node's clock, as the host asks for it.
struct WallClock;

impl HostClock for WallClock {
    fn now_ms(&self) -> i64 {
        SystemClock.now().0
    }
}
