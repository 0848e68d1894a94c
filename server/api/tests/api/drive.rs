//! The calls of an app process on one stream.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use tape_proto::v1 as pb;
use tape_proto::v1::driver_answer::Answer;
use tape_proto::v1::driver_client::DriverClient;
use tape_proto::v1::driver_request::Request as Asked;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::{Code, Request, Streaming};
use tonic_prost::ProstCodec;

use crate::feed;
use crate::support::{TestServer, begin_request, decision, detail, end, inline, soon};

/// The client's end of a stream.
struct Stream {
    asks: mpsc::Sender<pb::DriverRequest>,
    answers: Streaming<pb::DriverAnswer>,
    last: u64,
}

impl Stream {
    async fn open(server: &TestServer) -> Self {
        Self::with(server, &[]).await
    }

    async fn with(server: &TestServer, headers: &[(&'static str, &'static str)]) -> Self {
        let (asks, asked) = mpsc::channel(1_024);
        let mut request = Request::new(ReceiverStream::new(asked));
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let answers = DriverClient::new(server.channel.clone()).drive(request).await.unwrap();
        Self {
            asks,
            answers: answers.into_inner(),
            last: 0,
        }
    }

    async fn send(&mut self, request: Option<Asked>, traceparent: &str) -> u64 {
        self.last += 1;
        let request = pb::DriverRequest {
            id: self.last,
            traceparent: traceparent.into(),
            request,
        };
        self.asks.send(request).await.unwrap();
        self.last
    }

    async fn next(&mut self) -> Option<(u64, Answer)> {
        let answer = soon(self.answers.message()).await.unwrap()?;
        Some((answer.id, answer.answer.expect("an answer")))
    }

    async fn ask(&mut self, request: Asked) -> Answer {
        let id = self.send(Some(request), "").await;
        let (answered, answer) = self.next().await.expect("the stream lives");
        assert_eq!(answered, id);
        answer
    }
}

macro_rules! got {
    ($answer:expr, $variant:ident) => {
        match $answer {
            Answer::$variant(answer) => answer,
            other => panic!("another answer: {other:?}"),
        }
    };
}

#[tokio::test]
async fn a_whole_run_goes_over_a_stream_and_leaves_the_journal_that_calls_leave() {
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server).await;
    let begin = begin_request("i-1", "driver");
    let begun = got!(stream.ask(Asked::BeginRun(begin)).await, BeginRun);
    let run = begun.run_id;
    let recorded = stream.ask(Asked::RecordDecision(decision(&run, 0, "1"))).await;
    assert_eq!(got!(recorded, RecordDecision).model, "m");
    let effect = got!(stream.ask(Asked::BeginEffect(inline(&run, 0))).await, BeginEffect);
    let done = pb::CompleteEffectRequest {
        run_id: run.clone(),
        idempotency_key: effect.idempotency_key,
        status: pb::EffectStatus::Confirmed.into(),
        response_json: "{}".into(),
        ..Default::default()
    };
    let done = got!(stream.ask(Asked::CompleteEffect(done)).await, CompleteEffect);
    assert_eq!(done.status(), pb::EffectStatus::Confirmed);
    let ended = stream.ask(Asked::EndRun(end(&run, pb::RunStatus::Terminal))).await;
    assert_eq!(got!(ended, EndRun).run.unwrap().status(), pb::RunStatus::Terminal);

    let kinds: Vec<_> = feed::whole(&server, &run, 0)
        .await
        .into_iter()
        .map(|entry| entry.kind)
        .collect();
    let expected = [
        "run.begun",
        "run.attached",
        "decision.recorded",
        "effect.begun",
        "effect.confirmed",
        "run.ended",
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn what_is_refused_says_what_the_call_would_and_the_stream_goes_on() {
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server).await;
    let missing = pb::GetRunRequest {
        run_id: "r-aaaaaaaaaaaaaaaaaaaaaaaaaa".into(),
    };
    let by_call = server.tape.clone().get_run(missing.clone()).await.unwrap_err();
    let error = got!(stream.ask(Asked::GetRun(missing)).await, Error);
    assert_eq!(error.status, i32::from(Code::NotFound));
    assert_eq!(
        (error.message.as_str(), error.detail),
        (by_call.message(), Some(detail(&by_call)))
    );

    let id = stream.send(None, "").await;
    let (answered, answer) = stream.next().await.unwrap();
    let error = got!(answer, Error);
    assert_eq!((answered, error.status), (id, i32::from(Code::InvalidArgument)));
    let said = error.detail.expect("a detail");
    assert_eq!((said.code.as_str(), said.field.as_str()), ("TAPE-V001", "request"));

    let begun = stream.ask(Asked::BeginRun(begin_request("i-1", "driver"))).await;
    assert!(!got!(begun, BeginRun).run_id.is_empty());
}

/// Ten times as many as are worked on at the same time, all sent before one answer is read.
#[tokio::test]
async fn many_requests_at_once_are_each_answered_once() {
    const RUNS: u64 = 900;
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server).await;
    for number in 0..RUNS {
        let begin = begin_request(&format!("i-{number}"), "driver");
        stream.send(Some(Asked::BeginRun(begin)), "").await;
    }
    let mut runs = BTreeMap::new();
    for _ in 0..RUNS {
        let (id, answer) = stream.next().await.expect("an answer");
        let run = got!(answer, BeginRun).run_id;
        assert_eq!(server.get(&run).await.invocation_id, format!("i-{}", id - 1));
        assert!(runs.insert(id, run).is_none(), "answered twice");
    }
}

/// A fence, an owner or a request id among the stream's headers would speak of every request on it.
#[tokio::test]
async fn headers_of_one_request_are_not_those_of_a_stream() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "driver", false).await.run_id;
    let headers = [
        ("tape-fence", "99"),
        ("tape-lease-owner", "x"),
        ("tape-request-id", "same"),
    ];
    let mut stream = Stream::with(&server, &headers).await;
    for index in 0..2 {
        let recorded = stream.ask(Asked::RecordDecision(decision(&run, index, "1"))).await;
        assert_eq!(got!(recorded, RecordDecision).decision_index, index);
    }
    // Its own fields are looked at.
    let stale = pb::RecordDecisionRequest {
        fence: 99,
        ..decision(&run, 2, "1")
    };
    let error = got!(stream.ask(Asked::RecordDecision(stale)).await, Error);
    assert_eq!(error.status, i32::from(Code::Aborted), "{error:?}");
}

#[tokio::test]
async fn each_request_has_its_own_trace() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "driver", false).await.run_id;
    let outer = "00-11111111111111111111111111111111-1111111111111111-01";
    let mut stream = Stream::with(&server, &[("traceparent", outer)]).await;
    let inner = "00-22222222222222222222222222222222-2222222222222222-01";
    let asked = Asked::RecordDecision(decision(&run, 0, "1"));
    stream.send(Some(asked), inner).await;
    stream.next().await.unwrap();
    stream.ask(Asked::EndRun(end(&run, pb::RunStatus::Terminal))).await;
    let traces = feed::whole(&server, &run, 0)
        .await
        .into_iter()
        .map(|entry| (entry.kind, entry.trace_id));
    let traces: BTreeMap<_, _> = traces.collect();
    assert_eq!(traces["decision.recorded"], "22222222222222222222222222222222");
    assert_eq!(traces["run.ended"], "11111111111111111111111111111111");
}

#[tokio::test]
async fn a_server_that_goes_away_answers_what_it_has_and_ends_the_stream() {
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server).await;
    let begun = stream.ask(Asked::BeginRun(begin_request("i-1", "driver"))).await;
    assert!(matches!(begun, Answer::BeginRun(_)));
    server.hub.drain().await;
    assert!(stream.next().await.is_none(), "the stream ends");
}

/// What is not even a message ends the stream once, with a status.
#[tokio::test]
async fn what_cannot_be_read_ends_the_stream() {
    let server = TestServer::start().await;
    let mut grpc = Grpc::new(server.channel.clone());
    grpc.ready().await.unwrap();
    // A text where DriverRequest has the number of the request.
    let garbage = pb::GetRunRequest { run_id: "r".into() };
    let asked = futures_util::stream::iter([garbage]).chain(futures_util::stream::pending());
    let codec = ProstCodec::<pb::GetRunRequest, pb::DriverAnswer>::default();
    let path = "/tape.v1.Driver/Drive".parse().unwrap();
    let answered = grpc.streaming(Request::new(asked), path, codec).await;
    let status = match answered {
        Err(status) => status,
        Ok(answers) => soon(answers.into_inner().message()).await.unwrap_err(),
    };
    assert_eq!(status.code(), Code::Internal, "{status:?}");
}
