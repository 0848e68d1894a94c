//! Versions as a registry deploys them, and where their components come from.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tape_connector_port::Deployable;
use tape_host::{NoSecrets, Secrets, Source};

use crate::calls::{PROBE, TENANT, probe_description};
use crate::guests::component;

/// The probe under a version, granted one host and so many calls of one instance.
#[must_use]
pub fn probe_version(version: &str, origin: &str, reuse_calls: u32) -> Deployable {
    let grants = json!({"hosts": [origin], "methods": ["GET", "POST"], "reuse_calls": reuse_calls});
    Deployable {
        tenant: TENANT.to_owned(),
        name: PROBE.to_owned(),
        version: version.to_owned(),
        config_json: probe_description().to_string(),
        grants_json: grants.to_string(),
        ..Deployable::default()
    }
}

/// Gives the probe for every version, and remembers who asked.
#[derive(Default)]
pub struct Components(Mutex<Vec<String>>);

impl Components {
    /// The versions whose component was asked for, in that order.
    pub fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait::async_trait]
impl Source for Components {
    async fn component(&self, version: &Deployable) -> Result<Vec<u8>, String> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(version.version.clone());
        drop(asked);
        Ok(component("tape-connector-probe"))
    }

    fn secrets(&self, _: &str, _: &str) -> Arc<dyn Secrets> {
        Arc::new(NoSecrets)
    }
}
