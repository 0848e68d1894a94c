//! From bytes to a connector that can be called: judged before it is compiled, asked who it is before it is accepted.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tape_connector_artifact::Untrusted;
use tape_connector_port::{Asks, Description, GuestEnd, Operation, Semantics, Supports, Unmarked};
use thiserror::Error;
use wasmtime::component::Component;

use crate::breaker::Breaker;
use crate::call::{self, Question};
use crate::contract::{self, GuestPre};
use crate::egress::{BadGrant, Grants, Policy, Reach};
use crate::host::Shared;
use crate::inspect;
use crate::kept::Kept;
use crate::limits::Limits;
use crate::registry::Loaded;
use crate::schema;
use crate::secrets::Secrets;

const COMPONENT_BYTES_MAX: usize = 64 * 1024 * 1024;
const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;
const NAME_BYTES_MAX: usize = 64;

/// A component together with what the operator says about it.
pub struct Deployment {
    pub tenant: String,
    /// What the server calls it: lower-case letters, digits and hyphens, at most 64 bytes.
    pub name: String,
    /// The component's bytes, at most 64 MiB. Never a compiled artifact.
    pub component: Vec<u8>,
    /// What the guest reads through `config`. Must satisfy the schema that the connector describes.
    pub config: Value,
    pub grants: Grants,
    pub limits: Limits,
    pub secrets: Arc<dyn Secrets>,
}

/// Why a connector was not accepted. What was deployed before stays as it is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    #[error(
        "`{name}` is not a connector's name: use lower-case letters, digits and hyphens, at most {NAME_BYTES_MAX} bytes"
    )]
    Name { name: String },
    #[error("connector `{name}` is not a component: {problem}")]
    NotAComponent { name: String, problem: String },
    #[error(
        "connector `{name}` does not fit the contract tape:connector@{}: {problem}; build it against wit/tape-connector@{0}",
        contract::VERSION
    )]
    Contract { name: String, problem: String },
    #[error("connector `{name}` does not describe itself: {problem}")]
    Describe { name: String, problem: String },
    #[error("configuration of connector `{name}`: {problem}")]
    Config { name: String, problem: String },
    #[error("connector `{name}`: {source}")]
    Grant { name: String, source: BadGrant },
    #[error("connector `{name}`: limits.{limit} is {asked}, at most {most} can be granted")]
    Limit {
        name: String,
        limit: &'static str,
        asked: usize,
        most: usize,
    },
    #[error("connector `{name}` is not trusted: {source}")]
    Untrusted { name: String, source: Untrusted },
    #[error("limits of connector `{name}`: {problem}")]
    Limits { name: String, problem: String },
    #[error("the host could not load connector `{name}`: {problem}; try again")]
    Host { name: String, problem: String },
}

impl LoadError {
    /// The stable code, explained by `tape explain`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "TAPE-C020",
            Self::NotAComponent { .. } => "TAPE-C021",
            Self::Contract { .. } => "TAPE-C022",
            Self::Describe { .. } => "TAPE-C023",
            Self::Config { .. } => "TAPE-C024",
            Self::Grant { .. } => "TAPE-C025",
            Self::Limit { .. } | Self::Limits { .. } => "TAPE-C026",
            Self::Host { .. } => "TAPE-C027",
            Self::Untrusted { .. } => "TAPE-C060",
        }
    }

    /// What of the deployment is wrong; empty where the host itself is.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Name { .. } => "name",
            Self::NotAComponent { .. } | Self::Contract { .. } | Self::Describe { .. } => "component",
            Self::Config { .. } => "config_json",
            Self::Grant { .. } => "grants",
            Self::Limit { .. } | Self::Limits { .. } => "grants.limits",
            Self::Untrusted { .. } => "signature",
            Self::Host { .. } => "",
        }
    }
}

/// Judges, compiles and asks; the result is not in the registry yet.
pub async fn load(shared: &Shared, deployment: Deployment) -> Result<Loaded, LoadError> {
    let Deployment {
        tenant,
        name,
        component,
        config,
        grants,
        limits,
        secrets,
    } = deployment;
    check_name(&name)?;
    check_limits(&name, limits)?;
    check_bytes(&name, &component)?;
    let policy = Policy::read(&grants).map_err(|source| LoadError::Grant {
        name: name.clone(),
        source,
    })?;

    if let Some(problem) = inspect::wrong_world(&component, &shared.versions) {
        return Err(LoadError::Contract { name, problem });
    }
    let digest = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(&component)));
    let component = compile(shared, &name, component, &digest).await?;
    let misfit = |error: wasmtime::Error| LoadError::Contract {
        name: name.clone(),
        problem: format!("{error:#}"),
    };
    let instance = shared.linker.instantiate_pre(&component).map_err(misfit)?;
    let component = GuestPre::new(instance).map_err(misfit)?;

    let (name, tenant): (Arc<str>, Arc<str>) = (name.into(), tenant.into());
    let mut loaded = Loaded {
        lane: shared.lanes.aside(&name),
        name,
        tenant,
        version: "".into(),
        digest,
        description: nobody_yet(),
        config_json: config.to_string().into(),
        policy: Arc::new(policy),
        limits,
        secrets,
        breaker: Breaker::default(),
        kept: Kept::new(0),
        component,
    };
    let document = describe(shared, &loaded).await?;
    schema::check(&document.config_schema, &config).map_err(|problem| LoadError::Config {
        name: loaded.name.to_string(),
        problem,
    })?;
    loaded.description = document.into();
    loaded.version = loaded.description.version.as_str().into();
    // What happened while it introduced itself is no call.
    loaded.breaker = Breaker::new(shared.clock.now_ms());
    loaded.kept = Kept::new(grants.reuse_calls);
    loaded.lane = shared.lanes.lane(&loaded.tenant, &loaded.name, &limits);
    Ok(loaded)
}

fn check_name(name: &str) -> Result<(), LoadError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(LoadError::Name { name: name.to_owned() });
    }
    Ok(())
}

fn check_limits(name: &str, limits: Limits) -> Result<(), LoadError> {
    if limits.memory_bytes > Limits::MEMORY_BYTES_MAX {
        let (asked, most) = (limits.memory_bytes, Limits::MEMORY_BYTES_MAX);
        return Err(LoadError::Limit {
            name: name.to_owned(),
            limit: "memory_bytes",
            asked,
            most,
        });
    }
    Ok(())
}

pub(crate) fn check_bytes(name: &str, component: &[u8]) -> Result<(), LoadError> {
    let problem = match component {
        _ if component.len() > COMPONENT_BYTES_MAX => format!("it is larger than {COMPONENT_BYTES_MAX} bytes"),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            "it is a core module; build it for wasm32-wasip2, or wrap it with `wasm-tools component new`".to_owned()
        }
        _ => "it does not begin like one".to_owned(),
    };
    Err(LoadError::NotAComponent {
        name: name.to_owned(),
        problem,
    })
}

/// Off the runtime's threads, one at a time: compiling takes seconds for some languages.
async fn compile(shared: &Shared, name: &str, bytes: Vec<u8>, digest: &str) -> Result<Component, LoadError> {
    let host = |problem: String| LoadError::Host {
        name: name.to_owned(),
        problem,
    };
    let turn = Arc::clone(&shared.compiling)
        .acquire_owned()
        .await
        .map_err(|error| host(error.to_string()))?;
    let (engine, cache, digest) = (shared.engine.clone(), shared.cache.clone(), digest.to_owned());
    let compiled = tokio::task::spawn_blocking(move || {
        // Until it is done, whether or not somebody still waits for it.
        let _turn = turn;
        if let Some(component) = cache.as_ref().and_then(|cache| cache.get(&engine, &digest)) {
            return Ok(component);
        }
        let component = Component::new(&engine, bytes)?;
        if let Some(cache) = cache {
            cache.put(&component, &digest);
        }
        Ok(component)
    });
    let compiled: wasmtime::Result<Component> = compiled.await.map_err(|error| host(error.to_string()))?;
    compiled.map_err(|error| LoadError::NotAComponent {
        name: name.to_owned(),
        problem: format!("{error:#}"),
    })
}

async fn describe(shared: &Shared, loaded: &Loaded) -> Result<Document, LoadError> {
    let refuse = |problem: String| LoadError::Describe {
        name: loaded.name.to_string(),
        problem,
    };
    let question = Question {
        name: "describe",
        reach: Reach::Nothing,
        effect: None,
        mark: &Unmarked,
    };
    let ended =
        call::run::<Result<String, String>, Result<String, String>>(shared, loaded, question, |guest, store| {
            Box::pin(async move { guest.tape_connector_connector().call_describe(store).await })
        });
    let text = match ended.await.map_err(|error| refuse(error.to_string()))?.end {
        GuestEnd::Answer(Err(problem)) => {
            return Err(LoadError::Config {
                name: loaded.name.to_string(),
                problem,
            });
        }
        GuestEnd::Answer(Ok(text)) if text.len() > DESCRIPTION_BYTES_MAX => {
            return Err(refuse(format!(
                "the description is larger than {DESCRIPTION_BYTES_MAX} bytes"
            )));
        }
        GuestEnd::Answer(Ok(text)) => text,
        GuestEnd::Broke(broke) => return Err(refuse(broke.to_string())),
    };
    let document: Document = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    document.check().map_err(refuse)?;
    Ok(document)
}

/// A description as the contract has it: schemas stand in it as JSON. Unknown keys are ignored, so that it can grow.
#[derive(Deserialize)]
struct Document {
    name: String,
    version: String,
    contract: String,
    #[serde(default)]
    summary: String,
    operations: Vec<DocumentOperation>,
    #[serde(default)]
    supports: Supports,
    #[serde(default)]
    offline: bool,
    #[serde(default)]
    config_schema: Value,
    #[serde(default)]
    asks: Asks,
}

#[derive(Deserialize)]
struct DocumentOperation {
    name: String,
    #[serde(default)]
    summary: String,
    semantics: Semantics,
    #[serde(default)]
    payload_schema: Value,
}

impl Document {
    fn check(&self) -> Result<(), String> {
        let major = |version: &str| version.split('.').next().map(str::to_owned);
        if self.name.is_empty() || self.version.is_empty() {
            return Err("name and version must not be empty".to_owned());
        }
        if major(&self.contract) != major(contract::VERSION) {
            return Err(format!(
                "it was built for contract {}, this host speaks {}",
                self.contract,
                contract::VERSION
            ));
        }
        if self.operations.is_empty() {
            return Err("there are no operations".to_owned());
        }
        Ok(())
    }
}

impl From<Document> for Description {
    fn from(document: Document) -> Self {
        let operation = |operation: DocumentOperation| Operation {
            name: operation.name,
            summary: operation.summary,
            semantics: operation.semantics,
            payload_schema: schema_text(&operation.payload_schema),
        };
        Self {
            name: document.name,
            version: document.version,
            contract: document.contract,
            summary: document.summary,
            operations: document.operations.into_iter().map(operation).collect(),
            supports: document.supports,
            offline: document.offline,
            config_schema: schema_text(&document.config_schema),
            asks: document.asks,
        }
    }
}

fn schema_text(schema: &Value) -> String {
    if schema.is_null() {
        String::new()
    } else {
        schema.to_string()
    }
}

/// Stands in until the connector has said who it is.
fn nobody_yet() -> Description {
    Description {
        name: String::new(),
        version: String::new(),
        contract: String::new(),
        summary: String::new(),
        operations: Vec::new(),
        supports: Supports::default(),
        offline: false,
        config_schema: String::new(),
        asks: Asks::default(),
    }
}
