//! Gates, signals and timers.

use tape_proto::v1 as pb;
use tonic::Code;

use crate::support::{TestServer, end, refused};

fn wait(run: &str, timeout_ms: i64) -> pb::AwaitSignalRequest {
    pb::AwaitSignalRequest {
        run_id: run.into(),
        gate_name: "approval".into(),
        payload_json: r#"{"ask":"pay?"}"#.into(),
        timeout_ms,
        ..Default::default()
    }
}

fn signal(run: &str, request_id: &str) -> pb::SendSignalRequest {
    pb::SendSignalRequest {
        run_id: run.into(),
        gate_name: "approval".into(),
        resolution_json: r#"{"ok":true}"#.into(),
        request_id: request_id.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_run_waits_is_signalled_and_gets_the_same_answer_on_replay() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    assert!(!tape.await_signal(wait(&run, 0)).await.unwrap().into_inner().delivered);
    let state = server.get(&run).await;
    assert_eq!(
        (state.status(), state.waiting_on_gate.as_str()),
        (pb::RunStatus::Waiting, "approval")
    );
    assert_eq!(state.lease_owner, "");

    // By the session's names, the newest run that has not ended is meant.
    let by_session = pb::SendSignalRequest {
        run_id: String::new(),
        app_name: "app".into(),
        user_id: "user".into(),
        session_id: "session".into(),
        ..signal("", "q-1")
    };
    let sent = tape.send_signal(by_session.clone()).await.unwrap().into_inner();
    assert!(sent.accepted);
    assert_eq!(
        (sent.run_id.as_str(), sent.run_status()),
        (run.as_str(), pb::RunStatus::Runnable)
    );
    let before = server.seq(&run).await;
    assert!(tape.send_signal(by_session).await.unwrap().into_inner().accepted);
    assert_eq!(server.seq(&run).await, before);

    server.begin("i-1", "b", false).await;
    for _ in 0..2 {
        let answer = tape.await_signal(wait(&run, 0)).await.unwrap().into_inner();
        assert!(answer.delivered);
        assert_eq!(answer.resolution_json, r#"{"ok":true}"#);
    }
    tape.end_run(end(&run, pb::RunStatus::Terminal)).await.unwrap();
    refused(
        tape.send_signal(signal(&run, "q-2")).await,
        Code::FailedPrecondition,
        "TAPE-R003",
    );
}

#[tokio::test]
async fn a_signal_after_the_timeout_is_kept_and_loses() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    tape.await_signal(wait(&run, 5_000)).await.unwrap();
    let due = |claim| pb::ListDueTimersRequest {
        claim,
        ..Default::default()
    };
    assert!(
        tape.list_due_timers(due(true))
            .await
            .unwrap()
            .into_inner()
            .timers
            .is_empty()
    );
    server.clock.turn(5_000);
    let listed = tape.list_due_timers(due(false)).await.unwrap().into_inner().timers;
    assert_eq!(
        (listed.len(), listed[0].kind.as_str(), listed[0].fired),
        (1, "gate_timeout", false)
    );
    let fired = tape.list_due_timers(due(true)).await.unwrap().into_inner().timers;
    assert!(fired[0].fired);
    assert!(
        tape.list_due_timers(due(true))
            .await
            .unwrap()
            .into_inner()
            .timers
            .is_empty()
    );
    assert_eq!(server.get(&run).await.status(), pb::RunStatus::Runnable);

    for _ in 0..2 {
        let late = tape.send_signal(signal(&run, "q-1")).await.unwrap().into_inner();
        assert!(!late.accepted);
    }
    server.begin("i-1", "b", false).await;
    let answer = tape.await_signal(wait(&run, 5_000)).await.unwrap().into_inner();
    assert_eq!(answer.resolution_json, r#"{"signal":"gate.timeout"}"#);
}

#[tokio::test]
async fn signals_and_waits_that_make_no_sense_are_named() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    let (_, detail) = refused(
        tape.await_signal(wait(&run, -1)).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("timeout_ms", "-1"));
    let unnamed = pb::SendSignalRequest {
        gate_name: String::new(),
        ..signal(&run, "")
    };
    let (_, detail) = refused(tape.send_signal(unnamed).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!(detail.field, "gate_name");
    let (_, detail) = refused(
        tape.send_signal(signal("", "")).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!(detail.field, "run_id");
    let nobody = pb::SendSignalRequest {
        app_name: "app".into(),
        session_id: "other".into(),
        ..signal("", "")
    };
    let (_, detail) = refused(tape.send_signal(nobody).await, Code::NotFound, "TAPE-R001");
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("session_id", "other"));
}

#[tokio::test]
async fn a_cancelled_timer_stays_cancelled() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    let cancel = |timer_id: &str| pb::CancelTimerRequest {
        run_id: run.clone(),
        timer_id: timer_id.into(),
        ..Default::default()
    };
    assert!(!tape.cancel_timer(cancel("never")).await.unwrap().into_inner().cancelled);
    let set = pb::SetTimerRequest {
        run_id: run.clone(),
        timer_id: "t".into(),
        fire_at_ms: 1_000_001,
        kind: "mine".into(),
        ..Default::default()
    };
    tape.set_timer(set.clone()).await.unwrap();
    assert!(tape.cancel_timer(cancel("t")).await.unwrap().into_inner().cancelled);
    tape.set_timer(set).await.unwrap();
    server.clock.turn(10);
    let due = pb::ListDueTimersRequest::default();
    assert!(tape.list_due_timers(due).await.unwrap().into_inner().timers.is_empty());
}
