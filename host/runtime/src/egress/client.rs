//! The HTTP client: keep-alive, no redirects, and exact about whether anything left.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{CaptureConnection, HttpConnector, capture_connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::CryptoProvider;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::policy::Permit;
use super::resolver::{AddressRefused, Names, Resolver};
use super::{Incoming, SendError};
use crate::evidence::{InFlight, Sealed};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_PER_HOST_MAX: usize = 16;

type Connector = HttpsConnector<HttpConnector<Resolver>>;

/// Two clients, because connections are pooled by host: one that was opened by a private grant must not serve a connector without it.
pub struct Clients {
    public: Client<Connector, Full<Bytes>>,
    private: Client<Connector, Full<Bytes>>,
}

impl Clients {
    pub fn new(crypto: &Arc<CryptoProvider>, names: &Arc<dyn Names>) -> Result<Self, rustls::Error> {
        Ok(Self {
            public: client(crypto, names, false)?,
            private: client(crypto, names, true)?,
        })
    }

    /// Sends `request` and reads the whole answer, both before `deadline`.
    pub async fn exchange(
        &self,
        mut request: http::Request<Full<Bytes>>,
        permit: Permit,
        deadline: Instant,
        body_bytes_max: usize,
        exchange: InFlight,
    ) -> Result<Incoming, SendError> {
        let client = if permit.private { &self.private } else { &self.public };
        let connection = capture_connection(&mut request);
        let exchange = exchange
            .leaves(connection.clone())
            .map_err(|Sealed| SendError::NotSent("the call has ended".to_owned()))?;

        // The time limit first: a process that stood still while it connected sends nothing any more when it goes on.
        let response = tokio::select! {
            biased;
            () = sleep_until(deadline) => None,
            response = client.request(request) => Some(response),
        };
        let response = match response {
            Some(Ok(response)) => response,
            Some(Err(error)) => {
                let failed = no_answer(&error, &connection);
                if matches!(failed, SendError::NotSent(_) | SendError::Denied(_)) {
                    exchange.never_left();
                }
                return Err(failed);
            }
            None if never_connected(&connection) => {
                return Err(SendError::NotSent("no connection within the time limit".to_owned()));
            }
            None => return Err(SendError::MaybeSent("no answer within the time limit".to_owned())),
        };
        let (head, body) = response.into_parts();
        let status = head.status.as_u16();
        exchange.head(status);

        let body = match timeout_at(deadline, Limited::new(body, body_bytes_max).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(SendError::TooLarge(format!(
                    "the answer ({status}) is larger than {body_bytes_max} bytes"
                )));
            }
            Ok(Err(error)) => {
                return Err(SendError::MaybeSent(format!(
                    "the answer ({status}) broke off: {error}"
                )));
            }
            Err(_) => {
                return Err(SendError::MaybeSent(format!(
                    "the answer ({status}) was not complete within the time limit"
                )));
            }
        };
        exchange.answered(&body);
        let headers = head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        Ok(Incoming { status, headers, body })
    }
}

/// Whether no connection was ever handed to this request, so that not a byte of it can have left.
pub fn never_connected(connection: &CaptureConnection) -> bool {
    connection.connection_metadata().is_none()
}

fn client(
    crypto: &Arc<CryptoProvider>,
    names: &Arc<dyn Names>,
    private: bool,
) -> Result<Client<Connector, Full<Bytes>>, rustls::Error> {
    let mut tcp = HttpConnector::new_with_resolver(Resolver {
        names: Arc::clone(names),
        private,
    });
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_webpki_roots(Arc::clone(crypto))?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .build(connector))
}

/// What a failed request came to.
///
/// An error of connecting says that nothing left, also when a connection that was kept alive had been handed to the request before: the
/// client connects anew only once that one has given the request back whole, because it was closed before it took any of it. (A request
/// that runs out of time while it connects anew cannot be told from one that was on its way: it counts as sent.)
fn no_answer(error: &Error, connection: &CaptureConnection) -> SendError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(refused) = refused_address(cause) {
            return SendError::Denied(refused.to_string());
        }
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if error.is_connect() || never_connected(connection) {
        SendError::NotSent(text)
    } else {
        SendError::MaybeSent(text)
    }
}

/// Our resolver's refusal travels inside an `io::Error`.
fn refused_address<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a AddressRefused> {
    let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    cause
        .downcast_ref()
        .or_else(|| inner.and_then(|inner| inner.downcast_ref()))
}
