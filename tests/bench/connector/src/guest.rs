//! What is called: the probe, built from its sources, and connectors in other languages where they were built.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use tape_connector_kit::Subject;
use tape_connector_port::EffectCall;
use tape_host::Limits;

/// One guest.
pub struct Guest {
    /// What it is written in.
    pub language: String,
    pub component: Vec<u8>,
    pub config: Value,
    pub limits: Limits,
    /// It does what its payload says.
    pub plays: bool,
    operation: String,
    payload: Value,
}

impl Guest {
    /// The Rust one: answers at once, without a request.
    ///
    /// # Panics
    /// It cannot be built.
    #[must_use]
    pub fn probe() -> Self {
        let description = json!({
            "name": "probe", "version": "1.0.0", "contract": "1.0.0", "offline": true,
            "operations": [{"name": "play", "semantics": "NON_IDEMPOTENT"}]
        });
        Self {
            language: "Rust".to_owned(),
            component: tape_connector_tests::component("tape-connector-probe"),
            config: description,
            limits: Limits {
                concurrent_calls: 64,
                ..Limits::default()
            },
            plays: true,
            operation: "play".to_owned(),
            payload: json!({"answer": {"confirmed": {"external_ref": "x", "response": "{}"}}}),
        }
    }

    /// The one in a connector's folder. Its host is not granted: it prepares its request, and is refused.
    ///
    /// # Errors
    /// It was not built.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let subject = Subject::read(folder, Vec::new())?;
        let build = subject.manifest.build.as_ref().context("it has no [build]")?;
        // What a compiler leaves as a module was made a component beside it.
        let artifact = folder.join(&build.artifact);
        let wrapped = artifact.with_extension("component.wasm");
        let built = if wrapped.exists() { wrapped } else { artifact };
        let component = std::fs::read(built)
            .with_context(|| format!("it is not built: tape connector build {}", folder.display()))?;
        let language = match build.command.first().map(String::as_str) {
            Some("npm") => "TypeScript",
            Some("go") => "Go",
            _ if build.command.iter().any(|part| part.contains("componentize-py")) => "Python",
            _ => subject.manifest.name.as_str(),
        };
        let config = subject
            .setup
            .config
            .to_string()
            .replace("{{upstream}}", "https://upstream.example");
        Ok(Self {
            language: language.to_owned(),
            component,
            config: serde_json::from_str(&config)?,
            limits: subject.manifest.limits,
            plays: false,
            operation: subject.setup.effect.operation.clone(),
            payload: subject.setup.effect.payload.clone(),
        })
    }

    /// A dispatch without a request.
    #[must_use]
    pub fn effect(&self, tenant: &str) -> EffectCall {
        self.effect_with(tenant, &self.payload)
    }

    /// A dispatch with this payload.
    #[must_use]
    pub fn effect_with(&self, tenant: &str, payload: &Value) -> EffectCall {
        EffectCall {
            tenant: tenant.to_owned(),
            operation: self.operation.clone(),
            payload_json: payload.to_string(),
            ..tape_connector_tests::effect(&self.operation, payload)
        }
    }
}
