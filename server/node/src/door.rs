//! A listener's door: who comes in, how many, and over TLS where there is a certificate.
//!
//! ```text
//! accept ─▶ within the limit? ─▶ TLS handshake, each on its own ─▶ gRPC or HTTP
//!                  └─ no ─▶ a few are let in for a moment to be told so, the rest are closed at once
//! ```

mod caller;
mod crowd;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tape_api::Admission;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use caller::Caller;
use caller::Wire;
use crowd::Crowd;

/// A client that takes longer for its part of the handshake is let go.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The machine has no file or memory left for a connection: trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Those who came in.
pub(crate) struct Door {
    arriving: mpsc::Receiver<Caller>,
    address: SocketAddr,
}

/// What a door needs to know.
pub(crate) struct Keeper {
    /// What listens, for the log and the metrics.
    pub(crate) name: &'static str,
    /// How many connections there may be.
    pub(crate) connections_max: usize,
    /// None = plaintext.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

impl Door {
    /// Takes connections from `listener` until `stop`.
    pub(crate) fn open(
        keeper: Keeper,
        listener: TcpListener,
        serving: &TaskTracker,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let (entering, arriving) = mpsc::channel(64);
        let handshakes = serving.clone();
        serving.spawn(async move {
            tokio::select! {
                () = keep(&keeper, &listener, &handshakes, &entering) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(Self { arriving, address })
    }

    /// Those who come in, until the door is closed.
    pub(crate) fn callers(self) -> impl Stream<Item = Caller> {
        ReceiverStream::new(self.arriving)
    }
}

async fn keep(keeper: &Keeper, listener: &TcpListener, handshakes: &TaskTracker, entering: &mpsc::Sender<Caller>) {
    let mut crowd = Crowd::new(keeper.name, keeper.connections_max);
    let acceptor = keeper.tls.clone().map(TlsAcceptor::from);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(listener = keeper.name, %error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = crowd.place() else { continue };
        // Small answers must not wait for an acknowledgement of the one before. Fails if the caller has left already.
        drop(stream.set_nodelay(true));
        let (acceptor, entering) = (acceptor.clone(), entering.clone());
        handshakes.spawn(async move {
            if let Some(wire) = shake(acceptor, stream).await {
                // Nobody takes it: the server is going away.
                drop(entering.send(Caller::new(wire, place)).await);
            }
        });
    }
}

/// The connection once it is encrypted, if it is to be.
async fn shake(acceptor: Option<TlsAcceptor>, stream: TcpStream) -> Option<Wire> {
    let Some(acceptor) = acceptor else {
        return Some(Wire::Plain(stream));
    };
    match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Wire::Encrypted(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

impl axum::serve::Listener for Door {
    type Io = Caller;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Caller, SocketAddr) {
        let address = self.address;
        loop {
            match self.arriving.recv().await {
                Some(caller) if caller.admission() == Admission::Admitted => return (caller, address),
                // Here nobody is told in words that there are too many.
                Some(_) => {}
                // Closed: the server that asks is being told to stop.
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}
