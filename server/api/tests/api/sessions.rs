//! Sessions.

use tape_proto::v1 as pb;
use tonic::Code;

use crate::support::{TestServer, refused};

fn append(session: &str, id: &str, delta: &str) -> pb::AppendEventRequest {
    pb::AppendEventRequest {
        app_name: "app".into(),
        user_id: "user".into(),
        session_id: session.into(),
        event: Some(pb::EventRecord {
            id: id.into(),
            author: "agent".into(),
            content_json: r#"{"text":"hi"}"#.into(),
            ..Default::default()
        }),
        state_delta_json: delta.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn events_and_state_are_kept_once_and_at_their_scope() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let create = |session: &str| pb::CreateSessionRequest {
        app_name: "app".into(),
        user_id: "user".into(),
        session_id: session.into(),
        state_json: r#"{"step":1}"#.into(),
    };
    let made = tape.create_session(create("")).await.unwrap().into_inner();
    assert!(made.session_id.starts_with("fresh-"));
    tape.create_session(create("s-1")).await.unwrap();
    let delta = r#"{"step":2,"user:name":"Ada","temp:x":1}"#;
    for _ in 0..2 {
        let appended = tape
            .append_event(append("s-1", "e-1", delta))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(appended.event.unwrap().timestamp_ms, 1_000_000);
    }
    tape.append_event(append("s-1", "e-2", "")).await.unwrap();

    let get = |session: &str, max_events| pb::GetSessionRequest {
        app_name: "app".into(),
        user_id: "user".into(),
        session_id: session.into(),
        max_events,
    };
    let session = tape
        .get_session(get("s-1", 0))
        .await
        .unwrap()
        .into_inner()
        .session
        .unwrap();
    let ids: Vec<_> = session.events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["e-1", "e-2"]);
    assert_eq!(session.state_json, r#"{"step":2,"user:name":"Ada"}"#);
    let newest = tape
        .get_session(get("s-1", 1))
        .await
        .unwrap()
        .into_inner()
        .session
        .unwrap();
    assert_eq!(newest.events[0].id, "e-2");

    let list = pb::ListSessionsRequest {
        app_name: "app".into(),
        user_id: "user".into(),
    };
    assert_eq!(tape.list_sessions(list).await.unwrap().into_inner().sessions.len(), 2);
    let delete = pb::DeleteSessionRequest {
        app_name: "app".into(),
        user_id: "user".into(),
        session_id: "s-1".into(),
    };
    assert!(tape.delete_session(delete.clone()).await.unwrap().into_inner().deleted);
    assert!(!tape.delete_session(delete).await.unwrap().into_inner().deleted);
    assert!(!tape.get_session(get("s-1", 0)).await.unwrap().into_inner().found);
    refused(
        tape.append_event(append("s-1", "e-3", "")).await,
        Code::NotFound,
        "TAPE-S001",
    );
}

#[tokio::test]
async fn bad_events_are_named() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let missing = pb::AppendEventRequest {
        event: None,
        ..append("s-1", "e-1", "")
    };
    let (_, detail) = refused(tape.append_event(missing).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!(detail.field, "event");
    let (_, detail) = refused(
        tape.append_event(append("s-1", "e-1", "[1]")).await,
        Code::InvalidArgument,
        "TAPE-V002",
    );
    assert_eq!(
        (detail.field.as_str(), detail.value.as_str()),
        ("state_delta_json", "[1]")
    );
}
