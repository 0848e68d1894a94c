//! From the guest's request to the one that leaves: secrets filled in, the host's own headers set.

use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http_body_util::Full;

use super::Outgoing;
use super::policy::{Denied, Policy, Target};
use crate::secrets::Vault;

/// What the host says by itself, or what would change how the connection is used.
const HOSTS_OWN: [&str; 10] = [
    "host",
    "content-length",
    "connection",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// A request that is ready to leave. Holds secrets' values: never log it.
pub struct Ready {
    pub http: http::Request<Full<Bytes>>,
    pub timeout: Option<Duration>,
}

pub fn build(
    vault: &Vault,
    policy: &Policy,
    target: &Target,
    outgoing: Outgoing,
    trace_parent: Option<&str>,
) -> Result<Ready, Denied> {
    let may_travel = |name: &str| policy.permit_secret(name, target);
    let body = vault.fill(&outgoing.body, may_travel)?;
    let mut url = target.url.clone();
    url.set_fragment(None);
    let mut request = http::Request::builder()
        .method(target.method.as_str())
        .uri(url.as_str())
        .body(Full::new(body))
        .map_err(|error| Denied(format!("the request cannot be sent: {error}")))?;

    for (name, value) in &outgoing.headers {
        let header =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| Denied(format!("`{name}` is not a header's name")))?;
        if HOSTS_OWN.contains(&header.as_str()) {
            continue;
        }
        let filled = vault.fill(&Bytes::copy_from_slice(value), may_travel)?;
        // The error of a bad value would quote it, secret and all.
        let mut ready = HeaderValue::from_bytes(&filled)
            .map_err(|_| Denied(format!("the value of header `{header}` cannot be sent")))?;
        ready.set_sensitive(filled != *value);
        request.headers_mut().append(header, ready);
    }
    if let Some(value) = trace_parent.and_then(|text| HeaderValue::from_str(text).ok()) {
        request.headers_mut().insert("traceparent", value);
    }
    Ok(Ready {
        http: request,
        timeout: outgoing.timeout,
    })
}
