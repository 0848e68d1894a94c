//! The only way out of the sandbox: one request, judged, marked, sent and recorded.
//!
//! ```text
//! request ── limits ── policy (host, method) ── secrets filled in ── mark (first unsafe one) ── client ── answer, redacted
//!               └──────────────┴── denied: nothing left ──┘                                  └── maybe-sent | too-large
//! ```

mod client;
mod headers;
mod policy;
mod resolver;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tape_connector_port::Line;
use tokio::time::Instant;

pub use client::{Clients, never_connected};
pub use policy::{BadGrant, Denied, Grants, HostGrant, METHODS_DEFAULT, Policy, SecretGrant, Target};
pub use resolver::{Names, SystemNames};

use crate::evidence::Recorder;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::lines::Lines;
use crate::secrets::Vault;

/// A request as the guest asks for it; secrets still by name.
#[derive(Debug)]
pub struct Outgoing {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
    pub timeout: Option<Duration>,
}

/// A complete answer, without any secret's value.
#[derive(Debug)]
pub struct Incoming {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

/// Why there is no answer. The first two are facts: nothing happened upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    Denied(String),
    NotSent(String),
    MaybeSent(String),
    TooLarge(String),
}

/// What requests a call may make at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// `dispatch` and `compensate`: whatever is granted.
    Change,
    /// `observe` and `status-check`: only what cannot change anything.
    Read,
    /// `describe`: nothing.
    Nothing,
}

/// One call's way out.
pub struct Egress {
    pub connector: Arc<str>,
    pub reach: Reach,
    pub policy: Arc<Policy>,
    pub clients: Arc<Clients>,
    pub vault: Vault,
    pub recorder: Arc<Recorder>,
    pub gate: Gate,
    pub limits: Limits,
    pub trace_parent: Option<String>,
    /// When requests end, a little before the call does, so that the guest can still say what it knows.
    pub deadline: Instant,
    pub notes: Notes,
}

/// Where what is said in one call is kept, and what it is about.
pub struct Notes {
    pub lines: Arc<Lines>,
    /// Everything of a line but its time, level and message.
    pub about: Line,
}

impl Notes {
    /// Keeps a line. `message` holds no secret's value any more.
    pub fn say(&self, at_ms: i64, level: &str, message: String) {
        self.lines.say(Line {
            at_ms,
            level: level.to_owned(),
            message,
            ..self.about.clone()
        });
    }
}

impl Egress {
    /// Sends one request, if it may leave.
    ///
    /// # Errors
    /// See [`SendError`]. Every attempt, refused or not, is in the evidence.
    pub async fn send(&self, request: Outgoing) -> Result<Incoming, SendError> {
        let sent = self.try_send(request).await;
        sent.map_err(|error| error.map(|text| self.vault.redact(&text)))
    }

    async fn try_send(&self, request: Outgoing) -> Result<Incoming, SendError> {
        let target = Target::parse(&request.method, &request.url);
        let exchange = self
            .recorder
            .begin(
                &request.method,
                target.as_ref().ok(),
                request.body.len(),
                self.limits.requests_per_call,
            )
            .ok_or_else(|| {
                SendError::Denied(format!(
                    "more than {} requests in one call",
                    self.limits.requests_per_call
                ))
            })?;

        let target = target.map_err(|denied| self.denied(denied))?;
        if self.reach == Reach::Nothing {
            return Err(SendError::Denied("describe may not send requests".to_owned()));
        }
        let permit = self.policy.permit(&target).map_err(|denied| self.denied(denied))?;
        exchange.is_unsafe(permit.unsafe_method);
        if permit.unsafe_method && self.reach == Reach::Read {
            return Err(SendError::Denied(format!(
                "{} may change something: observe and status-check only read (grant the path as read-only if it only reads)",
                target.method
            )));
        }
        let body_bytes_max = self.limits.body_bytes;
        if request.body.len() > body_bytes_max {
            return Err(SendError::Denied(format!(
                "the request's body is larger than {body_bytes_max} bytes (limits.body_bytes); nothing was sent"
            )));
        }
        let request = headers::build(
            &self.vault,
            &self.policy,
            &target,
            request,
            self.trace_parent.as_deref(),
        )
        .map_err(|denied| self.denied(denied))?;

        if permit.unsafe_method {
            self.gate
                .pass()
                .await
                .map_err(|refused| SendError::NotSent(format!("not marked as started: {refused}")))?;
        }
        let deadline = request
            .timeout
            .map_or(self.deadline, |timeout| self.deadline.min(Instant::now() + timeout));
        let incoming = self
            .clients
            .exchange(request.http, permit, deadline, body_bytes_max, exchange)
            .await?;
        Ok(self.redacted(incoming))
    }

    fn denied(&self, denied: Denied) -> SendError {
        SendError::Denied(format!("connector `{}`: {denied}", self.connector))
    }

    /// An upstream that echoes a request must not hand its secrets to the guest.
    fn redacted(&self, incoming: Incoming) -> Incoming {
        let headers = incoming
            .headers
            .into_iter()
            .map(|(name, value)| (name, self.vault.redact_bytes(value.into()).into()));
        Incoming {
            status: incoming.status,
            headers: headers.collect(),
            body: self.vault.redact_bytes(incoming.body),
        }
    }
}

impl SendError {
    fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Denied(text) => Self::Denied(change(text)),
            Self::NotSent(text) => Self::NotSent(change(text)),
            Self::MaybeSent(text) => Self::MaybeSent(change(text)),
            Self::TooLarge(text) => Self::TooLarge(change(text)),
        }
    }
}
