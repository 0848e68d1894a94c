//! Every call as operators see it: counted and timed by method and code, and a span under the caller's trace.
//!
//! A layer around all services. Methods are those of the contract: whatever else a caller names counts as `other`, so that
//! no caller can make the number of time series grow.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use opentelemetry::metrics::Histogram;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{KeyValue, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use pin_project_lite::pin_project;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;
use tonic::Code;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

static CALLS: LazyLock<Histogram<f64>> = LazyLock::new(|| {
    global::meter("tape")
        .f64_histogram("tape.grpc.request.duration")
        .with_unit("s")
        .with_description("gRPC calls by method and code; of a stream, until it ended")
        .with_boundaries(
            [
                0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]
            .to_vec(),
        )
        .build()
});

/// A method of the contract.
#[derive(Debug)]
struct Method {
    /// `Tape/BeginRun`.
    label: String,
    /// `tape.begin_run`.
    span: String,
}

/// The methods of the contract by path, and what all others count as.
static METHODS: LazyLock<Methods> = LazyLock::new(Methods::of_contract);

struct Methods {
    known: HashMap<String, Method>,
    other: Method,
}

impl Methods {
    fn of_contract() -> Self {
        let mut known = HashMap::new();
        // The build made these descriptors: were they unreadable, every method would count as `other`.
        let files = FileDescriptorSet::decode(tape_proto::FILE_DESCRIPTOR_SET).unwrap_or_default();
        for file in &files.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let method = Method {
                        label: format!("{}/{}", service.name(), method.name()),
                        span: format!("tape.{}", snake(method.name())),
                    };
                    known.insert(path, method);
                }
            }
        }
        let other = Method {
            label: "other".to_owned(),
            span: "tape.other".to_owned(),
        };
        Self { known, other }
    }

    fn at(&self, path: &str) -> &Method {
        self.known.get(path).unwrap_or(&self.other)
    }
}

/// Observes every call of the services that it is laid around.
#[derive(Clone, Copy, Debug, Default)]
pub struct ObserveLayer;

/// `BeginRun` -> `begin_run`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner }
    }
}

/// A service whose calls are observed.
#[derive(Clone, Debug)]
pub struct Observed<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Observed<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<ObservedBody<B>>;
    type Error = S::Error;
    type Future = ObservedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let call = Call::begin(request.uri().path(), request.headers());
        let inner = call.span.in_scope(|| self.inner.call(request));
        ObservedCall {
            inner,
            call: Some(call),
        }
    }
}

/// A call under way. One that is dropped before it ended was given up by its caller.
pub(crate) struct Call {
    method: &'static Method,
    began: Instant,
    span: Span,
    ended: bool,
}

impl Call {
    /// Of the method at `path`, under the trace that `headers` name.
    pub(crate) fn begin(path: &str, headers: &HeaderMap) -> Self {
        let method = METHODS.at(path);
        // Below the usual level of the log: it is there for whoever follows traces.
        let span = tracing::debug_span!(
            "call",
            otel.name = method.span,
            otel.kind = "server",
            rpc.method = method.label
        );
        if !span.is_disabled() {
            let parent = TraceContextPropagator::new().extract(&Headers(headers));
            if parent.span().span_context().is_valid()
                && let Err(error) = span.set_parent(parent)
            {
                tracing::debug!(%error, "the span stands alone");
            }
        }
        Self {
            method,
            began: Instant::now(),
            span,
            ended: false,
        }
    }

    /// What belongs to the call happens within this.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let labels = [
            KeyValue::new("method", self.method.label.clone()),
            KeyValue::new("code", name(code)),
        ];
        CALLS.record(self.began.elapsed().as_secs_f64(), &labels);
        if !self.span.is_disabled() {
            self.span.set_attribute("rpc.grpc.status_code", name(code));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

pin_project! {
    /// The answer to an observed call, until its headers are there.
    pub struct ObservedCall<F> {
        #[pin]
        inner: F,
        call: Option<Call>,
    }
}

impl<F, B, E> Future for ObservedCall<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ObservedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let span = this.call.as_ref().map_or_else(Span::none, |call| call.span.clone());
        let _inside = span.enter();
        let answer = std::task::ready!(this.inner.poll(cx));
        let mut call = this.call.take();
        Poll::Ready(answer.map(|response| {
            // An answer without a body has its status among the headers.
            if let (Some(code), Some(call)) = (status(response.headers()), call.as_mut()) {
                call.end(code);
            }
            response.map(|inner| ObservedBody { inner, call })
        }))
    }
}

pin_project! {
    /// The body of an observed answer, whose trailers say how the call ended.
    pub struct ObservedBody<B> {
        #[pin]
        inner: B,
        call: Option<Call>,
    }
}

impl<B> http_body::Body for ObservedBody<B>
where
    B: http_body::Body<Data = Bytes>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let span = this.call.as_ref().map_or_else(Span::none, |call| call.span.clone());
        let _inside = span.enter();
        let frame = std::task::ready!(this.inner.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
            && let Some(call) = this.call.as_mut()
        {
            call.end(status(trailers).unwrap_or(Code::Unknown));
            // The span ends with the call.
            this.call.take();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn status(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|status| Code::from_bytes(status.as_bytes()))
}

const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Request headers, as a propagator reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_the_contract_are_known_by_name() {
        let method = METHODS.at("/tape.v1.Tape/RecordDecision");
        assert_eq!(method.label, "Tape/RecordDecision");
        assert_eq!(method.span, "tape.record_decision");
        assert!(METHODS.known.contains_key("/tape.v1.Workers/Attach"));
        assert_eq!(METHODS.at("/tape.v1.Tape/NoSuch").label, "other");
    }
}
