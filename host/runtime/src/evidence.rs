//! Writes down what leaves and what comes back, in such a way that a call which is cut off at any point leaves the truth behind.
//!
//! An exchange is `not-sent` until the moment it is handed to the client, `sent` from then on, and only then better:
//! `answered` by a full answer, `not-sent` again if no connection ever took any of it. Once sealed, nothing new leaves.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use hyper_util::client::legacy::connect::CaptureConnection;
use sha2::{Digest, Sha256};
use tape_connector_port::{Evidence, Exchange, Progress};
use tokio::time::Instant;

use crate::egress::{Target, never_connected};

/// One call's evidence while it is being gathered.
#[derive(Default)]
pub struct Recorder(Mutex<Record>);

#[derive(Default)]
struct Record {
    exchanges: Vec<Exchange>,
    sealed: bool,
    /// A request was handed to the client.
    asked: bool,
}

/// The call has ended: nothing may leave any more.
pub struct Sealed;

/// One exchange while it is under way. Dropping it settles how far it got.
pub struct InFlight {
    recorder: Arc<Recorder>,
    index: usize,
    began: Instant,
    connection: Option<CaptureConnection>,
    answered: bool,
}

impl Recorder {
    /// Opens an exchange; None if there are `requests_max` already.
    pub fn begin(
        self: &Arc<Self>,
        method: &str,
        target: Option<&Target>,
        request_bytes: usize,
        requests_max: usize,
    ) -> Option<InFlight> {
        let mut record = self.lock();
        let index = record.exchanges.len();
        if index >= requests_max {
            return None;
        }
        record.exchanges.push(Exchange {
            method: target
                .map_or(method, |target| &target.method)
                .chars()
                .take(METHOD_CHARS_MAX)
                .collect(),
            authority: target.map(Target::authority).unwrap_or_default(),
            path: target.map(|target| target.url.path().to_owned()).unwrap_or_default(),
            status: None,
            request_bytes: request_bytes as u64,
            response_bytes: 0,
            duration_ms: 0,
            progress: Progress::NotSent,
            response_digest: None,
            unsafe_method: true,
        });
        Some(InFlight {
            recorder: Arc::clone(self),
            index,
            began: Instant::now(),
            connection: None,
            answered: false,
        })
    }

    /// Whether the upstream was asked and never said a word: it could not be reached, or went silent.
    pub fn is_unanswered(&self) -> bool {
        let record = self.lock();
        record.asked && record.exchanges.iter().all(|exchange| exchange.status.is_none())
    }

    /// Ends the gathering: what is still under way stays as doubtful as it is, and nothing new leaves.
    pub fn seal(&self) -> Evidence {
        let mut record = self.lock();
        record.sealed = true;
        Evidence {
            exchanges: record.exchanges.clone(),
            unseen_in_worker: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guest chooses the method's name; a name longer than this is shown cut.
const METHOD_CHARS_MAX: usize = 32;

impl InFlight {
    pub fn is_unsafe(&self, unsafe_method: bool) {
        self.change(|exchange| exchange.unsafe_method = unsafe_method);
    }

    /// From here on bytes may leave.
    pub fn leaves(mut self, connection: CaptureConnection) -> Result<Self, Sealed> {
        {
            let mut record = self.recorder.lock();
            if record.sealed {
                return Err(Sealed);
            }
            record.exchanges[self.index].progress = Progress::Sent;
            record.asked = true;
        }
        self.connection = Some(connection);
        Ok(self)
    }

    /// It is certain that none of it left, whatever connections were tried. Dropping it says so.
    pub fn never_left(mut self) {
        self.connection = None;
    }

    /// The head of an answer came.
    pub fn head(&self, status: u16) {
        self.change(|exchange| exchange.status = Some(status));
    }

    /// The whole answer came.
    pub fn answered(mut self, body: &[u8]) {
        self.answered = true;
        let digest = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(body)));
        self.change(|exchange| {
            exchange.progress = Progress::Answered;
            exchange.response_bytes = body.len() as u64;
            exchange.response_digest = Some(digest);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Exchange)) {
        let mut record = self.recorder.lock();
        if !record.sealed {
            change(&mut record.exchanges[self.index]);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let never_left = self.connection.as_ref().is_none_or(never_connected);
        let duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let answered = self.answered;
        self.change(|exchange| {
            exchange.duration_ms = duration_ms;
            if never_left && !answered {
                exchange.progress = Progress::NotSent;
            }
        });
    }
}
