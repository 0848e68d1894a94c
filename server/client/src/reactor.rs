//! The ports of the reactors over gRPC: a server elsewhere, and the workers that are attached to it.
//!
//! ```text
//! reactor ──Tape, Workers──▶ RemoteTape ──calls──▶ server
//!         ◀── woken, attached ── watch ◀──wakes──┘
//! ```
//!
//! What is decided for every call:
//!
//! - It fails with a refusal: the reactor is told, as by an engine in its own process.
//! - It fails because nobody answers: it is made again, [`TRIES`] times in all; then the reactor is told
//!   [`TapeError::Unavailable`] and comes back by itself.
//! - It hangs: after [`CALL_MAX`] it has failed like that.
//! - It takes hold, and the answer is lost: made again, it gives the recorded answer. For a claim that is "not acquired":
//!   its lease runs out, and the work is found again. Nothing was sent under it, because nothing was marked.
//!
//! A call to a worker is made once: whoever asked decides what a lost answer means.

mod convert;
mod deployments;
mod living;
mod relay;
mod tape;
mod watch;
mod workers;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prost::Message as _;
use tape_core::refusal::Status as Refused;
use tape_core::{DueKind, Time};
use tape_port::{Living, TapeError};
use tape_proto::ERROR_DETAIL_TRAILER;
use tape_proto::v1::ErrorDetail;
use tape_proto::v1::connectors_client::ConnectorsClient;
use tape_proto::v1::reactors_client::ReactorsClient;
use tokio::sync::Notify;
use tokio::sync::watch::Sender;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use crate::client::{ANSWER_BYTES_MAX, Authorized, ConnectOptions, endpoint};
use crate::error::ClientError;

/// Longest wait for an answer.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How often a call is made.
const TRIES: u32 = 3;
/// Before a call is made again; doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// Who a reactor in this process is, and what it looks after.
#[derive(Clone, Debug, Default)]
pub struct RemoteConfig {
    /// `tape://host[:port]`.
    pub url: String,
    /// Its name, unique to the process: the owner of its claims.
    pub reactor_id: String,
    /// Only runs of these tenants; none = of all.
    pub tenants: Vec<String>,
    /// Only runs of these apps; none = of all.
    pub apps: Vec<String>,
}

/// A server in another process, as reactors see it.
pub struct RemoteTape {
    config: RemoteConfig,
    reactors: ReactorsClient<Authorized>,
    connectors: ConnectorsClient<Authorized>,
    /// How many times the server said that connectors were changed.
    deployed: Sender<u64>,
    clock: Mutex<ServerClock>,
    woken: BTreeMap<DueKind, Notify>,
    /// How many times the server said that a worker had attached.
    attachments: Sender<u64>,
    apps: Mutex<Vec<String>>,
    /// The connectors that live in workers, as the server said last; none while it cannot be heard.
    living: Sender<Vec<Living>>,
}

/// The server's clock, as it was when the server last told it.
#[derive(Clone, Copy)]
struct ServerClock {
    told: Time,
    at: Instant,
}

impl RemoteTape {
    /// Does not connect yet: the first call does, and any later one if the connection broke.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn new(config: RemoteConfig) -> Result<Self, ClientError> {
        let (endpoint, bearer) = endpoint(&config.url, ConnectOptions::from_env()?)?;
        let channel = endpoint.connect_lazy();
        Ok(Self {
            reactors: ReactorsClient::with_interceptor(channel.clone(), bearer.clone())
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            connectors: ConnectorsClient::with_interceptor(channel, bearer),
            deployed: Sender::new(0),
            config,
            clock: Mutex::new(ServerClock {
                told: Time::ZERO,
                at: Instant::now(),
            }),
            woken: DueKind::ALL.into_iter().map(|kind| (kind, Notify::new())).collect(),
            attachments: Sender::new(0),
            apps: Mutex::default(),
            living: Sender::default(),
        })
    }

    /// The server's clock, going on from when it was last told.
    fn server_now(&self) -> Time {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let since = i64::try_from(clock.at.elapsed().as_millis()).unwrap_or(i64::MAX);
        clock.told.after(since)
    }

    fn told_time(&self, now_ms: i64) {
        let clock = ServerClock {
            told: Time(now_ms),
            at: Instant::now(),
        };
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = clock;
    }

    /// Makes a call until it is answered, or nobody answers for too long.
    async fn call<Q, A, C>(&self, asked: Q, made: C) -> Result<A, TapeError>
    where
        Q: Clone,
        C: AsyncFn(ReactorsClient<Authorized>, Request<Q>) -> Result<Response<A>, Status>,
    {
        let mut pause = PAUSE;
        for tries in 1.. {
            let mut request = Request::new(asked.clone());
            request.set_timeout(CALL_MAX);
            let error = match tokio::time::timeout(CALL_MAX, made(self.reactors.clone(), request)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => failed(&status),
                Err(_) => TapeError::Unavailable(format!(
                    "{} did not answer within {} s.",
                    self.config.url,
                    CALL_MAX.as_secs()
                )),
            };
            if tries == TRIES || !matches!(error, TapeError::Unavailable(_)) {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(TapeError::Unavailable("Nothing was asked.".to_owned()))
    }
}

/// What a failed call means to a reactor.
fn failed(status: &Status) -> TapeError {
    let status_of = |refused| TapeError::RefusedThere {
        status: refused,
        code: code_of(status),
        message: status.message().to_owned(),
    };
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => status_of(Refused::InvalidArgument),
        Code::NotFound => status_of(Refused::NotFound),
        Code::AlreadyExists => status_of(Refused::AlreadyExists),
        Code::FailedPrecondition => status_of(Refused::FailedPrecondition),
        Code::Aborted => status_of(Refused::Aborted),
        Code::DataLoss => status_of(Refused::DataLoss),
        Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented => status_of(Refused::PermissionDenied),
        // One connection too many: the call was not looked at.
        Code::ResourceExhausted if code_of(status) == "TAPE-A008" => TapeError::Unavailable(said(status)),
        Code::ResourceExhausted => status_of(Refused::ResourceExhausted),
        Code::Internal if code_of(status) == "TAPE-A002" => TapeError::Corrupt(said(status)),
        // Nobody answered, or nobody knows what the answer was.
        _ => TapeError::Unavailable(said(status)),
    }
}

fn code_of(status: &Status) -> String {
    detail(status).map(|detail| detail.code).unwrap_or_default()
}

fn detail(status: &Status) -> Option<ErrorDetail> {
    let bytes = status.metadata().get_bin(ERROR_DETAIL_TRAILER)?.to_bytes().ok()?;
    ErrorDetail::decode(bytes).ok()
}

/// The sentence of a status alone: code and cure are put around it again.
fn said(status: &Status) -> String {
    let (text, detail) = (status.message(), detail(status).unwrap_or_default());
    let text = text.strip_prefix(&format!("{}: ", detail.code)).unwrap_or(text);
    let text = text.strip_suffix(&detail.cure).unwrap_or(text).trim_end();
    if text.ends_with('.') {
        text.to_owned()
    } else {
        format!("{text}.")
    }
}
