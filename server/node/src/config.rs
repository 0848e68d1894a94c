//! What a node is told at its start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tape_core::DueKind;
use tape_core::lease::CLAIM_MS;
use tape_reactors::DriverConfig;

use crate::project::Project;

/// Configuration of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where gRPC listens, `host:port`. Port 0 takes a free one.
    pub grpc: String,
    /// Where `/healthz` and `/readyz` listen; none = nowhere.
    pub http: Option<String>,
    /// The store: `sqlite:<path>`, or `memory:` for tests.
    pub store_url: String,
    /// The reactors that run here.
    pub reactors: BTreeMap<DueKind, ReactorConfig>,
    /// The project whose connectors are loaded, if there is one.
    pub project: Option<Project>,
    /// Where compiled connectors are kept between starts: a folder of the server's own; none = nowhere.
    pub connector_cache: Option<PathBuf>,
    /// Listen on other addresses than loopback without TLS and without credentials.
    pub insecure: bool,
    /// TLS of both listeners; none = plaintext.
    pub tls: Option<TlsFiles>,
    /// A file of tokens: who may call, as what, and for which tenant. None = everybody, everything.
    pub auth_tokens: Option<PathBuf>,
    /// How many come in, and when they count as gone.
    pub doors: Doors,
    /// How often the store is counted for the metrics, at most.
    pub count_interval: Duration,
}

/// Limits of the gRPC listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doors {
    /// Connections at the same time, at least 1. Calls on those beyond it are RESOURCE_EXHAUSTED (TAPE-A008).
    pub connections_max: usize,
    /// Calls and streams at the same time on one connection, at least 1: an app's workers and followers share one. HTTP/2
    /// tells the client, which lets further ones wait.
    pub streams_max: u32,
    /// A peer that is silent for so long is pinged, and hung up on after as much again without an answer.
    pub keepalive: Duration,
}

impl Default for Doors {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            streams_max: 1024,
            keepalive: Duration::from_secs(20),
        }
    }
}

/// The server's certificate and its key, PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and those that vouch for it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How one reactor runs.
#[derive(Clone, Debug)]
pub struct ReactorConfig {
    /// How long its claims last, in milliseconds.
    pub claim_ms: i64,
    /// How its driver runs it.
    pub driver: DriverConfig,
}

impl Default for ReactorConfig {
    fn default() -> Self {
        Self {
            claim_ms: CLAIM_MS,
            driver: DriverConfig::default(),
        }
    }
}

impl NodeConfig {
    /// A node on the default addresses, with all reactors, as the project says where there is one.
    #[must_use]
    pub fn new(store_url: impl Into<String>, project: Option<Project>) -> Self {
        let reactors = DueKind::ALL
            .into_iter()
            .filter_map(|kind| {
                let mut config = ReactorConfig::default();
                if let Some(settings) = project
                    .as_ref()
                    .and_then(|project| project.reactors.get(kind.reactor()))
                {
                    if settings.enabled == Some(false) {
                        return None;
                    }
                    if let Some(ms) = settings.interval_ms {
                        config.driver.interval = Duration::from_millis(ms);
                    }
                    if let Some(rows) = settings.concurrency {
                        config.driver.concurrency = usize::try_from(rows).unwrap_or(usize::MAX);
                    }
                    if let Some(ms) = settings.lease_ttl_ms {
                        config.claim_ms = i64::try_from(ms).unwrap_or(i64::MAX);
                    }
                }
                Some((kind, config))
            })
            .collect();
        let doors = project.as_ref().map(|project| project.doors).unwrap_or_default();
        Self {
            grpc: "127.0.0.1:7878".to_owned(),
            http: Some("127.0.0.1:7879".to_owned()),
            store_url: store_url.into(),
            reactors,
            project,
            connector_cache: None,
            insecure: false,
            tls: None,
            auth_tokens: None,
            doors,
            count_interval: Duration::from_secs(10),
        }
    }
}
