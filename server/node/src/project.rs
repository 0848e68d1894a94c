//! `tape.yaml`: what a project runs, where it keeps it, and what its connectors may reach.
//!
//! ```text
//! text ─ YAML ─▶ tree ─ ${VAR:-default} filled in ─▶ sections, key by key ─▶ Project
//! ```
//!
//! Strict: a key that is not known is an error that names the nearest one that is. Each error names key, value and cure.
//! The environment wins over the file: `TAPE_URL`, `TAPE_STORE_URL`, `TAPE_TENANT_ID`.

mod connectors;
mod doors;
mod interpolate;
mod retention;
mod section;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

pub use connectors::{Connector, SecretSource};
pub use section::ProjectError;
use section::Section;

use crate::config::Doors;

/// The file's name.
pub const FILE: &str = "tape.yaml";
/// Where a server listens when nobody says otherwise.
pub const DEFAULT_URL: &str = "tape://127.0.0.1:7878";
/// Where a project's development server keeps its runs when nobody says otherwise.
pub const DEFAULT_STORE_URL: &str = "sqlite:.tape/dev.db";
/// The five kinds of reactor, as the file names them.
pub const REACTORS: [&str; 5] = ["recovery", "reconciler", "outbox", "timers", "compensation"];

/// A project, as its file and the environment describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// The folder of the file. Relative paths in it start here, and so do the project's processes.
    pub root: PathBuf,
    /// `project.name`.
    pub name: String,
    /// `agent`: the app and its process, if the project has one.
    pub agent: Option<Agent>,
    /// `tape.url`: where the server is, `tape://host:port` or `tapes://host:port`.
    pub url: String,
    /// `tape.store.url`.
    pub store_url: String,
    /// `tape.reactors`, by kind; one that is not named has its defaults.
    pub reactors: BTreeMap<String, ReactorSettings>,
    /// `tape.connectors`, by name.
    pub connectors: BTreeMap<String, Connector>,
    /// `tape.connectors.strict`: an effect through a connector that is not among them is refused. On unless it says no.
    pub strict_connectors: bool,
    /// `tape.connectors.in_workers`: those that live in agents' processes, known also while none of these is attached.
    pub connectors_in_workers: Vec<String>,
    /// `tape.connectors.signing_keys` and `require_signature`: whose word on a component counts, and whether one is needed.
    pub trust: tape_host::Trust,
    /// `tape.connectors.plain_http`: registries of artifacts (`HOST[:PORT]`) that are spoken to without TLS.
    pub plain_http: Vec<String>,
    /// `tape.retention`: after how long runs that have ended lose their payloads, by the number of their status. One that
    /// is not named is kept whole.
    pub retention: BTreeMap<u8, Duration>,
    /// `tape.server`: limits of its listener.
    pub doors: Doors,
    /// `tenancy`.
    pub tenancy: Tenancy,
}

/// `agent`: how the app is called and started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The framework that it is written for; for people.
    pub framework: String,
    /// The app whose runs it drives.
    pub app_name: String,
    /// `module:attr` of the function that makes its runner; read by the SDK's worker.
    pub runner_factory: String,
    /// The command that starts its worker. Not empty.
    pub command: Vec<String>,
}

/// `tape.reactors.<kind>`. What is not said is the reactor's own default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReactorSettings {
    /// Whether this server runs it; yes unless it says no.
    pub enabled: Option<bool>,
    /// The longest pause between two passes.
    pub interval_ms: Option<u64>,
    /// How much it works on at the same time.
    pub concurrency: Option<u64>,
    /// How long its claim on a row lasts without renewal.
    pub lease_ttl_ms: Option<u64>,
}

/// `tenancy`: whose runs these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenancy {
    /// How tenants are told apart.
    pub mode: TenancyMode,
    /// The tenant of everything that does not name one.
    pub tenant_id: Option<String>,
}

/// How tenants are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TenancyMode {
    /// There is one.
    Single,
    /// Requests may name theirs, and are believed.
    TrustedMultiApp,
    /// It comes from the caller's verified credentials.
    HardMultiTenant,
}

/// What the environment says about a variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Project {
    /// Reads `file`, with this process's environment.
    ///
    /// # Errors
    /// [`ProjectError`] if it cannot be read or says something that cannot be.
    pub fn load(file: &Path) -> Result<Self, ProjectError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            ProjectError::new(
                "",
                "",
                format!("cannot be read ({error})"),
                "Go to the project's folder, or make a project with `tape init NAME`.",
            )
            .in_file(file)
        })?;
        // A file without a folder in its name lies in the current one.
        let root = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        Self::parse(&text, root, &|name| std::env::var(name).ok()).map_err(|error| error.in_file(file))
    }

    /// Reads `text`, the content of a file in folder `root`.
    ///
    /// # Errors
    /// [`ProjectError`] for the first thing that cannot be.
    pub fn parse(text: &str, root: &Path, env: Environment<'_>) -> Result<Self, ProjectError> {
        let mut tree: Value = serde_saphyr::from_str(text).map_err(|error| {
            ProjectError::new(
                "",
                "",
                format!("is no YAML: {error}"),
                "Correct the line that it names.",
            )
        })?;
        interpolate::fill(&mut tree, "", env)?;
        let top = Section::top(&tree, &["apiVersion", "kind", "project", "agent", "tape", "tenancy"])?;
        top.exactly("apiVersion", "tape.dev/v1")?;
        top.exactly("kind", "TapeProject")?;

        let project = top.need_section("project", &["name"])?;
        let tape = top.section(
            "tape",
            &["url", "store", "reactors", "connectors", "retention", "server"],
        )?;
        let store = tape.section("store", &["url"])?;
        let connectors = connectors::read(&tape)?;
        let overridden = |variable: &str| env(variable).filter(|value| !value.is_empty());

        let url = overridden("TAPE_URL").or(tape.text("url")?);
        let url = url.unwrap_or_else(|| DEFAULT_URL.to_owned());
        if !(url.starts_with("tape://") || url.starts_with("tapes://")) {
            return Err(ProjectError::new(
                "tape.url",
                &url,
                "is not the URL of a Tape server",
                "Write tape://host:port, or tapes://host:port for TLS.",
            ));
        }
        let store_url = overridden("TAPE_STORE_URL").or(store.text("url")?);
        Ok(Self {
            root: root.to_owned(),
            name: project.need_text("name")?,
            agent: agent(&top)?,
            url,
            store_url: store_url.unwrap_or_else(|| DEFAULT_STORE_URL.to_owned()),
            reactors: reactors(&tape)?,
            connectors: connectors.by_name,
            strict_connectors: connectors.strict,
            connectors_in_workers: connectors.in_workers,
            trust: connectors.trust,
            plain_http: connectors.plain_http,
            retention: retention::read(&tape)?,
            doors: doors::read(&tape)?,
            tenancy: tenancy(&top, overridden("TAPE_TENANT_ID"))?,
        })
    }

    /// The app whose runs this project drives: its agent's, or else the project's own name.
    #[must_use]
    pub fn app_name(&self) -> &str {
        self.agent.as_ref().map_or(&self.name, |agent| &agent.app_name)
    }
}

fn agent(top: &Section<'_>) -> Result<Option<Agent>, ProjectError> {
    if !top.has("agent") {
        return Ok(None);
    }
    let agent = top.section("agent", &["framework", "app_name", "runner_factory", "command"])?;
    let runner_factory = agent.need_text("runner_factory")?;
    if !runner_factory.contains(':') {
        return Err(ProjectError::new(
            "agent.runner_factory",
            &runner_factory,
            "does not name a function",
            "Write module:attr, for example app.agent:runner_factory.",
        ));
    }
    let command = agent.texts("command")?;
    let command = command.unwrap_or_else(|| ["python", "-m", "tape.worker"].map(str::to_owned).to_vec());
    if command.is_empty() {
        return Err(ProjectError::new(
            "agent.command",
            "[]",
            "starts nothing",
            "Write the command as a list, for example [python, -m, tape.worker].",
        ));
    }
    Ok(Some(Agent {
        framework: agent.text("framework")?.unwrap_or_else(|| "adk-python".to_owned()),
        app_name: agent.need_text("app_name")?,
        runner_factory,
        command,
    }))
}

fn reactors(tape: &Section<'_>) -> Result<BTreeMap<String, ReactorSettings>, ProjectError> {
    let reactors = tape.section("reactors", &REACTORS)?;
    let mut all = BTreeMap::new();
    for kind in REACTORS {
        if !reactors.has(kind) {
            continue;
        }
        let one = reactors.section(kind, &["enabled", "interval_ms", "concurrency", "lease_ttl_ms"])?;
        let settings = ReactorSettings {
            enabled: one.flag("enabled")?,
            interval_ms: one.at_least_one("interval_ms")?,
            concurrency: one.at_least_one("concurrency")?,
            lease_ttl_ms: one.at_least_one("lease_ttl_ms")?,
        };
        all.insert(kind.to_owned(), settings);
    }
    Ok(all)
}

fn tenancy(top: &Section<'_>, tenant_id: Option<String>) -> Result<Tenancy, ProjectError> {
    let tenancy = top.section("tenancy", &["mode", "tenant_id"])?;
    let mode = match tenancy.text("mode")?.as_deref() {
        None | Some("single") => TenancyMode::Single,
        Some("trusted_multi_app") => TenancyMode::TrustedMultiApp,
        Some("hard_multi_tenant") => TenancyMode::HardMultiTenant,
        Some(other) => {
            return Err(ProjectError::new(
                "tenancy.mode",
                other,
                "is no way to tell tenants apart",
                "Write single, trusted_multi_app or hard_multi_tenant.",
            ));
        }
    };
    let tenant_id = match tenant_id {
        Some(named) => Some(named),
        None => tenancy.text("tenant_id")?,
    };
    Ok(Tenancy { mode, tenant_id })
}

#[cfg(test)]
mod damage;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
