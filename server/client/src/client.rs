//! The client: a connection, and one method for each operation.

use std::error::Error;
use std::time::Duration;

use futures_util::stream::{Stream, TryStreamExt};
use tape_proto::v1 as pb;
use tape_proto::v1::admin_client::AdminClient;
use tape_proto::v1::connectors_client::ConnectorsClient;
use tape_proto::v1::tape_client::TapeClient as Tape;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::dump;
use crate::error::ClientError;
use crate::model::effect::Effect;
use crate::model::entry::Entry;
use crate::model::obligation::Obligation;
use crate::model::request::{Page, RunFilter, SettleEffect, SettleObligation, Signal, StartRun};
use crate::model::run::{Run, Started};
use crate::model::stats::Stats;

const DEFAULT_PORT: u16 = 7878;
/// As the SDKs have it: behind a load balancer, TLS is where the web has it.
const DEFAULT_TLS_PORT: u16 = 443;
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A connection whose other end is gone without a word is noticed within two of these.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Largest answer that is read: pages of runs with their inputs.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection to one server. Cheap to clone; clones share it. A connection that breaks is made anew by the next call.
#[derive(Clone)]
pub struct TapeClient {
    url: String,
    tape: Tape<Authorized>,
    admin: AdminClient<Authorized>,
    connectors: ConnectorsClient<Authorized>,
}

/// A channel that sends the caller's token with every call.
pub(crate) type Authorized = InterceptedService<Channel, Bearer>;

/// What a connection needs beside the address.
#[derive(Clone, Default)]
pub struct ConnectOptions {
    /// The bearer token. Sent over TLS, and in plaintext to this machine only.
    pub token: Option<String>,
    /// PEM of the authorities that may vouch for the server; none = those of the web.
    pub ca_pem: Option<Vec<u8>>,
    /// A server that is silent for so long is pinged, and taken for gone after as much again; none = 10 s.
    pub keep_alive: Option<Duration>,
}

impl ConnectOptions {
    /// What the environment says: `TAPE_TOKEN`, and the file that `TAPE_CA_CERT` names.
    ///
    /// # Errors
    /// [`ClientError::Url`] if that file cannot be read.
    pub fn from_env() -> Result<Self, ClientError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let read = |file: String| {
            std::fs::read(&file).map_err(|error| {
                bad_url(
                    &file,
                    &format!("TAPE_CA_CERT names it, and it cannot be read ({error})"),
                )
            })
        };
        Ok(Self {
            token: set("TAPE_TOKEN"),
            ca_pem: set("TAPE_CA_CERT").map(read).transpose()?,
            keep_alive: None,
        })
    }
}

/// Puts the token on a call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl std::fmt::Debug for TapeClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the token.
        f.debug_struct("TapeClient")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl TapeClient {
    /// Connects to the server at `tape://host[:port]`, or by TLS at `tapes://host[:port]`; the port is 7878, by TLS 443,
    /// unless it is given. Token and authorities are those of the environment.
    ///
    /// # Errors
    /// [`ClientError::Url`], or [`ClientError::Unreachable`] when nothing listens there, or nothing that can be trusted.
    pub async fn connect(url: &str) -> Result<Self, ClientError> {
        Self::connect_with(url, ConnectOptions::from_env()?).await
    }

    /// The same with options of the caller's own.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(url: &str, options: ConnectOptions) -> Result<Self, ClientError> {
        let (endpoint, bearer) = endpoint(url, options)?;
        let channel = endpoint.connect().await.map_err(|error| ClientError::Unreachable {
            url: url.to_owned(),
            reason: root_cause(&error),
        })?;
        Ok(Self {
            url: url.to_owned(),
            tape: Tape::with_interceptor(channel.clone(), bearer.clone()).max_decoding_message_size(ANSWER_BYTES_MAX),
            admin: AdminClient::with_interceptor(channel.clone(), bearer.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            connectors: ConnectorsClient::with_interceptor(channel, bearer).max_decoding_message_size(ANSWER_BYTES_MAX),
        })
    }

    pub(crate) fn tape(&self) -> Tape<Authorized> {
        self.tape.clone()
    }

    pub(crate) fn admin(&self) -> AdminClient<Authorized> {
        self.admin.clone()
    }

    pub(crate) fn connectors(&self) -> ConnectorsClient<Authorized> {
        self.connectors.clone()
    }

    /// Where it is connected to.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a run that the server hands to a worker of its app. The same identity again: the run as it is.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub async fn start_run(&self, start: StartRun) -> Result<Started, ClientError> {
        let answer = self.admin.clone().start_run(start.into_wire()).await?.into_inner();
        Ok(Started {
            created: answer.created,
            run: present("StartRun", answer.run)?.into(),
        })
    }

    /// A run as it stands.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn run(&self, run_id: &str) -> Result<Run, ClientError> {
        let request = pb::GetRunRequest {
            run_id: run_id.to_owned(),
        };
        Ok(self.tape.clone().get_run(request).await?.into_inner().into())
    }

    /// One page of runs, newest first. [`Page::next`] of the page before goes into [`RunFilter::after`].
    ///
    /// # Errors
    /// A refusal that names the field.
    pub async fn list_runs(&self, filter: &RunFilter) -> Result<Page<Run>, ClientError> {
        let answer = self.admin.clone().list_runs(filter.to_wire()).await?.into_inner();
        Ok(Page {
            items: answer.runs.into_iter().map(Run::from).collect(),
            next: (!answer.next_page_token.is_empty()).then_some(answer.next_page_token),
        })
    }

    /// Everything about one run: `{"run": {}, "leases": [], "decisions": [], "effects": [], "obligations": [], "gates": [],
    /// "timers": [], "budget": {}, "journal": []}`. In memory as a whole.
    ///
    /// # Errors
    /// NOT_FOUND; [`ClientError::Strange`] for a part that is not JSON.
    pub async fn dump_run(&self, run_id: &str) -> Result<serde_json::Value, ClientError> {
        let request = pb::DumpRunRequest {
            run_id: run_id.to_owned(),
        };
        let mut parts = self.admin.clone().dump_run(request).await?.into_inner();
        let mut dump = dump::Dump::default();
        while let Some(part) = parts.message().await? {
            dump.add(&part.section, &part.json)?;
        }
        Ok(dump.finish())
    }

    /// The run's journal from `from_seq` on (0 = from the beginning) and then live. Ends when the run has ended.
    ///
    /// # Errors
    /// NOT_FOUND. The stream's own error, if it has one, is its last item; subscribe again after the last seq seen.
    pub async fn subscribe_run(
        &self,
        run_id: &str,
        from_seq: i64,
    ) -> Result<impl Stream<Item = Result<Entry, ClientError>> + Send + Unpin + use<>, ClientError> {
        let request = pb::SubscribeRunRequest {
            run_id: run_id.to_owned(),
            from_seq,
        };
        let entries = self.tape.clone().subscribe_run(request).await?.into_inner();
        Ok(entries.map_ok(Entry::from).map_err(ClientError::from))
    }

    /// An effect, if it was begun.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such run.
    pub async fn effect(&self, run_id: &str, key: &str) -> Result<Option<Effect>, ClientError> {
        let request = pb::GetEffectRequest {
            run_id: run_id.to_owned(),
            idempotency_key: key.to_owned(),
        };
        let answer = self.tape.clone().get_effect(request).await?.into_inner();
        Ok(answer.effect.map(Effect::from))
    }

    /// Effects in doubt or stuck, of all runs, oldest first, `limit` at most (0 = 200).
    ///
    /// # Errors
    /// [`ClientError::Refused`].
    pub async fn unknown_effects(&self, limit: i64) -> Result<Vec<Effect>, ClientError> {
        let request = pb::ListPendingEffectsRequest {
            limit,
            include_unknown: true,
            ..pb::ListPendingEffectsRequest::default()
        };
        let answer = self.tape.clone().list_pending_effects(request).await?.into_inner();
        Ok(answer.effects.into_iter().map(Effect::from).collect())
    }

    /// The obligations of a run, oldest first.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn obligations(&self, run_id: &str) -> Result<Vec<Obligation>, ClientError> {
        let request = pb::ListObligationsRequest {
            run_id: run_id.to_owned(),
            ..pb::ListObligationsRequest::default()
        };
        let answer = self.tape.clone().list_obligations(request).await?.into_inner();
        Ok(answer.obligations.into_iter().map(Obligation::from).collect())
    }

    /// Obligations of all runs that are not undone, oldest first, `limit` at most; 0 = the server's own limit. Those that are stuck
    /// wait for a person: [`resolve_obligation`](Self::resolve_obligation).
    ///
    /// # Errors
    /// UNAVAILABLE.
    pub async fn unresolved_obligations(&self, limit: u32) -> Result<Vec<Obligation>, ClientError> {
        let request = pb::ListUnresolvedObligationsRequest {
            limit: i32::try_from(limit).unwrap_or(i32::MAX),
            include_pending: true,
            include_stuck: true,
            include_committed_expired: true,
            ..pb::ListUnresolvedObligationsRequest::default()
        };
        let answer = self
            .tape
            .clone()
            .list_unresolved_obligations(request)
            .await?
            .into_inner();
        Ok(answer.obligations.into_iter().map(Obligation::from).collect())
    }

    /// Cancels a run. Its driver finds out at its next write; nothing is undone.
    ///
    /// # Errors
    /// FAILED_PRECONDITION for a run that has ended otherwise.
    pub async fn cancel(&self, run_id: &str, reason: &str) -> Result<Run, ClientError> {
        let request = pb::CancelRunRequest {
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = self.admin.clone().cancel_run(request).await?.into_inner();
        Ok(present("CancelRun", answer.run)?.into())
    }

    /// Undoes what the run confirmed, newest first. With `go_on`, an obligation that gets stuck does not hold up the older
    /// ones. Returns the run, and the obligations in the order in which they will be worked off.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn compensate(
        &self,
        run_id: &str,
        reason: &str,
        go_on: bool,
    ) -> Result<(Run, Vec<Obligation>), ClientError> {
        let policy = if go_on {
            pb::CompensatePolicy::GoOn
        } else {
            pb::CompensatePolicy::StopAtStuck
        };
        let request = pb::CompensateRunRequest {
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
            policy: policy.into(),
        };
        let answer = self.admin.clone().compensate_run(request).await?.into_inner();
        let obligations = answer.obligations.into_iter().map(Obligation::from).collect();
        Ok((present("CompensateRun", answer.run)?.into(), obligations))
    }

    /// Makes a run due for a driver now; reopens a FAILED or STUCK one, which needs a reason.
    ///
    /// # Errors
    /// FAILED_PRECONDITION for TERMINAL and CANCELLED.
    pub async fn redrive(&self, run_id: &str, reason: &str) -> Result<Run, ClientError> {
        let request = pb::RedriveRequest {
            run_id: run_id.to_owned(),
            reason: reason.to_owned(),
        };
        let answer = self.admin.clone().redrive(request).await?.into_inner();
        Ok(present("Redrive", answer.run)?.into())
    }

    /// Settles an effect that is UNKNOWN, by hand.
    ///
    /// # Errors
    /// FAILED_PRECONDITION in any other state, unless it is already settled that way.
    pub async fn resolve_effect(&self, settle: SettleEffect) -> Result<Effect, ClientError> {
        let answer = self.admin.clone().resolve_effect(settle.into_wire()).await?;
        Ok(answer.into_inner().into())
    }

    /// Settles an obligation that is STUCK, or that nobody works on, by hand.
    ///
    /// # Errors
    /// FAILED_PRECONDITION in any other state, unless it is already settled that way.
    pub async fn resolve_obligation(&self, settle: SettleObligation) -> Result<Obligation, ClientError> {
        let answer = self.admin.clone().resolve_obligation(settle.into_wire()).await?;
        Ok(answer.into_inner().into())
    }

    /// Opens a new attempt at a FAILED effect, or makes a waiting one due now. Reason and name go into the journal.
    ///
    /// # Errors
    /// FAILED_PRECONDITION for CONFIRMED and UNKNOWN effects.
    pub async fn retry_effect(&self, run_id: &str, key: &str, reason: &str, who: &str) -> Result<Effect, ClientError> {
        let request = pb::RetryEffectRequest {
            run_id: run_id.to_owned(),
            idempotency_key: key.to_owned(),
            reason: reason.to_owned(),
            who: who.to_owned(),
        };
        Ok(self.admin.clone().retry_effect(request).await?.into_inner().into())
    }

    /// Sends a signal to a gate. False if the gate's timeout came first: the signal is kept, and loses.
    ///
    /// # Errors
    /// FAILED_PRECONDITION for a run that has ended.
    pub async fn signal(&self, signal: Signal) -> Result<bool, ClientError> {
        let answer = self.tape.clone().send_signal(signal.into_wire()).await?;
        Ok(answer.into_inner().accepted)
    }

    /// How the server is doing.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with UNAVAILABLE if its store does not answer.
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        Ok(self.admin.clone().stats(pb::StatsRequest {}).await?.into_inner().into())
    }
}

/// How a server is reached, and what is sent with every call.
pub(crate) fn endpoint(url: &str, options: ConnectOptions) -> Result<(Endpoint, Bearer), ClientError> {
    let address = address(url)?;
    let mut endpoint = Endpoint::from_shared(address.clone()).map_err(|error| bad_url(url, &error.to_string()))?;
    if address.starts_with("https://") {
        // Only an error if somebody else installed one: then there is one.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut tls = ClientTlsConfig::new();
        tls = match options.ca_pem {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_webpki_roots(),
        };
        endpoint = endpoint
            .tls_config(tls)
            .map_err(|error| bad_url(url, &root_cause(&error)))?;
    }
    let bearer = match options.token {
        Some(token) if may_carry_token(&address) => {
            let value: Result<MetadataValue<Ascii>, _> = format!("Bearer {token}").parse();
            let problem = "the token for it holds something that cannot be sent in a header";
            let mut value = value.map_err(|_| bad_url(url, problem))?;
            value.set_sensitive(true);
            Some(value)
        }
        _ => None,
    };
    let keep_alive = options.keep_alive.unwrap_or(KEEP_ALIVE);
    let endpoint = endpoint
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(keep_alive))
        .http2_keep_alive_interval(keep_alive)
        .keep_alive_timeout(keep_alive)
        .keep_alive_while_idle(true);
    Ok((endpoint, Bearer(bearer)))
}

/// The HTTP/2 address of a `tape://` URL.
fn address(url: &str) -> Result<String, ClientError> {
    let secure = url.strip_prefix("tapes://");
    let (scheme, port) = if secure.is_some() {
        ("https", DEFAULT_TLS_PORT)
    } else {
        ("http", DEFAULT_PORT)
    };
    let Some(authority) = secure.or_else(|| url.strip_prefix("tape://")) else {
        return Err(bad_url(url, "it does not begin with tape:// or tapes://"));
    };
    let authority = authority.trim_end_matches('/');
    if authority.is_empty() || authority.contains(['/', '@', '?', '#']) {
        return Err(bad_url(url, "it is not just a host and a port"));
    }
    // The colons of [::1] are no port.
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    Ok(if after_host.contains(':') {
        format!("{scheme}://{authority}")
    } else {
        format!("{scheme}://{authority}:{port}")
    })
}

/// A token is for the server alone: it crosses a network only by TLS.
fn may_carry_token(address: &str) -> bool {
    let Some(authority) = address.strip_prefix("http://") else {
        return true;
    };
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn bad_url(url: &str, problem: &str) -> ClientError {
    ClientError::Url {
        url: url.to_owned(),
        problem: problem.to_owned(),
    }
}

/// The innermost error: "connection refused", not "transport error".
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

pub(crate) fn present<T>(operation: &'static str, value: Option<T>) -> Result<T, ClientError> {
    value.ok_or_else(|| ClientError::Strange {
        operation,
        problem: "what it is about is missing".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_crosses_a_network_by_tls_only() {
        for (address, carries) in [
            ("https://tape.example:443", true),
            ("http://127.0.0.1:7878", true),
            ("http://[::1]:7878", true),
            ("http://localhost:7878", true),
            ("http://tape.example:7878", false),
            ("http://10.0.0.1:7878", false),
        ] {
            assert_eq!(may_carry_token(address), carries, "{address}");
        }
    }

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port() {
        for (url, expected) in [
            ("tape://localhost", "http://localhost:7878"),
            ("tape://127.0.0.1:9/", "http://127.0.0.1:9"),
            ("tape://[::1]", "http://[::1]:7878"),
            ("tape://[::1]:80", "http://[::1]:80"),
            ("tapes://tape.example", "https://tape.example:443"),
            ("tapes://tape.example:7878", "https://tape.example:7878"),
        ] {
            assert_eq!(address(url).unwrap(), expected);
        }
        for url in [
            "",
            "http://x",
            "localhost:7878",
            "tape://",
            "tape://a/b",
            "tapes://",
            "tape://u@x",
        ] {
            let error = address(url).unwrap_err();
            assert_eq!(error.code(), "TAPE-A005", "{url}");
            assert!(
                !error.retryable() && error.to_string().contains(error.cure()),
                "{error}"
            );
        }
    }
}
