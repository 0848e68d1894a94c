//! `connector.toml`: how the component is built, and what it asks for. A request: the deployment grants, or does not.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use tape_host::Limits;

use crate::Problem;

/// A connector's manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The connector's own name.
    pub name: String,
    /// Semver; the same that it describes itself with.
    pub version: String,
    /// The contract it is built for: `1.0.0`.
    pub contract: String,
    /// How the component is made.
    #[serde(default)]
    pub build: Option<Build>,
    /// What it asks for.
    #[serde(default)]
    pub asks: ManifestAsks,
    /// What one call may use. What is not named has the host's default.
    #[serde(default)]
    pub limits: Limits,
}

/// How the component is made, from within the folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// Variables that the command is given: `{GOOS = "wasip1"}`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What the command leaves, relative to the folder: a component, or a core module that `wit` is put into. `{target}` stands for
    /// cargo's target folder.
    pub artifact: String,
    /// The contract's folder, for languages that leave a core module.
    #[serde(default)]
    pub wit: Option<String>,
    /// Where Go's bindings of the contract are to be written.
    #[serde(default)]
    pub go_bindings: Option<String>,
    /// A file or folder without which the command cannot succeed: `node_modules`.
    #[serde(default)]
    pub needs: Option<String>,
    /// What to do where the command is not there: `pip install componentize-py==0.25.1`.
    #[serde(default)]
    pub cure: String,
}

/// What a connector asks for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManifestAsks {
    /// Hosts to reach.
    pub hosts: Vec<ManifestHost>,
    /// Secrets to name.
    pub secrets: Vec<ManifestSecret>,
}

/// One host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestHost {
    /// `https://api.example.com`, or `config:base_url` for a host that the configuration names.
    pub host: String,
    /// Methods in upper case; empty means GET and HEAD.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Paths at which even POST only reads.
    #[serde(default)]
    pub read_only_paths: Vec<String>,
    /// For the operator, who decides.
    #[serde(default)]
    pub why: String,
}

/// One secret.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestSecret {
    /// As in `{{secret:NAME}}`.
    pub name: String,
    /// For the operator, who decides.
    #[serde(default)]
    pub why: String,
}

impl ManifestAsks {
    /// The methods that are asked for, at whichever host.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        let mut all: Vec<String> = self
            .hosts
            .iter()
            .flat_map(|host| host.methods.iter().cloned())
            .collect();
        all.sort();
        all.dedup();
        all
    }
}

impl Manifest {
    /// The name of the file in a connector's folder.
    pub const FILE: &str = "connector.toml";

    /// Reads the manifest of `folder`.
    ///
    /// # Errors
    /// [`Problem::File`] with the line that makes no sense.
    pub fn read(folder: &Path) -> Result<Self, Problem> {
        let file = folder.join(Self::FILE);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            Problem::file(
                &file,
                format!("{error}; a connector's folder has one: `tape connector new NAME` makes one"),
            )
        })?;
        toml::from_str(&text).map_err(|error| Problem::file(&file, error))
    }
}
