//! What the transport refuses by itself, in our words: a message that is too large or is none, a method that nobody serves.
//!
//! A layer around all services. Their own refusals carry a code and a cure; what never reached a service gets them here.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tape_core::Refusal;
use tape_proto::ERROR_DETAIL_TRAILER;
use tonic::body::Body;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use crate::status;

/// Gives refusals of the transport a code and a cure.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForeignLayer;

impl<S> Layer<S> for ForeignLayer {
    type Service = Foreign<S>;

    fn layer(&self, inner: S) -> Foreign<S> {
        Foreign { inner }
    }
}

/// A service whose transport's refusals are put in our words.
#[derive(Clone, Debug)]
pub struct Foreign<S> {
    inner: S,
}

impl<S, A> Service<Request<A>> for Foreign<S>
where
    S: Service<Request<A>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ForeignCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        ForeignCall {
            path: request.uri().path().to_owned(),
            inner: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The answer, once its headers are there.
    pub struct ForeignCall<F> {
        path: String,
        #[pin]
        inner: F,
    }
}

impl<F, E> Future for ForeignCall<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = std::task::ready!(this.inner.poll(cx))?;
        // A refusal without a body has its status among the headers.
        Poll::Ready(Ok(match ours(this.path, answer.headers()) {
            Some(status) => status.into_http(),
            None => answer,
        }))
    }
}

/// The refusal in our words, if it is the transport's.
fn ours(path: &str, headers: &HeaderMap) -> Option<Status> {
    if !headers.contains_key("grpc-status") || headers.contains_key(ERROR_DETAIL_TRAILER) {
        return None;
    }
    let theirs = Status::from_header_map(headers)?;
    let message = theirs.message();
    match theirs.code() {
        Code::OutOfRange if message.contains("too large") => {
            let cure = "Send less in one request: each payload may have 4 MiB. Keep what is larger elsewhere, and send a reference to it.";
            let refusal = Refusal::invalid("request", "", format!("The request is too large ({message})."), cure);
            Some(status::of(refusal.coded("TAPE-V003").into()))
        }
        Code::Internal if message.contains("failed to decode") => {
            let cure = "Send what the contract of tape.v1 says for this method; gRPC reflection tells it.";
            let refusal = Refusal::invalid("request", "", format!("The request cannot be read ({message})."), cure);
            Some(status::of(refusal.into()))
        }
        Code::Unimplemented => Some(status::unserved(path)),
        _ => None,
    }
}
