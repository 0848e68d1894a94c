//! More connections than the server takes.

use prost::Message as _;
use tape_proto::v1 as pb;
use tape_proto::v1::tape_client::TapeClient;
use tokio::task::JoinSet;
use tonic::Code;

use crate::server::{Server, Start, begin, eventually, file, folder};

/// The code in the refusal's details, and whether trying again can help.
fn told(status: &tonic::Status) -> (String, bool) {
    let bytes = status.metadata().get_bin("tape-error-bin").expect("details");
    let detail = pb::ErrorDetail::decode(bytes.to_bytes().unwrap()).unwrap();
    (detail.code, detail.retryable)
}

async fn fill(server: &Server, connections: usize) -> Vec<TapeClient<tonic::transport::Channel>> {
    let mut clients = Vec::new();
    for number in 0..connections {
        let mut client = server.tape().await;
        client.begin_run(begin(&number.to_string())).await.unwrap();
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn calls_on_a_connection_too_many_are_refused_in_words_and_a_place_that_is_left_is_taken() {
    let folder = folder();
    let server = Start::new(folder.path()).args(&["--max-connections", "3"]).run().await;
    let mut clients = fill(&server, 3).await;

    let mut fourth = server.tape().await;
    let refused = fourth.begin_run(begin("4")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert_eq!(told(&refused), ("TAPE-A008".to_owned(), true));
    assert!(refused.message().contains("the 3 connections"), "{refused:?}");
    // A full server is not dead, and says so to whoever probes it.
    let mut probe = tonic_health::pb::health_client::HealthClient::new(server.channel().await);
    let health = probe.check(tonic_health::pb::HealthCheckRequest::default()).await;
    assert_eq!(health.unwrap().into_inner().status, 1, "SERVING");
    assert_eq!(server.get("/readyz").await.0, 200);
    // Those who are in go on.
    clients[0].begin_run(begin("0")).await.unwrap();
    let refusals = "tape_connections_refused_total{listener=\"grpc\"}";
    assert!(server.metrics().await[refusals] >= 2.0);
    assert!(server.log().iter().any(|line| line.contains("TAPE-A008")));

    clients.pop();
    eventually("the fourth comes in, over a connection of its own accord", || {
        let mut fourth = fourth.clone();
        async move { fourth.begin_run(begin("4")).await.ok() }
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_connections_takes_nothing_from_those_that_are_in() {
    let folder = folder();
    let project =
        "apiVersion: tape.dev/v1\nkind: TapeProject\nproject: {name: p}\ntape: {server: {max_connections: 2}}\n";
    let project = file(&folder, "tape.yaml", project).display().to_string();
    let server = Start::new(folder.path()).args(&["--config", &project]).run().await;
    let mut clients = fill(&server, 2).await;
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(tokio::net::TcpStream::connect(&server.grpc).await.unwrap());
    }
    for round in 0..20 {
        clients[round % 2]
            .begin_run(begin(&format!("r-{round}")))
            .await
            .unwrap();
    }
    let grpc = "tape_connections{listener=\"grpc\"}";
    eventually("the flood is gone although it never hung up", || async {
        (server.metrics().await[grpc] == 2.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn more_calls_than_a_connection_may_have_wait_for_their_turn() {
    let folder = folder();
    let server = Start::new(folder.path()).args(&["--max-streams", "2"]).run().await;
    let mut client = server.tape().await;
    let all = pb::SubscribeEventsRequest::default;
    let first = client.subscribe_events(all()).await.unwrap();
    let _second = client.subscribe_events(all()).await.unwrap();
    let mut third = client.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { third.begin_run(begin("1")).await });
    // It is served on a connection of its own meanwhile, not on the full one.
    server.tape().await.begin_run(begin("2")).await.unwrap();
    assert!(waiting.try_join_next().is_none());
    drop(first);
    waiting.join_next().await.expect("it runs").unwrap().unwrap();
}
