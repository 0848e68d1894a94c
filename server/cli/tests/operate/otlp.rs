//! OTLP: spans under the caller's trace, the metrics too; and a collector that is away or hangs costs nothing.

use std::time::Duration;

use tape_proto::v1 as pb;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::Request;

use crate::collector::Collector;
use crate::server::{Start, begin, eventually, folder};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_call_is_a_span_under_its_caller_and_so_is_what_it_wrote() {
    let folder = folder();
    let collector = Collector::start().await;
    let server = Start::new(folder.path())
        .env("TAPE_OTLP_ENDPOINT", &collector.url)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "100")
        .run()
        .await;
    let mut tape = server.tape().await;
    let mut request = Request::new(begin("traced"));
    let parent = format!("00-{TRACE}-{CALLER}-01").parse().unwrap();
    request.metadata_mut().insert("traceparent", parent);
    let run_id = tape.begin_run(request).await.unwrap().into_inner().run_id;

    let span = eventually("the span arrives", async || collector.span("tape.begin_run")).await;
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), CALLER);

    let follow = pb::SubscribeRunRequest { run_id, from_seq: 0 };
    let mut journal = tape.subscribe_run(follow).await.unwrap().into_inner();
    let entry = journal.message().await.unwrap().unwrap();
    assert_eq!(entry.trace_id, TRACE);
    assert_eq!(entry.span_id, hex(&span.span_id), "the journal names the server's span");
    assert_eq!(entry.parent_span_id, CALLER);

    for name in ["tape.grpc.request.duration", "tape.commit.batch.size", "tape.runs"] {
        eventually(name, async || collector.has_metric(name).then_some(())).await;
    }
}

/// Runs a server against `url` and shows that it serves, and ends, as if nothing were wrong.
async fn serves_beside(url: &str) {
    let folder = folder();
    let mut server = Start::new(folder.path())
        .env("TAPE_OTLP_ENDPOINT", url)
        .env("OTEL_BSP_SCHEDULE_DELAY", "10")
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "16")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "10")
        .run()
        .await;
    let mut tape = server.tape().await;
    let began = Instant::now();
    for number in 0..100 {
        tape.begin_run(begin(&format!("run {number}"))).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let asked = Instant::now();
    server.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_collector_that_is_away_neither_slows_nor_stops_the_server() {
    // A port on which nobody listens any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    serves_beside(&format!("http://127.0.0.1:{port}")).await;
}

#[tokio::test]
async fn a_collector_that_never_answers_neither_slows_nor_stops_the_server() {
    // Connections are accepted by the system, and never by anybody.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    serves_beside(&format!("http://{}", listener.local_addr().unwrap())).await;
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_refused_by_name() {
    let folder = folder();
    let (status, words) = Start::new(folder.path())
        .env("TAPE_OTLP_ENDPOINT", "not a url")
        .refused();
    assert_eq!(status.code(), Some(1));
    assert!(
        words.contains("TAPE-N001") && words.contains("TAPE_OTLP_ENDPOINT"),
        "{words}"
    );
}
