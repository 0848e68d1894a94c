//! Hosts with one connector, and calls to it.

use std::sync::Arc;

use serde_json::{Value, json};
use tape_connector_port::{EffectCall, ObligationCall, Receipt};
use tape_host::{
    Deployment, FixedSecrets, Grants, Host, HostConfig, HostGrant, Limits, Names, SecretGrant, SystemNames,
};

use crate::guests::component;

pub const TENANT: &str = "default";
pub const BANK: &str = "bank";
pub const PROBE: &str = "probe";
/// Those that [`Setup::host`] grants.
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PUT", "DELETE"];

/// A deployment in the making: nothing is granted until it is.
pub struct Setup {
    package: &'static str,
    name: &'static str,
    config: Value,
    grants: Grants,
    limits: Limits,
    secrets: Vec<(&'static str, &'static str)>,
}

impl Setup {
    /// The connector that does what its payload says.
    pub fn probe() -> Self {
        Self::new("tape-connector-probe", PROBE, probe_description())
    }

    /// The bank's connector, granted its bank.
    pub fn bank(origin: &str) -> Self {
        Self::new("tape-connector-bank", BANK, json!({"base_url": origin})).host(origin)
    }

    /// A connector of the folder `connectors`, by its package.
    #[must_use]
    pub fn new(package: &'static str, name: &'static str, config: Value) -> Self {
        Self {
            package,
            name,
            config,
            grants: Grants::default(),
            limits: Limits::default(),
            secrets: Vec::new(),
        }
    }

    #[must_use]
    pub fn host(self, host: &str) -> Self {
        self.grant(HostGrant {
            host: host.to_owned(),
            methods: METHODS.map(str::to_owned).to_vec(),
            private: false,
            read_only_paths: Vec::new(),
        })
    }

    #[must_use]
    pub fn grant(mut self, grant: HostGrant) -> Self {
        self.grants.hosts.push(grant);
        self
    }

    #[must_use]
    pub fn secret(mut self, name: &'static str, value: &'static str, hosts: &[&str]) -> Self {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        self.grants.secrets.push(SecretGrant {
            name: name.to_owned(),
            hosts,
        });
        self.secrets.push((name, value));
        self
    }

    /// So many calls are served by one instance.
    #[must_use]
    pub fn reuse(mut self, calls: u32) -> Self {
        self.grants.reuse_calls = calls;
        self
    }

    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    #[must_use]
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.limits);
        self
    }

    pub fn deployment(&self) -> Deployment {
        Deployment {
            tenant: TENANT.to_owned(),
            name: self.name.to_owned(),
            component: component(self.package),
            config: self.config.clone(),
            grants: self.grants.clone(),
            limits: self.limits,
            secrets: Arc::new(self.secrets.iter().copied().collect::<FixedSecrets>()),
        }
    }

    /// A host with this connector alone.
    pub async fn start(&self) -> Host {
        self.start_where(Arc::new(SystemNames)).await
    }

    /// The same in a world with names of its own.
    pub async fn start_where(&self, names: Arc<dyn Names>) -> Host {
        let host = Host::new(HostConfig {
            calls_max: 16,
            names,
            ..HostConfig::default()
        })
        .expect("the host starts");
        host.load(self.deployment()).await.expect("the connector is accepted");
        host
    }
}

pub fn probe_description() -> Value {
    json!({
        "name": "probe", "version": "1.0.0", "contract": "1.0.0",
        "operations": [{"name": "play", "semantics": "NON_IDEMPOTENT"}],
        "supports": {"observe": true, "status_check": true, "compensate": true}
    })
}

/// The first attempt at an effect with this payload.
pub fn effect(operation: &str, payload: &Value) -> EffectCall {
    EffectCall {
        tenant: TENANT.to_owned(),
        app: "treasury".to_owned(),
        run_id: "r-1".to_owned(),
        idempotency_key: "r-1/d-0/wire_money/0".to_owned(),
        decision_index: 0,
        tool: "wire_money".to_owned(),
        operation: operation.to_owned(),
        business_key: Some("inv-7".to_owned()),
        attempt: 1,
        payload_json: payload.to_string(),
        deadline_ms: 0,
        trace_parent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        idempotent: false,
    }
}

/// The first attempt to undo `effect`.
pub fn obligation(effect: EffectCall, receipt: Option<Receipt>, payload: &Value) -> ObligationCall {
    ObligationCall {
        idempotency_key: format!("compensate:{}", effect.idempotency_key),
        effect,
        receipt,
        kind: String::new(),
        payload_json: payload.to_string(),
        attempt: 1,
    }
}
