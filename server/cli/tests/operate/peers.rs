//! A peer that vanished without closing its connection: either side notices by itself.

use std::time::Duration;

use nix::sys::signal::Signal;
use tape_client::{ConnectOptions, TapeClient as Client};
use tape_proto::v1 as pb;
use tape_proto::v1::tape_client::TapeClient;
use tape_proto::v1::workers_client::WorkersClient;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::server::{Server, Start, eventually, folder};
use crate::wire::Wire;

/// A worker that says nothing is detached after this, however well its connection is: what comes sooner was the pings.
const SILENT_WORKER: Duration = Duration::from_secs(15);

async fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("it listens")
}

async fn wait_for(server: &Server, what: &str, metric: &str, wanted: f64) {
    eventually(what, || async {
        let value = server.metrics().await.get(metric).copied();
        (value == Some(wanted)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_streams_of_a_client_that_vanished_are_dropped() {
    let folder = folder();
    let server = Start::new(folder.path()).args(&["--keepalive-ms", "300"]).run().await;
    let wire = Wire::to(&server.grpc).await;
    let channel = connect(&wire.address).await;
    let hello = pb::WorkerHello {
        app_name: "app".into(),
        worker_id: "w".into(),
        ..Default::default()
    };
    let (says, said) = mpsc::channel(4);
    let message = pb::worker_message::Message::Hello(hello);
    says.send(pb::WorkerMessage { message: Some(message) }).await.unwrap();
    let mut workers = WorkersClient::new(channel.clone());
    let mut calls = workers.attach(ReceiverStream::new(said)).await.unwrap().into_inner();
    calls.message().await.unwrap().expect("the welcome");
    let all = pb::SubscribeEventsRequest::default();
    let _events = TapeClient::new(channel).subscribe_events(all).await.unwrap();
    wait_for(&server, "the worker is there", "tape_workers", 1.0).await;

    // Quiet is not gone: pings are answered.
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_millis(1500) {
        assert_eq!(server.metrics().await["tape_workers"], 1.0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let vanished = Instant::now();
    wire.swallow();
    wait_for(&server, "its worker is detached", "tape_workers", 0.0).await;
    let grpc = "tape_connections{listener=\"grpc\"}";
    wait_for(&server, "its connection is closed", grpc, 0.0).await;
    assert!(vanished.elapsed() < SILENT_WORKER, "{:?}", vanished.elapsed());
}

#[tokio::test]
async fn a_client_whose_server_hangs_is_told_so() {
    let folder = folder();
    let server = Start::new(folder.path()).run().await;
    let options = ConnectOptions {
        keep_alive: Some(Duration::from_millis(300)),
        ..ConnectOptions::default()
    };
    let client = Client::connect_with(&format!("tape://{}", server.grpc), options)
        .await
        .unwrap();
    client.stats().await.unwrap();

    server.signal(Signal::SIGSTOP);
    let asked = tokio::time::timeout(Duration::from_secs(10), client.stats()).await;
    server.signal(Signal::SIGCONT);
    let refused = asked.expect("it does not wait for ever").unwrap_err();
    assert_eq!(refused.code(), "TAPE-A001", "{refused}");
    assert!(refused.retryable(), "{refused}");
    // And goes on by itself once it is back.
    eventually("it answers again", || async { client.stats().await.ok() }).await;
}
