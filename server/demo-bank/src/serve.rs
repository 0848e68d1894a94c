//! The accept loop. Ours and not `axum::serve`, because losing an answer means closing the connection without a byte.

use std::future::Future;
use std::pin::pin;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower_service::Service;

use crate::routes::{Lost, router};

/// Serves a bank with empty books on `listener` until `shutdown` ends. Connections that are open by then are closed.
///
/// # Errors
/// Only if the listener itself fails; a connection that fails is the client's matter.
pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()> + Send) -> std::io::Result<()> {
    let router = router();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, router.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// An error returned by the service makes hyper drop the connection without an answer.
async fn connection(stream: TcpStream, router: Router) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let response = match router.call(request.map(Body::new)).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            if response.extensions().get::<Lost>().is_some() {
                return Err("the answer is lost");
            }
            Ok(response)
        }
    });
    // A client that goes away, or an answer that is lost on purpose, ends the connection with an error that nobody needs.
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}
