//! The reactive key-value store.

use std::collections::BTreeSet;

use tape_core::command::value::Guard;
use tape_core::value::{VERSIONS_KEPT, ValueName};
use tape_engine::ValueFeed;
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tokio::task::JoinSet;
use tonic::{Code, Streaming};

use crate::support::{TestServer, refused, soon};

fn write(json: &str, if_version: i64) -> pb::WriteValueRequest {
    pb::WriteValueRequest {
        namespace: "prices".into(),
        key: "gold".into(),
        value_json: json.into(),
        if_version,
        writer: format!("writer of {json}"),
        ..Default::default()
    }
}

fn delete(request_id: &str) -> pb::DeleteValueRequest {
    pb::DeleteValueRequest {
        namespace: "prices".into(),
        key: "gold".into(),
        request_id: request_id.into(),
    }
}

fn name() -> ValueName {
    ValueName {
        tenant: String::new(),
        namespace: "prices".into(),
        key: "gold".into(),
    }
}

impl TestServer {
    async fn write(&self, json: &str, if_version: i64) -> pb::ValueRecord {
        let written = self.tape.clone().write_value(write(json, if_version)).await;
        written.expect("a version").into_inner()
    }

    async fn value(&self) -> pb::GetValueResponse {
        let request = pb::GetValueRequest {
            namespace: "prices".into(),
            key: "gold".into(),
        };
        let answer = self.tape.clone().get_value(request).await;
        answer.expect("an answer").into_inner()
    }

    async fn watch(&self, from_version: i64) -> Streaming<pb::ValueEvent> {
        let request = pb::WatchValueRequest {
            namespace: "prices".into(),
            key: "gold".into(),
            from_version,
        };
        let answer = self.tape.clone().watch_value(request).await;
        answer.expect("a stream").into_inner()
    }

    async fn write_many(&self, count: u64) {
        for _ in 0..count {
            let written = self
                .engine
                .write_value(name(), "1".into(), Guard::Any, String::new(), String::new());
            written.await.expect("a version");
        }
    }
}

/// Version, value, version before, value before.
async fn event(stream: &mut Streaming<pb::ValueEvent>) -> (i64, String, i64, String) {
    let event = soon(stream.message()).await.unwrap().unwrap();
    let value = event.value.unwrap();
    (
        value.version,
        value.value_json,
        event.prev_version,
        event.prev_value_json,
    )
}

fn seen(version: i64, json: &str, prev_version: i64, prev_json: &str) -> (i64, String, i64, String) {
    (version, json.into(), prev_version, prev_json.into())
}

#[tokio::test]
async fn a_value_is_written_read_and_deleted_by_version() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    assert!(!server.value().await.found);
    let first = server.write(r#"{"usd": 1}"#, 0).await;
    assert_eq!((first.version, first.ts_ms), (1, 1_000_000));
    assert_eq!(server.value().await.value, Some(first));
    for if_version in [0, 7] {
        let (_, detail) = refused(
            tape.write_value(write("2", if_version)).await,
            Code::Aborted,
            "TAPE-K001",
        );
        assert_eq!((detail.version, detail.owner.as_str()), (1, r#"writer of {"usd": 1}"#));
    }
    assert_eq!(server.write("2", 1).await.version, 2);
    for _ in 0..2 {
        let deleted = tape.delete_value(delete("q-1")).await.unwrap().into_inner();
        assert_eq!((deleted.deleted, deleted.version), (true, 3));
    }
    let again = tape.delete_value(delete("q-2")).await.unwrap().into_inner();
    assert_eq!((again.deleted, again.version), (false, 3));
    let gone = server.value().await;
    assert!(!gone.found && gone.value.is_some_and(|value| value.deleted && value.version == 3));
    assert_eq!(server.write("4", 0).await.version, 4);
}

#[tokio::test]
async fn the_same_request_writes_once() {
    let server = TestServer::start().await;
    let request = || pb::WriteValueRequest {
        request_id: "q-1".into(),
        ..write("1", -1)
    };
    let mut tape = server.tape.clone();
    let first = tape.write_value(request()).await.unwrap().into_inner();
    server.write("2", -1).await;
    assert_eq!(tape.write_value(request()).await.unwrap().into_inner(), first);
    let other = pb::WriteValueRequest {
        value_json: "3".into(),
        ..request()
    };
    let (_, detail) = refused(tape.write_value(other).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!(detail.field, "request_id");
    assert_eq!(server.value().await.value.unwrap().version, 2);
}

#[tokio::test]
async fn a_watcher_gets_the_value_in_force_and_all_that_follow() {
    let server = TestServer::start().await;
    let mut early = server.watch(0).await;
    server.write("1", -1).await;
    assert_eq!(event(&mut early).await, seen(1, "1", 0, ""));
    server.write("2", -1).await;
    let mut late = server.watch(0).await;
    let mut whole = server.watch(1).await;
    let mut future = server.watch(4).await;
    assert_eq!(event(&mut late).await, seen(2, "2", 1, "1"));
    server.tape.clone().delete_value(delete("")).await.unwrap();
    server.write("4", 0).await;
    assert_eq!(event(&mut early).await, seen(2, "2", 1, "1"));
    for stream in [&mut early, &mut late] {
        assert_eq!(event(stream).await, seen(3, "", 2, "2"));
        assert_eq!(event(stream).await, seen(4, "4", 3, ""));
    }
    assert_eq!(event(&mut whole).await, seen(1, "1", 0, ""));
    assert_eq!(event(&mut future).await, seen(4, "4", 3, ""));
}

#[tokio::test]
async fn watchers_under_concurrent_writers_miss_nothing_and_merge_nothing() {
    const WRITERS: i64 = 8;
    const EACH: i64 = 40;
    let server = TestServer::start().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(server.watch(1).await);
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut tape = server.tape.clone();
        writers.spawn(async move {
            let mut written = Vec::new();
            for n in 0..EACH {
                let request = write(&(writer * EACH + n).to_string(), -1);
                written.push(tape.write_value(request).await.unwrap().into_inner().version);
            }
            written
        });
    }
    for stream in &mut streams {
        let (mut before, mut values) = ((0, String::new()), BTreeSet::new());
        for version in 1..=WRITERS * EACH {
            let (found, json, prev_version, prev_json) = event(stream).await;
            assert_eq!((found, prev_version, prev_json), (version, before.0, before.1));
            values.insert(json.clone());
            before = (found, json);
        }
        assert_eq!(values.len() as i64, WRITERS * EACH, "every write is seen once");
    }
    let mut versions: Vec<i64> = writers.join_all().await.concat();
    versions.sort_unstable();
    assert_eq!(versions, (1..=WRITERS * EACH).collect::<Vec<_>>());
}

#[tokio::test]
async fn who_asks_for_a_version_that_is_gone_is_told_where_to_go_on() {
    let server = TestServer::start().await;
    server.write_many(VERSIONS_KEPT + 5).await;
    let mut stream = server.watch(5).await;
    let (_, detail) = refused(soon(stream.message()).await, Code::DataLoss, "TAPE-K002");
    assert_eq!(detail.version, 6);
    let mut stream = server.watch(detail.version).await;
    assert_eq!(event(&mut stream).await, seen(6, "1", 5, "1"));
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_told_and_never_skips() {
    let server = TestServer::start().await;
    let mut feed = ValueFeed::open(server.engine.clone(), &name(), 1).unwrap();
    server.write_many(1).await;
    assert_eq!(soon(feed.next()).await.unwrap().value.version, 1);
    server.write_many(VERSIONS_KEPT + 1).await;
    match soon(feed.next()).await {
        Err(TapeError::Refused(refusal)) => {
            assert_eq!((refusal.code, refusal.version), ("TAPE-K002", Some(3)));
        }
        other => panic!("version 2 is gone: {other:?}"),
    }
}

#[tokio::test]
async fn a_watch_ends_when_the_server_goes_away() {
    let server = TestServer::start().await;
    let mut stream = server.watch(0).await;
    server.hub.drain().await;
    refused(soon(stream.message()).await, Code::Unavailable, "TAPE-A004");
}

#[tokio::test]
async fn bad_values_are_named() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let (_, detail) = refused(
        tape.write_value(write("{", -1)).await,
        Code::InvalidArgument,
        "TAPE-V002",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("value_json", "{"));
    let nameless = pb::GetValueRequest::default();
    let (_, detail) = refused(tape.get_value(nameless).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!(detail.field, "key");
    let backwards = pb::WatchValueRequest {
        key: "k".into(),
        from_version: -1,
        ..Default::default()
    };
    let (_, detail) = refused(tape.watch_value(backwards).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!(detail.field, "from_version");
}
