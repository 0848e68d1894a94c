//! One attached worker: what it can do, what it drives, and the calls that it has not answered.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tape_connector_port::Supports;
use tape_core::{RunId, Time};
use tape_port::WorkerError;
use tape_proto::v1 as pb;
use tape_wire::calls;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::WorkerInfo;

/// The worker's side of its stream.
pub(super) type Outgoing = mpsc::Sender<Result<pb::WorkerCall, Status>>;
pub(crate) type Answer = pb::worker_answer::Answer;

pub(crate) struct Worker {
    pub(crate) id: String,
    pub(super) tenant: String,
    pub(super) app: String,
    sdk: String,
    runs_max: usize,
    functions: HashSet<String>,
    /// The connectors that live in its process.
    connectors: BTreeMap<String, Supports>,
    attached_at: Time,
    outgoing: Outgoing,
    /// Its stream ends: another one took its place.
    pub(super) replaced: CancellationToken,
    doing: Mutex<Doing>,
}

#[derive(Default)]
struct Doing {
    last_heartbeat_at: Time,
    /// Runs that it drives; true = taken since its last heartbeat, which could not name it yet.
    runs: HashMap<RunId, bool>,
    unanswered: HashMap<String, oneshot::Sender<Answer>>,
}

impl Worker {
    pub(super) fn new(hello: pb::WorkerHello, outgoing: Outgoing, now: Time) -> Self {
        let connectors = connectors(&hello);
        Self {
            id: hello.worker_id,
            tenant: hello.tenant_id,
            app: hello.app_name,
            sdk: hello.sdk,
            runs_max: usize::try_from(hello.max_concurrent_runs).unwrap_or(0).max(1),
            functions: hello.functions.into_iter().collect(),
            connectors,
            attached_at: now,
            outgoing,
            replaced: CancellationToken::new(),
            doing: Mutex::new(Doing {
                last_heartbeat_at: now,
                ..Doing::default()
            }),
        }
    }

    pub(super) fn info(&self) -> WorkerInfo {
        let doing = self.doing();
        WorkerInfo {
            id: self.id.clone(),
            tenant: self.tenant.clone(),
            app: self.app.clone(),
            sdk: self.sdk.clone(),
            attached_at: self.attached_at,
            last_heartbeat_at: doing.last_heartbeat_at,
            running: doing.runs.len(),
        }
    }

    pub(super) fn knows(&self, function: &str) -> bool {
        self.functions.contains(function)
    }

    /// The connectors that live in its process, and what each can be asked beside `dispatch`.
    pub(super) fn connectors(&self) -> &BTreeMap<String, Supports> {
        &self.connectors
    }

    /// How many runs it drives; none if it has no room for another.
    pub(super) fn load(&self) -> Option<usize> {
        let running = self.doing().runs.len();
        (running < self.runs_max).then_some(running)
    }

    pub(super) fn drives(&self, run: &RunId) -> bool {
        self.doing().runs.contains_key(run)
    }

    pub(super) fn add_run(&self, run: &RunId) {
        self.doing().runs.insert(run.clone(), true);
    }

    pub(super) fn drop_run(&self, run: &RunId) {
        self.doing().runs.remove(run);
    }

    /// The runs that it drives, so far as is known.
    pub(super) fn runs(&self) -> Vec<RunId> {
        self.doing().runs.keys().cloned().collect()
    }

    pub(super) fn heartbeat(&self, heartbeat: pb::WorkerHeartbeat, now: Time) {
        let named: HashSet<RunId> = heartbeat.running_run_ids.into_iter().map(RunId).collect();
        let mut doing = self.doing();
        doing.last_heartbeat_at = now;
        // A run that was taken while the heartbeat was on its way cannot be in it.
        doing
            .runs
            .retain(|run, fresh| named.contains(run) || std::mem::take(fresh));
        for run in named {
            doing.runs.entry(run).or_insert(false);
        }
    }

    pub(super) fn answered(&self, call_id: &str, answer: Answer) {
        let waiting = self.doing().unanswered.remove(call_id);
        if let Some(waiting) = waiting {
            // Whoever asked may have given up: then nobody wants the answer.
            drop(waiting.send(answer));
        }
    }

    /// Says something to which no answer is awaited. A worker that does not read loses it.
    pub(super) fn tell(&self, call_id: String, call: pb::worker_call::Call) {
        let call = pb::WorkerCall {
            call_id,
            call: Some(call),
            ..pb::WorkerCall::default()
        };
        if self.outgoing.try_send(Ok(call)).is_err() {
            tracing::warn!(worker = self.id, "the worker does not read its stream");
        }
    }

    /// Asks, and waits for the answer. What never came onto its stream, it was not asked: that is a refusal.
    pub(super) async fn ask(&self, call: pb::WorkerCall, within: Duration) -> Result<Answer, WorkerError> {
        let (waiting, answer) = oneshot::channel();
        let call_id = call.call_id.clone();
        self.doing().unanswered.insert(call_id.clone(), waiting);
        // Also when whoever asks is dropped.
        let _forget = Forget(self, &call_id);
        let until = Instant::now() + within;
        match timeout_at(until, self.outgoing.send(Ok(call))).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(self.not_asked("gone", "its stream broke before it was asked")),
            Err(_) => return Err(self.not_asked("busy", "it does not read its stream")),
        }
        match timeout_at(until, answer).await {
            Ok(Ok(Answer::Refused(refused))) => Err(WorkerError::Refused {
                worker: self.id.clone(),
                code: refused.code,
                message: refused.message,
                retryable: refused.retryable,
            }),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.lost("its stream broke".to_owned())),
            Err(_) => Err(self.lost(format!("no answer within {} ms", within.as_millis()))),
        }
    }

    fn not_asked(&self, code: &str, message: &str) -> WorkerError {
        WorkerError::Refused {
            worker: self.id.clone(),
            code: code.to_owned(),
            message: message.to_owned(),
            retryable: true,
        }
    }

    /// What it said does not answer what it was asked.
    pub(super) fn misunderstood(&self) -> WorkerError {
        self.lost("its answer is to another question".to_owned())
    }

    /// Whoever waits for an answer will not get one.
    pub(super) fn forsake(&self) {
        self.doing().unanswered.clear();
    }

    fn lost(&self, reason: String) -> WorkerError {
        WorkerError::Lost {
            worker: self.id.clone(),
            reason,
        }
    }

    fn doing(&self) -> MutexGuard<'_, Doing> {
        // Nothing panics while it is held.
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker says of the connectors in its process. One that it only names can observe.
fn connectors(hello: &pb::WorkerHello) -> BTreeMap<String, Supports> {
    let named = hello.connectors.iter().map(|name| {
        let observes = Supports {
            observe: true,
            ..Supports::default()
        };
        (name.clone(), observes)
    });
    let mut connectors: BTreeMap<String, Supports> = named.collect();
    for described in &hello.described {
        connectors.insert(described.name.clone(), calls::supports(described));
    }
    connectors
}

struct Forget<'a>(&'a Worker, &'a str);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.doing().unanswered.remove(self.1);
    }
}
