//! The two listeners: gRPC and HTTP, behind their doors.

use std::io;

use tape_api::{AuthLayer, CrowdLayer, ForeignLayer, ObserveLayer, Services};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Doors;
use crate::door::{Door, Keeper};
use crate::node::NodeError;
use crate::security::Credentials;

/// Probes and scrapers: more of them than this is a mistake.
const HTTP_CONNECTIONS_MAX: usize = 256;

/// What both listeners have in common.
pub(crate) struct Listeners<'a> {
    pub(crate) doors: Doors,
    pub(crate) credentials: &'a Credentials,
    pub(crate) serving: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Where a listener that fails says so.
    pub(crate) failing: mpsc::Sender<NodeError>,
}

impl Listeners<'_> {
    /// Serves gRPC: limits, keep-alive, TLS, and the layers around all services.
    pub(crate) fn grpc(&self, listener: TcpListener, services: Services) -> Result<(), NodeError> {
        let keeper = Keeper {
            name: "grpc",
            connections_max: self.doors.connections_max,
            tls: self.credentials.tls("h2")?,
        };
        let incoming = self.open(keeper, listener)?;
        let mut server = tonic::transport::Server::builder()
            .max_concurrent_streams(self.doors.streams_max)
            .http2_keepalive_interval(Some(self.doors.keepalive))
            .http2_keepalive_timeout(Some(self.doors.keepalive))
            // Every call is observed, also those that are refused.
            .layer(ObserveLayer)
            .layer(CrowdLayer)
            .layer(AuthLayer::new(self.credentials.verifier()))
            .layer(ForeignLayer);
        let (stop, failing) = (self.stop.clone(), self.failing.clone());
        self.serving.spawn(async move {
            let callers = incoming.callers().map(Ok::<_, io::Error>);
            let server = server
                .add_routes(services.routes())
                .serve_with_incoming_shutdown(callers, stop.cancelled_owned());
            if let Err(error) = server.await {
                drop(failing.send(NodeError::Serve(error.to_string())).await);
            }
        });
        Ok(())
    }

    /// Serves HTTP, under the same certificate.
    pub(crate) fn http(&self, listener: TcpListener, router: axum::Router) -> Result<(), NodeError> {
        let keeper = Keeper {
            name: "http",
            connections_max: HTTP_CONNECTIONS_MAX,
            tls: self.credentials.tls("http/1.1")?,
        };
        let door = self.open(keeper, listener)?;
        let (stop, failing) = (self.stop.clone(), self.failing.clone());
        self.serving.spawn(async move {
            let server = axum::serve(door, router).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = server.await {
                drop(failing.send(NodeError::Serve(error.to_string())).await);
            }
        });
        Ok(())
    }

    fn open(&self, keeper: Keeper, listener: TcpListener) -> Result<Door, NodeError> {
        Door::open(keeper, listener, &self.serving, self.stop.clone())
            .map_err(|error| NodeError::Serve(error.to_string()))
    }
}
