//! The services over a store in memory, in this process and without a socket: bytes in, a gRPC status out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use prost::bytes::Bytes;
use tape_api::{ServerInfo, Services, Tenancy, WorkerHub};
use tape_connector_port::NoConnectors;
use tape_core::Time;
use tape_engine::{Engine, EngineConfig};
use tape_port::{Clock, Luck};
use tape_reactors::ReportBoard;
use tape_store_memory::MemoryStore;
use tonic::Code;
use tonic::service::Routes;
use tower_service::Service as _;

/// How long an answer may take; what waits for something is asked to wait no longer. Under paused time it costs nothing.
const ANSWER_WITHIN: Duration = Duration::from_secs(3_600);
/// How long a stream is listened to.
const LISTEN: Duration = Duration::from_millis(10);

struct StandingStill(AtomicU64);

impl Clock for StandingStill {
    fn now(&self) -> Time {
        Time(1_000_000)
    }
}

impl Luck for StandingStill {
    fn fresh(&self) -> String {
        format!("fresh-{}", self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn jitter(&self) -> u16 {
        1_000
    }
}

/// A server. Ask it in a runtime whose time is paused.
pub struct Rig {
    routes: Routes,
}

impl Rig {
    /// One with an empty store.
    #[must_use]
    pub fn new() -> Self {
        let still = || Arc::new(StandingStill(AtomicU64::new(0)));
        let connectors = Arc::new(NoConnectors);
        let store = Arc::new(MemoryStore::new());
        let engine = Arc::new(Engine::new(
            store,
            still(),
            still(),
            connectors.clone(),
            EngineConfig::default(),
        ));
        let hub = Arc::new(WorkerHub::new(engine.clone()));
        let info = ServerInfo {
            version: "0".into(),
            started_at: Time(5),
            store_url: "memory:".into(),
        };
        let reports = Arc::new(ReportBoard::new());
        let services = Services::new(engine, connectors, hub, reports, info, Tenancy::default(), None);
        Self {
            routes: services.routes(),
        }
    }

    /// Sends one message, and says what came of it; none: a stream that goes on.
    ///
    /// # Panics
    /// If there is no gRPC status, or no answer at all.
    pub async fn ask(&self, path: &str, message: &[u8], streams: bool) -> Option<Code> {
        let length = u32::try_from(message.len()).expect("messages are small here");
        let frame = [&[0], &length.to_be_bytes()[..], message].concat();
        self.send(path, frame, streams).await
    }

    /// Sends bytes as the whole body of a call. As [`Rig::ask`].
    ///
    /// # Panics
    /// As there.
    pub async fn send(&self, path: &str, body: Vec<u8>, streams: bool) -> Option<Code> {
        let request = Request::post(format!("http://tape{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(Full::new(Bytes::from(body))))
            .expect("a path of the contract is a URL");
        let mut routes = self.routes.clone();
        let answer = tokio::time::timeout(if streams { LISTEN } else { ANSWER_WITHIN }, async {
            let response = routes.call(request).await.unwrap_or_else(|never| match never {});
            let (head, body) = response.into_parts();
            assert!(head.status.is_success(), "{path}: HTTP status {}", head.status);
            let trailers = match body.collect().await {
                Ok(collected) => collected.trailers().cloned().unwrap_or_default(),
                Err(status) => panic!("{path}: the answer broke off: {status}"),
            };
            code(&head.headers).or_else(|| code(&trailers))
        });
        match answer.await {
            Ok(code) => Some(code.unwrap_or_else(|| panic!("{path}: an answer without a gRPC status"))),
            Err(_) if streams => None,
            Err(_) => panic!("{path}: no answer within {ANSWER_WITHIN:?}"),
        }
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

fn code(headers: &HeaderMap) -> Option<Code> {
    Some(Code::from_bytes(headers.get("grpc-status")?.as_bytes()))
}
