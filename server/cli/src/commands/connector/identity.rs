//! Who a component is: by its own word, or by the command line where it does not say without a configuration.

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::folder;

#[derive(clap::Args)]
pub struct IdentityArgs {
    /// The connector's own name, where it does not tell without a configuration
    #[arg(long, requires = "as_version", value_name = "NAME")]
    as_name: Option<String>,
    /// Its version, likewise
    #[arg(long, requires = "as_name", value_name = "VERSION")]
    as_version: Option<String>,
}

/// A connector's own name and version.
#[derive(Debug)]
pub struct Identity {
    pub name: String,
    pub version: String,
}

impl IdentityArgs {
    /// Asks the component, unless the command line says it.
    ///
    /// # Errors
    /// It does not describe itself.
    pub async fn of(&self, connector: Option<&Path>, component: &[u8]) -> anyhow::Result<Identity> {
        if let (Some(name), Some(version)) = (self.as_name.clone(), self.as_version.clone()) {
            return Ok(Identity { name, version });
        }
        let description = match connector {
            Some(folder) => folder::open(folder, component.to_vec()).await?.description().clone(),
            None => tape_connector_kit::describe(component.to_vec(), json!({}))
                .await
                .map_err(folder::explained)
                .context("the component does not say who it is; say it with --as-name and --as-version")?,
        };
        Ok(Identity {
            name: description.name,
            version: description.version,
        })
    }
}
