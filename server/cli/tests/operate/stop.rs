//! SIGTERM under load: what was begun is answered, streams end with a status, and the process ends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use tape_proto::v1 as pb;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;

use crate::server::{Start, begin, eventually, folder};

#[tokio::test]
async fn a_stop_under_load_answers_what_was_begun_and_loses_nothing() {
    const CLIENTS: usize = 32;
    let folder = folder();
    let mut server = Start::new(folder.path()).run().await;
    let stopping = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (mut tape, stopping) = (server.tape().await, stopping.clone());
        clients.spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                match tape.begin_run(begin(&format!("{client}/{number}"))).await {
                    Ok(begun) => acknowledged.push(begun.into_inner().run_id),
                    Err(refused) => {
                        assert!(stopping.load(Ordering::SeqCst), "refused before the stop: {refused:?}");
                        // A call that meets the server's orderly goodbye on its way is INTERNAL in this client's words.
                        let goodbye = refused.code() == Code::Internal && format!("{refused:?}").contains("NO_ERROR");
                        assert!(
                            goodbye || matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Cancelled),
                            "{refused:?}"
                        );
                        break;
                    }
                }
            }
            acknowledged
        });
    }
    let mut follower = server.tape().await;
    let all = pb::SubscribeEventsRequest::default();
    let mut events = follower.subscribe_events(all).await.unwrap().into_inner();
    for _ in 0..200 {
        events.message().await.unwrap().unwrap();
    }
    stopping.store(true, Ordering::SeqCst);
    server.signal(Signal::SIGTERM);
    let asked = Instant::now();
    let end = loop {
        match events.message().await {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
    };
    let end = end.expect("a stream that is cut says so");
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    assert!(end.message().contains("TAPE-A004"), "{end:?}");
    assert_eq!(server.ended().await.code(), Some(0), "{:#?}", server.log());
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());

    let acknowledged = clients.join_all().await.concat();
    assert!(acknowledged.len() >= CLIENTS, "{}", acknowledged.len());
    let again = Start::new(folder.path()).run().await;
    let mut tape = again.tape().await;
    for run_id in acknowledged {
        tape.get_run(pb::GetRunRequest { run_id }).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_with_a_code_and_the_connection_lives() {
    let folder = folder();
    let server = Start::new(folder.path()).run().await;
    let mut tape = server.tape().await;
    let huge = pb::BeginRunRequest {
        input_json: format!("\"{}\"", "x".repeat(17 * 1024 * 1024)),
        ..begin("huge")
    };
    let refused = tape.begin_run(huge).await.unwrap_err();
    assert!(
        matches!(
            refused.code(),
            Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument
        ),
        "{refused:?}"
    );
    tape.begin_run(begin("small")).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_while_idle_stops_at_once() {
    let folder = folder();
    let mut server = Start::new(folder.path()).run().await;
    let asked = Instant::now();
    server.signal(Signal::SIGINT);
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    eventually("its file is free", async || {
        std::fs::File::open(folder.path().join("tape.db")).ok()
    })
    .await;
}
