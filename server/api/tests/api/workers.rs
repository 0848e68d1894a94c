//! Workers: what they are asked, what they answer, and what their death means.

use std::time::Duration;

use tape_api::HubConfig;
use tape_connector_port::{EffectCall, StatusAnswer};
use tape_core::{RunId, Time};
use tape_engine::EngineConfig;
use tape_port::{RecoveryTask, TimerTask, WorkerError, Workers};
use tape_proto::v1::worker_answer::Answer;
use tape_proto::v1::worker_call::Call;
use tape_proto::v1::worker_message::Message;
use tape_proto::v1::{self as pb, WorkerMessage};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::support::{TestServer, refused, soon};

/// The worker's end of a stream.
pub(crate) struct Stream {
    out: mpsc::Sender<WorkerMessage>,
    calls: Streaming<pb::WorkerCall>,
}

fn hello(worker_id: &str, max_concurrent_runs: i32) -> pb::WorkerHello {
    pb::WorkerHello {
        app_name: "app".into(),
        worker_id: worker_id.into(),
        sdk: "test/1".into(),
        max_concurrent_runs,
        functions: vec!["tools:check".into()],
        ..Default::default()
    }
}

impl Stream {
    async fn open(server: &TestServer, first: Message) -> Self {
        let (out, messages) = mpsc::channel(16);
        out.send(WorkerMessage { message: Some(first) }).await.unwrap();
        let calls = server.workers.clone().attach(ReceiverStream::new(messages)).await;
        Self {
            out,
            calls: calls.unwrap().into_inner(),
        }
    }

    /// Attached and welcomed, and known to the hub.
    pub(crate) async fn attach(server: &TestServer, hello: pb::WorkerHello) -> Self {
        let mut attachments = server.hub.attachments();
        let mut stream = Self::open(server, Message::Hello(hello)).await;
        let Call::Welcome(welcome) = stream.next().await.1 else {
            panic!("the welcome comes first");
        };
        assert!(welcome.heartbeat_interval_ms > 0);
        soon(attachments.changed()).await.unwrap();
        stream
    }

    pub(crate) async fn next(&mut self) -> (String, Call) {
        let call = soon(self.calls.message()).await.unwrap().expect("a call");
        (call.call_id, call.call.expect("a call with content"))
    }

    /// The next call as a whole.
    pub(crate) async fn call(&mut self) -> pb::WorkerCall {
        soon(self.calls.message()).await.unwrap().expect("a call")
    }

    async fn ended(&mut self) -> Result<Option<pb::WorkerCall>, Status> {
        soon(self.calls.message()).await
    }

    pub(crate) async fn answer(&self, call_id: &str, answer: Answer) {
        let answer = pb::WorkerAnswer {
            call_id: call_id.into(),
            answer: Some(answer),
        };
        let message = Some(Message::Answer(answer));
        self.out.send(WorkerMessage { message }).await.unwrap();
    }

    async fn accept_redrive(&mut self) -> pb::RedriveCall {
        let (id, call) = self.next().await;
        self.answer(&id, Answer::Accepted(pb::Accepted {})).await;
        match call {
            Call::Redrive(redrive) => redrive,
            other => panic!("not a redrive: {other:?}"),
        }
    }

    async fn heartbeat(&self, running: &[&str]) {
        let heartbeat = pb::WorkerHeartbeat {
            running_run_ids: running.iter().map(|run| (*run).to_owned()).collect(),
        };
        let message = Some(Message::Heartbeat(heartbeat));
        self.out.send(WorkerMessage { message }).await.unwrap();
    }
}

/// A worker of the app that stays as long as this is held.
pub(crate) async fn attached(server: &TestServer, id: &str) -> impl Sized + use<> {
    Stream::attach(server, hello(id, 1)).await
}

async fn started(server: &TestServer, invocation: &str) -> RecoveryTask {
    let request = pb::StartRunRequest {
        app_name: "app".into(),
        user_id: "user".into(),
        session_id: "session".into(),
        invocation_id: invocation.into(),
        input_json: r#""go""#.into(),
        ..Default::default()
    };
    let run = server
        .admin
        .clone()
        .start_run(request)
        .await
        .unwrap()
        .into_inner()
        .run_id;
    let run = server.engine.run(&RunId(run)).await.unwrap();
    RecoveryTask {
        run: run.id,
        identity: run.identity,
        input_json: run.input_json,
        new: true,
        tries: 1,
    }
}

async fn status(server: &TestServer, run: &RunId) -> pb::RunStatus {
    server.get(run.as_str()).await.status()
}

/// Waits until the run's state is as it will be.
async fn becomes(server: &TestServer, run: &RunId, wanted: pb::RunStatus) {
    soon(async {
        while status(server, run).await != wanted {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn effect_call() -> EffectCall {
    EffectCall {
        tenant: String::new(),
        app: "app".into(),
        run_id: "r-1".into(),
        idempotency_key: "r-1/d-0/t/0".into(),
        decision_index: 0,
        tool: "t".into(),
        operation: String::new(),
        business_key: Some("inv-7".into()),
        attempt: 1,
        payload_json: "{}".into(),
        deadline_ms: 0,
        trace_parent: None,
        idempotent: false,
    }
}

#[tokio::test]
async fn a_run_goes_to_the_worker_with_the_least_to_do() {
    let server = TestServer::start().await;
    let run = started(&server, "i-1").await;
    let nobody = server.hub.redrive(&run, "started").await;
    assert_eq!(nobody, Err(WorkerError::NoWorker { app: "app".into() }));

    let mut first = Stream::attach(&server, hello("w-1", 2)).await;
    assert_eq!(server.hub.apps(), ["app"]);
    let (redriven, call) = tokio::join!(server.hub.redrive(&run, "started"), first.accept_redrive());
    redriven.unwrap();
    assert_eq!(
        (call.run_id.as_str(), call.invocation_id.as_str()),
        (run.run.as_str(), "i-1")
    );
    assert_eq!((call.input_json.as_str(), call.reason.as_str()), (r#""go""#, "started"));

    let mut second = Stream::attach(&server, hello("w-2", 1)).await;
    let other = started(&server, "i-2").await;
    let (redriven, call) = tokio::join!(server.hub.redrive(&other, "started"), second.accept_redrive());
    redriven.unwrap();
    assert_eq!(call.run_id, other.run.0);
    let third = started(&server, "i-3").await;
    let (redriven, call) = tokio::join!(server.hub.redrive(&third, "started"), first.accept_redrive());
    redriven.unwrap();
    assert_eq!(call.run_id, third.run.0);
    let fourth = started(&server, "i-4").await;
    let busy = server.hub.redrive(&fourth, "started").await.unwrap_err();
    assert!(
        matches!(&busy, WorkerError::Refused { code, retryable: true, .. } if code == "busy"),
        "{busy}"
    );

    let stats = server
        .admin
        .clone()
        .stats(pb::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    let running: Vec<_> = stats
        .workers
        .iter()
        .map(|w| (w.worker_id.as_str(), w.running))
        .collect();
    assert_eq!(running, [("w-1", 2), ("w-2", 1)]);
}

#[tokio::test]
async fn a_worker_that_refuses_gives_way_to_the_next() {
    let server = TestServer::start().await;
    let mut first = Stream::attach(&server, hello("w-1", 4)).await;
    let mut second = Stream::attach(&server, hello("w-2", 4)).await;
    let run = started(&server, "i-1").await;
    let refuse = async {
        let (id, _) = first.next().await;
        let refused = pb::Refused {
            code: "draining".into(),
            message: "going away".into(),
            retryable: true,
        };
        first.answer(&id, Answer::Refused(refused)).await;
    };
    let (redriven, (), call) = tokio::join!(server.hub.redrive(&run, "started"), refuse, second.accept_redrive());
    redriven.unwrap();
    assert_eq!(call.run_id, run.run.0);
}

#[tokio::test]
async fn a_broken_stream_frees_the_runs_of_its_worker_at_once() {
    let server = TestServer::start().await;
    let mut worker = Stream::attach(&server, hello("w-1", 4)).await;
    let run = started(&server, "i-1").await;
    let (redriven, _) = tokio::join!(server.hub.redrive(&run, "started"), worker.accept_redrive());
    redriven.unwrap();
    server.begin("i-1", "w-1", true).await;
    // Begun by the worker itself, and not in any heartbeat yet.
    let own = server.begin("i-2", "w-1", true).await.run_id;
    // Driven by somebody else: none of the worker's business.
    let others = server.begin("i-3", "elsewhere", true).await.run_id;
    worker.heartbeat(&[run.run.as_str(), &others]).await;

    drop(worker);
    becomes(&server, &run.run, pb::RunStatus::Runnable).await;
    becomes(&server, &RunId(own), pb::RunStatus::Runnable).await;
    assert_eq!(server.get(&others).await.status(), pb::RunStatus::Running);
    assert!(server.hub.apps().is_empty());
    let state = server.get(run.run.as_str()).await;
    assert_eq!((state.fence, state.lease_owner.as_str()), (1, ""));
}

#[tokio::test]
async fn a_server_that_goes_away_takes_no_lease_from_anybody() {
    let patience = HubConfig {
        drain_within: Duration::ZERO,
        ..HubConfig::default()
    };
    let server = TestServer::with(EngineConfig::default(), patience).await;
    let mut worker = Stream::attach(&server, hello("w-1", 4)).await;
    let run = RunId(server.begin("i-1", "w-1", true).await.run_id);
    server.hub.drain().await;
    assert!(matches!(worker.next().await.1, Call::Drain(_)));
    refused(worker.ended().await, Code::Unavailable, "TAPE-A004");
    assert_eq!(status(&server, &run).await, pb::RunStatus::Running);
}

#[tokio::test]
async fn a_server_that_is_about_to_go_away_waits_for_those_who_drive_and_takes_nobody_else() {
    let server = TestServer::start().await;
    let mut busy = Stream::attach(&server, hello("w-1", 4)).await;
    let leaving = server.hub.drain();
    let story = async {
        assert!(matches!(busy.next().await.1, Call::Drain(_)));
        // One that has finished already comes back too soon.
        let mut early = Stream::open(&server, Message::Hello(hello("w-2", 4))).await;
        refused(early.ended().await, Code::Unavailable, "TAPE-A004");
        drop(busy);
    };
    soon(async { tokio::join!(leaving, story) }).await;
}

#[tokio::test]
async fn a_second_stream_takes_the_place_of_the_first_and_its_runs() {
    let server = TestServer::start().await;
    let mut first = Stream::attach(&server, hello("w-1", 4)).await;
    let run = RunId(server.begin("i-1", "w-1", true).await.run_id);
    let second = Stream::attach(&server, hello("w-1", 4)).await;
    refused(first.ended().await, Code::Aborted, "TAPE-A004");
    assert_eq!(status(&server, &run).await, pb::RunStatus::Running);
    drop(second);
    becomes(&server, &run, pb::RunStatus::Runnable).await;
}

#[tokio::test]
async fn a_silent_worker_is_dropped() {
    let patience = HubConfig {
        heartbeat: Duration::from_millis(20),
        ..HubConfig::default()
    };
    let server = TestServer::with(EngineConfig::default(), patience).await;
    let mut worker = Stream::attach(&server, hello("w-1", 4)).await;
    let run = RunId(server.begin("i-1", "w-1", true).await.run_id);
    becomes(&server, &run, pb::RunStatus::Runnable).await;
    assert!(worker.ended().await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_begins_with_a_hello_that_names_app_and_worker() {
    let server = TestServer::start().await;
    let nameless = pb::WorkerHello {
        worker_id: String::new(),
        ..hello("", 1)
    };
    let table = [
        (Message::Heartbeat(pb::WorkerHeartbeat::default()), "hello"),
        (Message::Hello(nameless), "hello.worker_id"),
    ];
    for (first, field) in table {
        let mut stream = Stream::open(&server, first).await;
        let (_, detail) = refused(stream.ended().await, Code::InvalidArgument, "TAPE-V001");
        assert_eq!(detail.field, field);
    }
    assert!(server.hub.workers().is_empty());
}

#[tokio::test]
async fn a_cancelled_run_is_told_to_its_worker() {
    let server = TestServer::start().await;
    let mut worker = Stream::attach(&server, hello("w-1", 4)).await;
    let run = server.begin("i-1", "w-1", true).await.run_id;
    let cancel = pb::CancelRunRequest {
        run_id: run.clone(),
        reason: "enough".into(),
    };
    server.admin.clone().cancel_run(cancel).await.unwrap();
    let (_, Call::Cancel(cancel)) = worker.next().await else {
        panic!("a cancel");
    };
    assert_eq!((cancel.run_id, cancel.reason.as_str()), (run, "enough"));
}

#[tokio::test]
async fn functions_are_asked_of_those_who_list_them() {
    let server = TestServer::start().await;
    let mut worker = Stream::attach(&server, hello("w-1", 4)).await;
    let unknown = server
        .hub
        .status_check("tools:other", &effect_call(), "")
        .await
        .unwrap_err();
    assert!(
        matches!(&unknown, WorkerError::Refused { code, .. } if code == "unknown_function"),
        "{unknown}"
    );

    let call = effect_call();
    let reply = async {
        let (id, Call::StatusCheck(check)) = worker.next().await else {
            panic!("a status check");
        };
        assert_eq!(
            (check.function.as_str(), check.external_ref.as_str()),
            ("tools:check", "ref")
        );
        assert_eq!(check.effect.unwrap().business_key, "inv-7");
        let committed = pb::status_answer::Answer::Committed(pb::Receipt {
            external_ref: "b-1".into(),
            response_json: "1".into(),
        });
        let answer = pb::StatusAnswer {
            answer: Some(committed),
        };
        worker.answer(&id, Answer::Status(answer)).await;
    };
    let (answer, ()) = tokio::join!(server.hub.status_check("tools:check", &call, "ref"), reply);
    let StatusAnswer::Committed(receipt) = answer.unwrap() else {
        panic!("committed");
    };
    assert_eq!(
        (receipt.external_ref.as_str(), receipt.response_json.as_str()),
        ("b-1", "1")
    );
}

#[tokio::test]
async fn an_unanswered_call_is_lost_when_its_worker_dies() {
    let server = TestServer::start().await;
    let mut worker = Stream::attach(&server, hello("w-1", 4)).await;
    let timer = TimerTask {
        run: RunId("r-1".into()),
        id: "t".into(),
        kind: "mine".into(),
        payload_json: "{}".into(),
        fire_at: Time(5),
    };
    let die = async {
        let (_, call) = worker.next().await;
        assert!(matches!(call, Call::Timer(timer) if timer.kind == "mine"));
        drop(worker);
    };
    let (answer, ()) = tokio::join!(server.hub.timer("", "app", &timer), die);
    let lost = answer.unwrap_err();
    assert!(
        matches!(&lost, WorkerError::Lost { worker, .. } if worker == "w-1"),
        "{lost}"
    );
}
