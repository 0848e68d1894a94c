//! `tape.connectors`: which components are loaded, how they are configured, and what they are granted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tape_connector_artifact::Reference;
use tape_host::{Grants, HostGrant, Limits, PublicKey, SecretGrant, Trust};

use super::section::{ProjectError, Section};

/// One connector of the project.
#[derive(Clone, Debug, PartialEq)]
pub struct Connector {
    /// The component's file, relative to the project's folder; or where it is in a registry of artifacts, `oci://HOST/NAME:TAG`.
    pub source: String,
    /// The version that it must describe itself as; none = any.
    pub version: Option<String>,
    /// What it reads as its configuration: a JSON object.
    pub config: Value,
    /// What it may reach.
    pub grants: Grants,
    /// Where the values of its secrets are, by the secret's name.
    pub secrets: BTreeMap<String, SecretSource>,
    /// What one call may use.
    pub limits: Limits,
}

impl Connector {
    /// The component's file; none if it comes from a registry.
    #[must_use]
    pub fn file(&self, root: &Path) -> Option<PathBuf> {
        (!Reference::is_one(&self.source)).then(|| root.join(&self.source))
    }
}

/// Where a secret's value is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSource {
    /// The environment variable that holds it.
    pub env: String,
}

/// The keys beside the connectors' names.
const STRICT: &str = "strict";
const REQUIRE_SIGNATURE: &str = "require_signature";
const SIGNING_KEYS: &str = "signing_keys";
const PLAIN_HTTP: &str = "plain_http";
const IN_WORKERS: &str = "in_workers";

/// All of the section.
pub struct Connectors {
    /// By name.
    pub by_name: BTreeMap<String, Connector>,
    /// Whether others are refused.
    pub strict: bool,
    /// Those that live in agents' processes.
    pub in_workers: Vec<String>,
    /// Whose signatures count, and whether one is required.
    pub trust: Trust,
    /// Registries that are spoken to without TLS.
    pub plain_http: Vec<String>,
}

/// What the section says.
pub fn read(tape: &Section<'_>) -> Result<Connectors, ProjectError> {
    let section = tape.names("connectors")?;
    let names = section
        .keys()
        .filter(|name| ![STRICT, IN_WORKERS, REQUIRE_SIGNATURE, SIGNING_KEYS, PLAIN_HTTP].contains(name));
    let connectors = names.map(|name| Ok((name.to_owned(), connector(&section, name)?)));
    Ok(Connectors {
        by_name: connectors.collect::<Result<_, ProjectError>>()?,
        strict: section.flag(STRICT)?.unwrap_or(true),
        in_workers: section.texts(IN_WORKERS)?.unwrap_or_default(),
        trust: Trust {
            keys: signing_keys(&section)?,
            required: section.flag(REQUIRE_SIGNATURE)?.unwrap_or(false),
        },
        plain_http: section.texts(PLAIN_HTTP)?.unwrap_or_default(),
    })
}

fn signing_keys(section: &Section<'_>) -> Result<Vec<PublicKey>, ProjectError> {
    let texts = section.texts(SIGNING_KEYS)?.unwrap_or_default();
    let read = |(at, text): (usize, &String)| {
        text.parse().map_err(|_| {
            ProjectError::new(
                &format!("{}[{at}]", section.path(SIGNING_KEYS)),
                text,
                "is no public key",
                "Write ed25519: and 32 bytes in base64, as `tape connector sign` prints it.",
            )
        })
    };
    texts.iter().enumerate().map(read).collect()
}

fn connector(section: &Section<'_>, name: &str) -> Result<Connector, ProjectError> {
    let one = section.section(name, &["source", "version", "config", "grants", "limits"])?;
    let config = match one.get("config") {
        None => Value::Object(Map::new()),
        Some(config @ Value::Object(_)) => config.clone(),
        Some(other) => {
            return Err(ProjectError::new(
                &one.path("config"),
                &other.to_string(),
                "is not a section of keys and values",
                "Write the connector's settings below it.",
            ));
        }
    };
    let (grants, secrets) = grants(&one)?;
    Ok(Connector {
        source: source(&one)?,
        version: one.text("version")?,
        config,
        grants,
        secrets,
        limits: limits(&one)?,
    })
}

fn source(one: &Section<'_>) -> Result<String, ProjectError> {
    let source = one.need_text("source")?;
    if Reference::is_one(&source)
        && let Err(error) = source.parse::<Reference>()
    {
        return Err(ProjectError::new(
            &one.path("source"),
            &source,
            error.to_string(),
            "Name registry, artifact and tag, or the digest that `tape connector push` prints.",
        ));
    }
    Ok(source)
}

fn grants(one: &Section<'_>) -> Result<(Grants, BTreeMap<String, SecretSource>), ProjectError> {
    let section = one.section("grants", &["hosts", "methods", "secrets", "reuse_calls"])?;
    let methods = section.texts("methods")?.unwrap_or_default();
    let hosts = section.list("hosts")?.into_iter().flatten().enumerate();
    let hosts: Vec<HostGrant> = hosts
        .map(|(at, host)| host_grant(&format!("{}[{at}]", section.path("hosts")), host, &methods))
        .collect::<Result<_, _>>()?;

    let (mut granted, mut sources) = (Vec::new(), BTreeMap::new());
    let secrets = section.names("secrets")?;
    for name in secrets.keys() {
        let secret = secrets.section(name, &["env", "hosts"])?;
        let env = secret.need_text("env")?;
        let everywhere = || hosts.iter().map(|grant| grant.host.clone()).collect();
        granted.push(SecretGrant {
            name: name.to_owned(),
            hosts: secret.texts("hosts")?.unwrap_or_else(everywhere),
        });
        sources.insert(name.to_owned(), SecretSource { env });
    }
    let grants = Grants {
        hosts,
        methods: Vec::new(),
        secrets: granted,
        reuse_calls: section
            .at_least_one("reuse_calls")?
            .map_or(0, |calls| u32::try_from(calls).unwrap_or(u32::MAX)),
    };
    Ok((grants, sources))
}

/// A host alone, with the methods that stand beside the list; or a section of its own.
fn host_grant(path: &str, value: &Value, methods: &[String]) -> Result<HostGrant, ProjectError> {
    if let Value::String(host) = value {
        return Ok(HostGrant {
            host: host.clone(),
            methods: methods.to_vec(),
            private: false,
            read_only_paths: Vec::new(),
        });
    }
    let mut grant: HostGrant = serde_json::from_value(value.clone()).map_err(|error| {
        ProjectError::new(
            path,
            &value.to_string(),
            format!("is no grant of a host ({error})"),
            "Write a host, or {host: ..., methods: [...], private: true, read_only_paths: [...]}.",
        )
    })?;
    if grant.methods.is_empty() {
        grant.methods = methods.to_vec();
    }
    Ok(grant)
}

fn limits(one: &Section<'_>) -> Result<Limits, ProjectError> {
    let keys = [
        "timeout_ms",
        "memory_bytes",
        "body_bytes",
        "requests_per_call",
        "log_bytes",
        "concurrent_calls",
        "calls_per_s",
    ];
    let section = one.section("limits", &keys)?;
    let size = |key: &str, default: usize| -> Result<usize, ProjectError> {
        let given = section.at_least_one(key)?;
        Ok(given.map_or(default, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)))
    };
    let defaults = Limits::default();
    Ok(Limits {
        timeout_ms: section.at_least_one("timeout_ms")?.unwrap_or(defaults.timeout_ms),
        memory_bytes: size("memory_bytes", defaults.memory_bytes)?,
        body_bytes: size("body_bytes", defaults.body_bytes)?,
        requests_per_call: size("requests_per_call", defaults.requests_per_call)?,
        log_bytes: size("log_bytes", defaults.log_bytes)?,
        concurrent_calls: size("concurrent_calls", defaults.concurrent_calls)?,
        calls_per_s: section
            .at_least_one("calls_per_s")?
            .map_or(defaults.calls_per_s, |calls| u32::try_from(calls).unwrap_or(u32::MAX)),
    })
}
