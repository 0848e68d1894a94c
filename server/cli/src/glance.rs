//! A look at a project's store when no server runs: one is started for the moment, without reactors and connectors, and stopped.

use std::sync::Arc;
use std::time::Duration;

use tape_client::TapeClient;
use tape_node::project::Project;

use crate::cx::shown;
use crate::server_process::{self, ServerProcess, ServerSpec};
use crate::{ports, ui};

const STOP_MAX: Duration = Duration::from_secs(10);

/// A server that works on nothing.
pub struct Glance {
    server: ServerProcess,
}

impl Glance {
    /// Looks at the project's store; none if it has not been made yet. Says on stderr that it does.
    ///
    /// # Errors
    /// When the server does not start on that store.
    pub async fn open(project: &Project, url: &str) -> anyhow::Result<Option<Self>> {
        let Some(file) = server_process::store_file(&project.store_url, &project.root) else {
            return Ok(None);
        };
        if !file.exists() {
            return Ok(None);
        }
        ui::talk(format!(
            "No server at {url}: looking into {} for a moment.",
            shown(&file, &project.root)
        ));
        let [port, http_port] = ports::free()?;
        let spec = ServerSpec {
            binary: server_process::binary(None)?,
            folder: project.root.clone(),
            port,
            http_port,
            store_url: project.store_url.clone(),
            reactors: "none".to_owned(),
            config: None,
            claim_ttl_ms: None,
            env: Vec::new(),
        };
        let server = ServerProcess::start(&spec, Arc::new(|_, _| ())).await?;
        Ok(Some(Self { server }))
    }

    /// The connection to it.
    #[must_use]
    pub fn client(&self) -> TapeClient {
        self.server.client.clone()
    }

    /// Stops it.
    pub async fn close(mut self) {
        self.server.process.stop(STOP_MAX).await;
    }
}
