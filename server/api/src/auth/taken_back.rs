//! An answer whose caller's token may be taken back while it goes on: a stream ends then.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::TakenBack;

/// A body that ends with `refusal` once the token is taken back.
pub(super) struct WhileGranted {
    /// None once it has ended.
    inner: Option<Body>,
    taken_back: TakenBack,
    refusal: fn() -> Status,
}

impl WhileGranted {
    pub(super) fn around(inner: Body, taken_back: TakenBack, refusal: fn() -> Status) -> Body {
        Body::new(Self {
            inner: Some(inner),
            taken_back,
            refusal,
        })
    }
}

impl http_body::Body for WhileGranted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        // What is ready was granted when it was asked for; only who waits for more is looked at again.
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.taken_back.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.inner = None;
        let mut trailers = HeaderMap::new();
        (self.refusal)().add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}
