//! Where a declared connector's component comes from: a file of the project, or a registry of artifacts.

use std::path::PathBuf;

use tape_connector_artifact::{
    ArtifactCache, ArtifactError, Credentials, Fetched, Reference, Registry, RegistryConfig,
};

use crate::node::NodeError;
use crate::project::{Connector, Project};

/// For one component. A registry that hangs does not hold up a start for longer.
const PULL_TIMEOUT_MS: u64 = 60_000;
/// What was pulled, below the project's folder.
const CACHE: &str = ".tape/artifacts";
const USER: &str = "TAPE_OCI_USER";
const PASSWORD: &str = "TAPE_OCI_PASSWORD";

/// A component, and who vouches for it: signatures, one on a line.
pub(crate) struct Sourced {
    pub(crate) component: Vec<u8>,
    pub(crate) signatures: String,
}

/// Reads or pulls the component of the project's connector `name`.
///
/// # Errors
/// [`NodeError::Config`]: the file cannot be read. [`NodeError::Connector`]: the registry does not give it, and it was not pulled before.
pub(crate) async fn read(project: &Project, name: &str, connector: &Connector) -> Result<Sourced, NodeError> {
    if Reference::is_one(&connector.source) {
        let pulled = pull(project, name, connector).await;
        return pulled.map_err(|error| NodeError::Connector {
            code: error.code(),
            problem: format!("tape.connectors.{name}.source: {error}"),
        });
    }
    let path = project.root.join(&connector.source);
    let component = std::fs::read(&path).map_err(|error| {
        NodeError::Config(format!(
            "tape.connectors.{name}.source is {:?}, which cannot be read ({error}); build it, or correct the path",
            path.display()
        ))
    })?;
    Ok(Sourced {
        component,
        signatures: beside(project, name, connector)?,
    })
}

async fn pull(project: &Project, name: &str, connector: &Connector) -> Result<Sourced, ArtifactError> {
    let place: Reference = connector.source.parse()?;
    let credentials = std::env::var(USER).ok().map(|user| Credentials {
        user,
        password: std::env::var(PASSWORD).unwrap_or_default(),
    });
    let registry = Registry::new(RegistryConfig {
        plain_http: project.plain_http.clone(),
        credentials,
        timeout_ms: PULL_TIMEOUT_MS,
    })?;
    let cache = ArtifactCache::new(cache(project));
    let Fetched { pulled, stale } = cache.pull(&registry, &place).await?;
    if let Some(error) = stale {
        tracing::warn!(connector = name, %error, pinned = %pulled.reference, "what was pulled last is taken");
    }
    let signatures = pulled.signatures.iter().map(|signature| format!("{signature}\n"));
    Ok(Sourced {
        signatures: signatures.collect(),
        component: pulled.component,
    })
}

fn cache(project: &Project) -> PathBuf {
    project.root.join(CACHE)
}

/// Who vouches for a component: what stands in the file beside it, one signature on a line.
fn beside(project: &Project, name: &str, connector: &Connector) -> Result<String, NodeError> {
    let path = project.root.join(format!("{}.sig", connector.source));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(NodeError::Config(format!(
            "the signature of connector {name:?}, {:?}, cannot be read ({error}); make it readable, or delete it",
            path.display()
        ))),
    }
}
