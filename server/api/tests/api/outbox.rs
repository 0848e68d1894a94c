//! The outbox, as a dispatcher outside uses it, which knows nothing of attempts and marks.

use tape_proto::v1 as pb;
use tonic::Code;

use crate::support::{TestServer, end, inline, refused, wire};

fn observe(run: &str, key: &str, resolution: pb::EffectResolution) -> pb::RecordExternalObservationRequest {
    pb::RecordExternalObservationRequest {
        run_id: run.into(),
        idempotency_key: key.into(),
        resolution: resolution.into(),
        external_ref: "bank-1".into(),
        response_json: r#"{"id":"bank-1"}"#.into(),
        ..Default::default()
    }
}

fn attempt(run: &str, key: &str, next_dispatch_at_ms: i64) -> pb::RecordDispatchAttemptRequest {
    pb::RecordDispatchAttemptRequest {
        run_id: run.into(),
        idempotency_key: key.into(),
        error: "connection reset".into(),
        next_dispatch_at_ms,
        ..Default::default()
    }
}

async fn begun(server: &TestServer, invocation: &str, connector: &str) -> (String, String) {
    let run = server.begin(invocation, "driver", false).await.run_id;
    let begun = server.tape.clone().begin_effect(wire(&run, connector)).await.unwrap();
    (run, begun.into_inner().idempotency_key)
}

async fn to_dispatch(server: &TestServer, connector: &str) -> Vec<String> {
    let request = pb::ListEffectsToDispatchRequest {
        connector: connector.into(),
        ..Default::default()
    };
    let answer = server.tape.clone().list_effects_to_dispatch(request).await.unwrap();
    answer
        .into_inner()
        .effects
        .into_iter()
        .map(|effect| effect.idempotency_key)
        .collect()
}

#[tokio::test]
async fn an_effect_is_listed_claimed_once_and_confirmed() {
    let server = TestServer::start().await;
    let (run, key) = begun(&server, "i-1", "bank").await;
    let (_, other) = begun(&server, "i-2", "post").await;
    assert_eq!(to_dispatch(&server, "").await.len(), 2);
    assert_eq!(to_dispatch(&server, "post").await, [other]);

    let claimed = server.claim(&run, &key).await;
    assert!(claimed.acquired);
    let effect = claimed.effect.unwrap();
    assert_eq!(
        (effect.dispatch_claimed_by.as_str(), effect.dispatch_attempts),
        ("dispatcher", 1)
    );
    assert_eq!(effect.status(), pb::EffectStatus::Pending);
    assert!(!server.claim(&run, &key).await.acquired);
    assert!(to_dispatch(&server, "bank").await.is_empty());

    let observed = observe(&run, &key, pb::EffectResolution::Confirmed);
    let effect = server
        .tape
        .clone()
        .record_external_observation(observed.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (effect.status(), effect.external_ref.as_str()),
        (pb::EffectStatus::Confirmed, "bank-1")
    );
    assert_eq!(effect.attempts[0].outcome, "confirmed");

    let before = server.seq(&run).await;
    server.tape.clone().record_external_observation(observed).await.unwrap();
    server
        .tape
        .clone()
        .record_dispatch_attempt(attempt(&run, &key, 0))
        .await
        .unwrap();
    let failed = observe(&run, &key, pb::EffectResolution::Failed);
    server.tape.clone().record_external_observation(failed).await.unwrap();
    assert_eq!(server.effect(&run, &key).await.status(), pb::EffectStatus::Confirmed);
    assert_eq!(server.seq(&run).await, before);
}

#[tokio::test]
async fn an_attempt_without_an_answer_is_unknown_and_never_goes_again() {
    let server = TestServer::start().await;
    let (run, key) = server.in_doubt("i-1").await;
    server.clock.turn(3_600_000);
    assert!(to_dispatch(&server, "").await.is_empty());
    assert!(!server.claim(&run, &key).await.acquired);
    let absent = observe(&run, &key, pb::EffectResolution::Absent);
    let effect = server
        .tape
        .clone()
        .record_external_observation(absent)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(effect.status(), pb::EffectStatus::Failed);
    assert!(effect.error_json.contains("absent"), "{}", effect.error_json);
}

#[tokio::test]
async fn an_idempotent_effect_that_is_absent_goes_again() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "driver", false).await.run_id;
    let idempotent = pb::BeginEffectRequest {
        semantics: pb::EffectSemantics::Idempotent.into(),
        ..wire(&run, "bank")
    };
    let key = server
        .tape
        .clone()
        .begin_effect(idempotent)
        .await
        .unwrap()
        .into_inner()
        .idempotency_key;
    assert!(server.claim(&run, &key).await.acquired);
    let unknown = server
        .tape
        .clone()
        .record_dispatch_attempt(attempt(&run, &key, 0))
        .await
        .unwrap();
    assert_eq!(unknown.into_inner().status(), pb::EffectStatus::Unknown);
    let absent = observe(&run, &key, pb::EffectResolution::Absent);
    let again = server
        .tape
        .clone()
        .record_external_observation(absent)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.status(), pb::EffectStatus::Pending);
    assert!(server.claim(&run, &key).await.acquired);
}

#[tokio::test]
async fn nothing_sent_is_tried_again_when_it_is_due_once_for_each_request() {
    let server = TestServer::start().await;
    let (run, key) = begun(&server, "i-1", "bank").await;
    refused(
        server
            .tape
            .clone()
            .record_dispatch_attempt(attempt(&run, &key, 9))
            .await,
        Code::FailedPrecondition,
        "TAPE-E012",
    );
    server.claim(&run, &key).await;
    let later = pb::RecordDispatchAttemptRequest {
        request_id: "q-1".into(),
        ..attempt(&run, &key, 1_000_000 + 5_000)
    };
    let effect = server
        .tape
        .clone()
        .record_dispatch_attempt(later.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (effect.status(), effect.next_dispatch_at_ms),
        (pb::EffectStatus::Pending, 1_005_000)
    );
    assert_eq!(effect.last_dispatch_error, "connection reset");
    assert!(!server.claim(&run, &key).await.acquired);
    server.clock.turn(5_000);
    assert!(server.claim(&run, &key).await.acquired);
    // The first record again, late: it is not about this attempt.
    let before = server.seq(&run).await;
    let effect = server
        .tape
        .clone()
        .record_dispatch_attempt(later)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(effect.dispatch_claimed_by, "dispatcher");
    assert_eq!(server.seq(&run).await, before);

    let other = pb::RecordDispatchAttemptRequest {
        lease_owner: "somebody else".into(),
        ..attempt(&run, &key, 0)
    };
    let (_, detail) = refused(
        server.tape.clone().record_dispatch_attempt(other).await,
        Code::Aborted,
        "TAPE-E011",
    );
    assert_eq!(detail.owner, "dispatcher");
}

#[tokio::test]
async fn a_duplicate_is_confirmed_and_its_surplus_is_owed() {
    let server = TestServer::start().await;
    let (run, key) = server.in_doubt("i-1").await;
    let twice = pb::RecordExternalObservationRequest {
        compensate_on_duplicate_kind: "refund".into(),
        ..observe(&run, &key, pb::EffectResolution::Duplicate)
    };
    let effect = server
        .tape
        .clone()
        .record_external_observation(twice)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(effect.status(), pb::EffectStatus::Confirmed);
    let request = pb::ListObligationsRequest {
        run_id: run.clone(),
        ..Default::default()
    };
    let owed = server
        .tape
        .clone()
        .list_obligations(request)
        .await
        .unwrap()
        .into_inner()
        .obligations;
    assert_eq!(owed.len(), 1);
    assert_eq!(
        (owed[0].kind.as_str(), owed[0].effect_key.as_str()),
        ("refund", key.as_str())
    );
    assert_eq!(owed[0].status(), pb::ObligationStatus::Pending);
}

#[tokio::test]
async fn what_cannot_be_found_out_is_stuck_and_reconciled_from_outside() {
    let server = TestServer::start().await;
    let (run, key) = server.in_doubt("i-1").await;
    let stuck = observe(&run, &key, pb::EffectResolution::Stuck);
    let effect = server
        .tape
        .clone()
        .record_external_observation(stuck)
        .await
        .unwrap()
        .into_inner();
    assert!(effect.stuck && effect.status() == pb::EffectStatus::Unknown);

    let list = pb::ListPendingEffectsRequest {
        include_unknown: true,
        ..Default::default()
    };
    let open = server
        .tape
        .clone()
        .list_pending_effects(list)
        .await
        .unwrap()
        .into_inner()
        .effects;
    assert_eq!(open.len(), 1);
    // It waits for a person: no reactor is late with it.
    let stats = server
        .admin
        .clone()
        .stats(pb::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (stats.reactors[1].kind.as_str(), stats.reactors[1].due),
        ("reconciler", 0)
    );
    let (_, detail) = refused(
        server
            .tape
            .clone()
            .reconcile_effect(pb::ReconcileEffectRequest {
                run_id: run.clone(),
                idempotency_key: key.clone(),
                resolved_status: pb::EffectStatus::Unknown.into(),
                ..Default::default()
            })
            .await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!(detail.field, "resolved_status");
    let settled = pb::ReconcileEffectRequest {
        run_id: run,
        idempotency_key: key,
        resolved_status: pb::EffectStatus::Confirmed.into(),
        response_json: "1".into(),
        ..Default::default()
    };
    let effect = server
        .tape
        .clone()
        .reconcile_effect(settled)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (effect.status(), effect.response_json.as_str()),
        (pb::EffectStatus::Confirmed, "1")
    );
}

#[tokio::test]
async fn a_business_key_in_another_run_is_answered_by_its_owner() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let keyed = |run: &str| pb::BeginEffectRequest {
        business_key: "inv-7".into(),
        ..wire(run, "bank")
    };
    let first = server.begin("i-1", "a", false).await.run_id;
    let key = tape
        .begin_effect(keyed(&first))
        .await
        .unwrap()
        .into_inner()
        .idempotency_key;
    let second = server.begin("i-2", "a", false).await.run_id;
    let answer = tape.begin_effect(keyed(&second)).await.unwrap().into_inner();
    assert!(answer.deduplicated);
    assert_eq!((answer.owner_run_id, answer.idempotency_key), (first, key));
    assert_eq!(server.get(&second).await.effects, 0);
}

#[tokio::test]
async fn pending_effects_are_listed_oldest_first_inline_ones_too() {
    let server = TestServer::start().await;
    let (run, key) = server.in_doubt("i-1").await;
    server.clock.turn(1_000);
    let inline = server.tape.clone().begin_effect(inline(&run, 0)).await.unwrap();
    let inline_key = inline.into_inner().idempotency_key;
    server.clock.turn(1_000);
    let (_, outbox_key) = begun(&server, "i-2", "bank").await;
    let list = async |older_than_ms, include_pending, include_unknown, limit| {
        let request = pb::ListPendingEffectsRequest {
            older_than_ms,
            include_pending,
            include_unknown,
            limit,
        };
        let answer = server
            .tape
            .clone()
            .list_pending_effects(request)
            .await
            .unwrap()
            .into_inner();
        let keys = answer.effects.into_iter().map(|effect| effect.idempotency_key);
        keys.collect::<Vec<_>>()
    };
    assert_eq!(
        list(0, false, false, 0).await,
        [key.clone(), inline_key.clone(), outbox_key.clone()]
    );
    assert_eq!(list(0, true, false, 0).await, [inline_key.clone(), outbox_key]);
    assert_eq!(list(0, false, true, 0).await, std::slice::from_ref(&key));
    assert_eq!(list(1_000, false, false, 0).await, [key.clone(), inline_key]);
    assert_eq!(list(0, false, false, 1).await, [key]);
}

#[tokio::test]
async fn the_oldest_pending_effect_is_listed_however_many_newer_runs_live() {
    let server = TestServer::start().await;
    let run = server.begin("oldest", "a", false).await.run_id;
    let begun = server.tape.clone().begin_effect(inline(&run, 0)).await.unwrap();
    let oldest = begun.into_inner().idempotency_key;
    for number in 0..1_100 {
        server.clock.turn(1);
        server.begin(&format!("i-{number}"), "a", false).await;
    }
    let newer = server.begin("newest", "a", false).await.run_id;
    server.tape.clone().begin_effect(inline(&newer, 0)).await.unwrap();
    let request = pb::ListPendingEffectsRequest {
        include_pending: true,
        limit: 1,
        ..Default::default()
    };
    let answer = server
        .tape
        .clone()
        .list_pending_effects(request)
        .await
        .unwrap()
        .into_inner();
    let keys: Vec<_> = answer
        .effects
        .into_iter()
        .map(|effect| effect.idempotency_key)
        .collect();
    assert_eq!(keys, [oldest]);
}

/// Between the order to undo a run and the compensation's own look at it, nothing of the run leaves any more.
#[tokio::test]
async fn what_was_not_sent_before_its_run_is_undone_never_is() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    let key = tape.begin_effect(wire(&run, "bank")).await.unwrap().into_inner();
    tape.end_run(end(&run, pb::RunStatus::Compensating)).await.unwrap();
    let claimed = server.claim(&run, &key.idempotency_key).await;
    let effect = claimed.effect.unwrap();
    assert!(!claimed.acquired);
    assert_eq!(effect.status(), pb::EffectStatus::Failed);
    assert!(effect.error_json.contains("cancelled"), "{}", effect.error_json);
}
