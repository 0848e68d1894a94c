//! Compensators outside.

use tape_proto::v1 as pb;
use tonic::Code;

use crate::support::{TestServer, inline, refused};

async fn owed(server: &TestServer) -> (String, pb::ObligationRecord) {
    let run = server.begin("i-1", "a", false).await.run_id;
    let key = server
        .tape
        .clone()
        .begin_effect(inline(&run, 0))
        .await
        .unwrap()
        .into_inner()
        .idempotency_key;
    let register = pb::RegisterCompensationRequest {
        run_id: run.clone(),
        effect_key: key,
        kind: "refund".into(),
        compensator_ref: "tools:refund".into(),
        ..Default::default()
    };
    let obligation = server
        .tape
        .clone()
        .register_compensation(register.clone())
        .await
        .unwrap()
        .into_inner();
    let before = server.seq(&run).await;
    assert_eq!(
        server
            .tape
            .clone()
            .register_compensation(register)
            .await
            .unwrap()
            .into_inner(),
        obligation
    );
    assert_eq!(server.seq(&run).await, before);
    assert_eq!(
        (obligation.max_attempts, obligation.compensator_ref.as_str()),
        (5, "tools:refund")
    );
    (run, obligation)
}

fn claim(run: &str, seq: i64, claimer: &str) -> pb::ClaimObligationRequest {
    pb::ClaimObligationRequest {
        run_id: run.into(),
        obligation_seq: seq,
        claimer: claimer.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn an_obligation_is_claimed_once_and_resolved_for_good() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let (run, obligation) = owed(&server).await;
    let (_, detail) = refused(
        tape.claim_obligation(claim(&run, obligation.seq, "")).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!(detail.field, "claimer");
    assert!(
        tape.claim_obligation(claim(&run, obligation.seq, "c"))
            .await
            .unwrap()
            .into_inner()
            .acquired
    );
    assert!(
        !tape
            .claim_obligation(claim(&run, obligation.seq, "d"))
            .await
            .unwrap()
            .into_inner()
            .acquired
    );
    let resolve = |status: pb::ObligationStatus| pb::ResolveObligationRequest {
        run_id: run.clone(),
        obligation_seq: obligation.seq,
        status: status.into(),
        result_json: r#"{"refund":"r-1"}"#.into(),
        ..Default::default()
    };
    let done = tape
        .resolve_obligation(resolve(pb::ObligationStatus::Compensated))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (done.status(), done.result_json.as_str()),
        (pb::ObligationStatus::Compensated, r#"{"refund":"r-1"}"#)
    );
    let before = server.seq(&run).await;
    let again = tape
        .resolve_obligation(resolve(pb::ObligationStatus::Stuck))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.status(), pb::ObligationStatus::Compensated);
    assert_eq!(server.seq(&run).await, before);
}

#[tokio::test]
async fn failed_attempts_are_counted_once_for_each_request_and_end_stuck() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let (run, obligation) = owed(&server).await;
    let failed = |request_id: &str, next_attempt_at_ms| pb::RecordObligationAttemptRequest {
        run_id: run.clone(),
        obligation_seq: obligation.seq,
        error: "bank is closed".into(),
        next_attempt_at_ms,
        request_id: request_id.into(),
        ..Default::default()
    };
    tape.claim_obligation(claim(&run, obligation.seq, "c")).await.unwrap();
    for _ in 0..2 {
        let record = tape
            .record_obligation_attempt(failed("q-1", 1_002_000))
            .await
            .unwrap()
            .into_inner();
        assert_eq!((record.status(), record.attempts), (pb::ObligationStatus::Pending, 1));
        assert_eq!(
            (record.next_attempt_at_ms, record.last_error.as_str()),
            (1_002_000, "bank is closed")
        );
    }
    let unresolved = |include_stuck| pb::ListUnresolvedObligationsRequest {
        include_stuck,
        ..Default::default()
    };
    let list = tape
        .list_unresolved_obligations(unresolved(false))
        .await
        .unwrap()
        .into_inner();
    assert!(list.obligations.is_empty(), "not due yet");
    server.clock.turn(2_000);
    let list = tape
        .list_unresolved_obligations(unresolved(false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.obligations.len(), 1);
    let stuck = tape
        .record_obligation_attempt(failed("q-2", 0))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stuck.status(), pb::ObligationStatus::Stuck);
    let list = tape
        .list_unresolved_obligations(unresolved(true))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.obligations.len(), 1);
}
