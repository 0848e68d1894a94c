//! WASI 0.2 as a connector finds it: all there, because toolchains import it unasked, and empty. Its HTTP goes the one way out.

use std::future::Future;
use std::sync::Arc;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::egress::{Egress, Outgoing, SendError};
use crate::output::Tail;

/// No files, environment, arguments, input or network; output goes to `tail`.
pub fn empty(tail: &Tail) -> WasiCtx {
    WasiCtxBuilder::new()
        .stdout(tail.clone())
        .stderr(tail.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// Sends what a guest sends by wasi:http through the call's egress, under the same rules.
pub struct Hooks {
    pub egress: Arc<Egress>,
}

type Sending = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Answering = Box<dyn Future<Output = Result<(http::Response<WasiBody>, Sending), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Sending,
    ) -> Answering {
        let egress = Arc::clone(&self.egress);
        Box::new(async move {
            let outgoing = buffered(request, options, egress.limits.body_bytes).await?;
            let incoming = egress.send(outgoing).await.map_err(wasi_error)?;
            let body = Full::new(incoming.body).map_err(|never| match never {}).boxed_unsync();
            let mut response = http::Response::builder().status(incoming.status);
            for (name, value) in incoming.headers {
                response = response.header(name, value);
            }
            let response = response
                .body(body)
                .map_err(|error| Error::InternalError(Some(error.to_string())))?;
            let sent: Sending = Box::new(async { Ok(()) });
            Ok((response, sent))
        })
    }
}

async fn buffered(
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
    body_bytes_max: usize,
) -> Result<Outgoing, Error> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, body_bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Error::HttpRequestBodySize(None)
        } else {
            Error::InternalError(Some(error.to_string()))
        }
    })?;
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let timeout = options.and_then(|options| options.first_byte_timeout);
    Ok(Outgoing {
        method: head.method.to_string(),
        url: head.uri.to_string(),
        headers,
        body: body.to_bytes(),
        timeout,
    })
}

fn wasi_error(error: SendError) -> Error {
    match error {
        SendError::Denied(why) => {
            // The guest only learns that it was denied; whoever runs Tape learns why.
            tracing::warn!(target: "tape::connector", why, "request denied");
            Error::HttpRequestDenied
        }
        SendError::NotSent(_) => Error::DestinationUnavailable,
        SendError::MaybeSent(_) => Error::HttpResponseIncomplete,
        SendError::TooLarge(_) => Error::HttpResponseBodySize(None),
    }
}
