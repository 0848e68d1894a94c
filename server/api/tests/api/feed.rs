//! Following a run.

use tape_proto::v1 as pb;
use tonic::Code;

use crate::support::{TestServer, decision, end, refused, soon};

pub async fn whole(server: &TestServer, run: &str, from_seq: i64) -> Vec<pb::JournalEntry> {
    let request = pb::SubscribeRunRequest {
        run_id: run.into(),
        from_seq,
    };
    let mut stream = server.tape.clone().subscribe_run(request).await.unwrap().into_inner();
    let mut entries = Vec::new();
    while let Some(entry) = soon(stream.message()).await.unwrap() {
        entries.push(entry);
    }
    entries
}

/// The entry with this seq of a run that goes on.
pub async fn whole_so_far(server: &TestServer, run: &str, seq: i64) -> pb::JournalEntry {
    let request = pb::SubscribeRunRequest {
        run_id: run.into(),
        from_seq: seq,
    };
    let mut stream = server.tape.clone().subscribe_run(request).await.unwrap().into_inner();
    soon(stream.message()).await.unwrap().expect("an entry")
}

#[tokio::test]
async fn a_subscription_is_live_and_ends_with_the_run() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    let request = pb::SubscribeRunRequest {
        run_id: run.clone(),
        from_seq: 0,
    };
    let mut stream = tape.subscribe_run(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(soon(stream.message()).await.unwrap().unwrap());
    }
    tape.record_decision(decision(&run, 0, "1")).await.unwrap();
    seen.push(soon(stream.message()).await.unwrap().unwrap());
    tape.end_run(end(&run, pb::RunStatus::Terminal)).await.unwrap();
    seen.push(soon(stream.message()).await.unwrap().unwrap());
    assert!(soon(stream.message()).await.unwrap().is_none());

    let kinds: Vec<_> = seen.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["run.begun", "run.attached", "decision.recorded", "run.ended"]);
    let seqs: Vec<_> = seen.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert_eq!(seen[2].decision_index, 0);
    assert_eq!(seen[0].decision_index, -1);
    assert_eq!(seen[3].subject, format!("/tape/run/ended/{run}"));
    assert_eq!(whole(&server, &run, 3).await.len(), 2);
}

#[tokio::test]
async fn a_subscription_ends_when_the_server_goes_away() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "a", false).await.run_id;
    let request = pb::SubscribeRunRequest {
        run_id: run,
        from_seq: 3,
    };
    let mut stream = server.tape.clone().subscribe_run(request).await.unwrap().into_inner();
    server.hub.drain().await;
    refused(soon(stream.message()).await, Code::Unavailable, "TAPE-A004");
}

#[tokio::test]
async fn nobody_follows_what_is_not_there() {
    let server = TestServer::start().await;
    let ask = |run_id: &str, from_seq| pb::SubscribeRunRequest {
        run_id: run_id.into(),
        from_seq,
    };
    let mut tape = server.tape.clone();
    refused(tape.subscribe_run(ask("r-none", 0)).await, Code::NotFound, "TAPE-R001");
    let (_, detail) = refused(
        tape.subscribe_run(ask("r-none", -1)).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("from_seq", "-1"));
}

/// Whoever has read a run goes on from there with the events of all.
#[tokio::test]
async fn the_position_of_a_runs_entry_is_a_place_among_the_events_of_all() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let first = server.begin("i-1", "a", false).await.run_id;
    tape.end_run(end(&first, pb::RunStatus::Terminal)).await.unwrap();
    let second = server.begin("i-2", "a", false).await.run_id;
    tape.end_run(end(&second, pb::RunStatus::Terminal)).await.unwrap();
    let last = whole(&server, &first, 0).await.pop().unwrap();
    assert!(last.global_seq > 0);
    let request = pb::SubscribeEventsRequest {
        from_global_seq: last.global_seq,
        ..Default::default()
    };
    let mut events = tape.subscribe_events(request).await.unwrap().into_inner();
    let itself = soon(events.message()).await.unwrap().unwrap();
    assert_eq!((itself.run_id, itself.seq), (first, last.seq));
    let next = soon(events.message()).await.unwrap().unwrap();
    let begun = &whole(&server, &second, 0).await[0];
    assert_eq!((next.run_id, next.global_seq), (second, begun.global_seq));
}
