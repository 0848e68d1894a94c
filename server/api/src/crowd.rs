//! Connections beyond what the server takes: their calls are refused in words, where closing them would say nothing.
//!
//! The listener tells by [`Admission`] which connections these are, and closes them soon. Health checks are answered on
//! them too: a full server is no dead one, and must not be restarted for it.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::status;

/// What the listener says about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is one of those that the server takes.
    Admitted,
    /// It is one too many.
    Crowded {
        /// How many the server takes.
        connections_max: usize,
    },
}

/// Refuses the calls of connections that are too many.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrowdLayer;

impl<S> Layer<S> for CrowdLayer {
    type Service = Crowd<S>;

    fn layer(&self, inner: S) -> Crowd<S> {
        Crowd { inner }
    }
}

/// A service that connections beyond the limit do not reach.
#[derive(Clone, Debug)]
pub struct Crowd<S> {
    inner: S,
}

impl<S, A> Service<Request<A>> for Crowd<S>
where
    S: Service<Request<A>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<Body>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match request.extensions().get() {
            Some(Admission::Crowded { connections_max }) if !request.uri().path().starts_with("/grpc.health.v1.") => {
                Either::Left(ready(Ok(status::crowded(*connections_max).into_http())))
            }
            _ => Either::Right(self.inner.call(request)),
        }
    }
}
