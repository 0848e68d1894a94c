//! The life of one stream: hello, welcome, answers and heartbeats, and what its end means.

use std::pin::pin;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt};
use tape_core::Refusal;
use tape_core::command::recovery::LoseLease;
use tape_core::json::{check_name, check_optional_name};
use tape_core::refusal::Status as RefusalStatus;
use tape_proto::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::WorkerHub;
use super::worker::{Outgoing, Worker};
use crate::feed::Answers;
use crate::status;
use crate::tenancy::Caller;

/// Calls that wait for a worker to read them.
const CALLS_MAX: usize = 256;

/// How a stream ended.
enum End {
    /// The worker is gone, or silent for too long: what it drove is free.
    Lost(String),
    /// The worker has another stream: it goes on there.
    Replaced,
    /// This server goes away: the worker does not.
    Closing,
}

/// Attaches a worker for as long as `incoming` lives.
pub(crate) fn attach<S>(hub: &Arc<WorkerHub>, caller: Caller, incoming: S) -> Answers<pb::WorkerCall>
where
    S: Stream<Item = Result<pb::WorkerMessage, Status>> + Send + 'static,
{
    let (outgoing, calls) = mpsc::channel(CALLS_MAX);
    let serving = Arc::clone(hub);
    hub.streams.spawn(async move {
        if let Err(status) = serving.serve(&caller, incoming, &outgoing).await {
            // The worker may be gone: then nobody wants to know.
            drop(outgoing.send(Err(status)).await);
        }
    });
    ReceiverStream::new(calls).boxed()
}

impl WorkerHub {
    async fn serve<S>(&self, caller: &Caller, incoming: S, outgoing: &Outgoing) -> Result<(), Status>
    where
        S: Stream<Item = Result<pb::WorkerMessage, Status>> + Send,
    {
        let mut incoming = pin!(incoming);
        let hello = tokio::select! {
            () = self.closing.cancelled() => return Err(closing()),
            first = tokio::time::timeout(self.config.hello_within, incoming.next()) => read_hello(caller, first.ok().flatten())?,
        };
        self.vacant(&hello)?;
        if self.draining.is_cancelled() {
            // One that finished here and looks for its next server.
            return Err(closing());
        }
        let worker = self.enter(hello, outgoing).await;
        if self.draining.is_cancelled() {
            // It came in between, and may not have been told with the others.
            worker.tell(self.next_call_id(), pb::worker_call::Call::Drain(pb::Drain {}));
        }
        tracing::info!(worker = worker.id, app = worker.app, "worker attached");
        let end = self.listen(&worker, &mut incoming, outgoing).await;
        self.leave(&worker, end).await
    }

    /// Whoever attaches under the id of an attached worker takes its place: only one of the same tenant may.
    fn vacant(&self, hello: &pb::WorkerHello) -> Result<(), Status> {
        let workers = self.lock();
        let taken = workers.get(&hello.worker_id);
        if taken.is_none_or(|worker| worker.tenant == hello.tenant_id) {
            return Ok(());
        }
        let refusal = Refusal::new(
            RefusalStatus::PermissionDenied,
            "TAPE-P005",
            "Somebody else is attached under that worker_id.",
            "Choose a worker_id that nobody else has: the SDK makes one up.",
        );
        Err(status::of(refusal.at("hello.worker_id", &hello.worker_id).into()))
    }

    /// Welcomes a worker, then makes it known: no call can come before the welcome.
    async fn enter(&self, hello: pb::WorkerHello, outgoing: &Outgoing) -> Arc<Worker> {
        let welcome = pb::WorkerCall {
            call: Some(pb::worker_call::Call::Welcome(pb::Welcome {
                server_version: env!("CARGO_PKG_VERSION").to_owned(),
                heartbeat_interval_ms: i64::try_from(self.config.heartbeat.as_millis()).unwrap_or(i64::MAX),
            })),
            ..pb::WorkerCall::default()
        };
        // A stream that is broken already says so when it is read.
        drop(outgoing.send(Ok(welcome)).await);
        let worker = Arc::new(Worker::new(hello, outgoing.clone(), self.engine.now()));
        let former = self.lock().insert(worker.id.clone(), worker.clone());
        if let Some(former) = former {
            for run in former.runs() {
                worker.add_run(&run);
            }
            former.replaced.cancel();
        }
        self.attachments.send_modify(|times| *times += 1);
        self.roster.send_modify(|times| *times += 1);
        worker
    }

    async fn listen<S>(&self, worker: &Worker, incoming: &mut S, outgoing: &Outgoing) -> End
    where
        S: Stream<Item = Result<pb::WorkerMessage, Status>> + Send + Unpin,
    {
        let silence_max = self.config.heartbeat.saturating_mul(3);
        loop {
            let next = tokio::select! {
                biased;
                () = worker.replaced.cancelled() => return End::Replaced,
                () = self.closing.cancelled() => return End::Closing,
                () = outgoing.closed() => return End::Lost("its stream broke".to_owned()),
                next = tokio::time::timeout(silence_max, incoming.next()) => next,
            };
            let message = match next {
                Err(_) => return End::Lost(format!("it was silent for {} ms", silence_max.as_millis())),
                Ok(None) => return End::Lost("it closed its stream".to_owned()),
                Ok(Some(Err(status))) => return End::Lost(format!("its stream broke: {}", status.message())),
                Ok(Some(Ok(message))) => message.message,
            };
            match message {
                Some(pb::worker_message::Message::Heartbeat(heartbeat)) => {
                    worker.heartbeat(heartbeat, self.engine.now());
                }
                Some(pb::worker_message::Message::Answer(answered)) => {
                    if let Some(answer) = answered.answer {
                        worker.answered(&answered.call_id, answer);
                    }
                }
                // Said twice, or something of a newer contract.
                Some(pb::worker_message::Message::Hello(_)) | None => {}
            }
        }
    }

    async fn leave(&self, worker: &Arc<Worker>, end: End) -> Result<(), Status> {
        let reason = match end {
            End::Replaced => {
                worker.forsake();
                return Err(status::ended(
                    Code::Aborted,
                    false,
                    "another stream with this worker_id has taken the place of this one.",
                    "Give each process a worker_id of its own.",
                ));
            }
            End::Closing => {
                self.forget(worker);
                return Err(closing());
            }
            End::Lost(reason) => reason,
        };
        self.forget(worker);
        tracing::info!(worker = worker.id, app = worker.app, %reason, "worker detached");
        for run in worker.runs() {
            let lost = LoseLease {
                run: run.clone(),
                owner: worker.id.clone(),
                reason: format!("worker lost: {reason}"),
            };
            match self.engine.execute(&lost, None).await {
                Ok(true) => tracing::info!(%run, worker = worker.id, "the run is free for another worker"),
                Ok(false) => {}
                // Its lease runs out all the same.
                Err(error) => tracing::warn!(%run, %error, "the lease of a lost worker could not be given up"),
            }
        }
        Ok(())
    }

    fn forget(&self, worker: &Arc<Worker>) {
        let mut workers = self.lock();
        if workers.get(&worker.id).is_some_and(|known| Arc::ptr_eq(known, worker)) {
            workers.remove(&worker.id);
        }
        drop(workers);
        worker.forsake();
        self.left.notify_waiters();
        self.roster.send_modify(|times| *times += 1);
    }
}

fn read_hello(caller: &Caller, first: Option<Result<pb::WorkerMessage, Status>>) -> Result<pb::WorkerHello, Status> {
    let hello = match first.transpose()?.and_then(|first| first.message) {
        Some(pb::worker_message::Message::Hello(hello)) => hello,
        _ => {
            let refusal = Refusal::invalid(
                "hello",
                "",
                "The first message of the stream is not a WorkerHello.",
                "Send WorkerHello first, once.",
            );
            return Err(status::of(refusal.into()));
        }
    };
    let check = || {
        check_optional_name("hello.tenant_id", &hello.tenant_id)?;
        check_name("hello.app_name", &hello.app_name)?;
        check_name("hello.worker_id", &hello.worker_id)?;
        for described in &hello.described {
            check_name("hello.described.name", &described.name)?;
        }
        hello
            .connectors
            .iter()
            .try_for_each(|name| check_name("hello.connectors", name))
    };
    check().map_err(|refusal| status::of(refusal.into()))?;
    let tenant_id = caller.tenant("hello.tenant_id", &hello.tenant_id);
    let tenant_id = tenant_id.map_err(|refusal| status::of(refusal.into()))?;
    Ok(pb::WorkerHello { tenant_id, ..hello })
}

fn closing() -> Status {
    status::ended(
        Code::Unavailable,
        true,
        "the server is going away.",
        "Attach again: the runs that you drive stay yours as long as their leases live.",
    )
}
