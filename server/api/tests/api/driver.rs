//! Drivers: plain ones, fenced ones, and what becomes of those who lost their run.

use sha2::{Digest, Sha256};
use tape_proto::v1 as pb;
use tonic::{Code, Request};

use crate::support::{TestServer, begin_request, decision, end, inline, refused};

/// A client of plain tape.v1 sends no field from number 100 on.
#[tokio::test]
async fn a_plain_client_works_through_a_whole_run() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();

    let begun = server.begin("i-1", "plain", false).await;
    assert!(!begun.resumed && begun.run_id.starts_with("r-"));
    assert_eq!(
        (begun.status(), begun.next_seq, begun.fence),
        (pb::RunStatus::Running, 3, 1)
    );
    let run = begun.run_id;

    let recorded = tape
        .record_decision(decision(&run, 0, r#"{"call":"charge"}"#))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((recorded.decision_index, recorded.model.as_str()), (0, "m"));
    let effect = tape.begin_effect(inline(&run, 0)).await.unwrap().into_inner();
    assert_eq!(effect.idempotency_key, format!("{run}/d-0/charge/0"));
    assert_eq!(effect.status(), pb::EffectStatus::Pending);
    let done = pb::CompleteEffectRequest {
        run_id: run.clone(),
        idempotency_key: effect.idempotency_key.clone(),
        status: pb::EffectStatus::Confirmed.into(),
        response_json: r#"{"ok": true}"#.into(),
        ..Default::default()
    };
    let done = tape.complete_effect(done).await.unwrap().into_inner();
    assert_eq!(
        (done.status(), done.response_json.as_str()),
        (pb::EffectStatus::Confirmed, r#"{"ok": true}"#)
    );

    let ended = pb::EndRunRequest {
        detail_json: r#"{"answer":42}"#.into(),
        ..end(&run, pb::RunStatus::Terminal)
    };
    let ended = tape.end_run(ended).await.unwrap().into_inner().run.unwrap();
    assert_eq!(
        (ended.status(), ended.detail_json.as_str()),
        (pb::RunStatus::Terminal, r#"{"answer":42}"#)
    );
    assert_eq!((ended.decisions, ended.effects, ended.lease_owner.as_str()), (1, 1, ""));

    // An ended run is handed back as it is, without a lease.
    let again = server.begin("i-1", "other", false).await;
    assert!(again.resumed);
    assert_eq!((again.status(), again.fence), (pb::RunStatus::Terminal, 0));
    let resume = pb::ResumeRunRequest {
        run_id: run,
        lease_owner: "other".into(),
        ..Default::default()
    };
    refused(tape.resume_run(resume).await, Code::FailedPrecondition, "TAPE-R003");
}

#[tokio::test]
async fn a_replay_gets_the_recorded_answers_and_journals_nothing() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    tape.record_decision(decision(&run, 0, "1")).await.unwrap();
    let key = tape
        .begin_effect(inline(&run, 0))
        .await
        .unwrap()
        .into_inner()
        .idempotency_key;
    let done = pb::CompleteEffectRequest {
        run_id: run.clone(),
        idempotency_key: key,
        status: pb::EffectStatus::Confirmed.into(),
        response_json: "7".into(),
        ..Default::default()
    };
    tape.complete_effect(done.clone()).await.unwrap();
    let timer = pb::SetTimerRequest {
        run_id: run.clone(),
        timer_id: "t".into(),
        fire_at_ms: 9_000_000,
        kind: "mine".into(),
        ..Default::default()
    };
    tape.set_timer(timer.clone()).await.unwrap();
    let before = server.seq(&run).await;

    assert!(server.begin("i-1", "a", false).await.resumed);
    assert_eq!(
        tape.record_decision(decision(&run, 0, "1"))
            .await
            .unwrap()
            .into_inner()
            .response_json,
        "1"
    );
    let replayed = tape.begin_effect(inline(&run, 0)).await.unwrap().into_inner();
    assert_eq!(
        (replayed.status(), replayed.response_json.as_str()),
        (pb::EffectStatus::Confirmed, "7")
    );
    // Another outcome for what is confirmed changes nothing.
    let other = pb::CompleteEffectRequest {
        status: pb::EffectStatus::Failed.into(),
        ..done
    };
    let untouched = tape.complete_effect(other).await.unwrap().into_inner();
    assert_eq!(
        (untouched.status(), untouched.response_json.as_str()),
        (pb::EffectStatus::Confirmed, "7")
    );
    tape.set_timer(timer).await.unwrap();

    assert_eq!(server.seq(&run).await, before);
}

#[tokio::test]
async fn a_decision_with_other_content_is_a_divergence() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    tape.record_decision(decision(&run, 0, "1")).await.unwrap();
    let (_, detail) = refused(
        tape.record_decision(decision(&run, 0, "2")).await,
        Code::AlreadyExists,
        "TAPE-D001",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("decision_index", "0"));

    let ask = |hash: Vec<u8>| pb::GetDecisionRequest {
        run_id: run.clone(),
        decision_index: 0,
        request_hash: hash,
    };
    let same = Sha256::digest(r#"{"prompt":"p"}"#.as_bytes()).to_vec();
    for (hash, diverged) in [(Vec::new(), false), (same, false), (vec![0; 32], true)] {
        let answer = tape.get_decision(ask(hash)).await.unwrap().into_inner();
        assert!(answer.found);
        assert_eq!(answer.diverged, diverged);
    }
    let (_, detail) = refused(
        tape.get_decision(ask(vec![1, 2])).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!(detail.field, "request_hash");
}

#[tokio::test]
async fn a_living_lease_keeps_others_out_and_names_its_holder() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "a", false).await.run_id;
    let refusal = server.tape.clone().begin_run(begin_request("i-1", "b")).await;
    let (_, detail) = refused(refusal, Code::Aborted, "TAPE-R005");
    assert_eq!((detail.owner.as_str(), detail.fence, detail.retryable), ("a", 1, true));

    server.clock.turn(120_001);
    let taken = server.begin("i-1", "b", false).await;
    assert_eq!((taken.run_id, taken.fence), (run, 2));
}

#[tokio::test]
async fn a_fenced_driver_shuts_a_plain_one_out() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "plain", false).await.run_id;
    tape.record_decision(decision(&run, 0, "1")).await.unwrap();
    server.clock.turn(120_001);
    let fence = server.begin("i-1", "fenced", true).await.fence;
    assert_eq!(fence, 2);

    let (_, detail) = refused(
        tape.record_decision(decision(&run, 1, "1")).await,
        Code::Aborted,
        "TAPE-R002",
    );
    assert_eq!(
        (detail.owner.as_str(), detail.fence, detail.retryable),
        ("fenced", 2, false)
    );
    let stale = pb::RecordDecisionRequest {
        fence: 1,
        ..decision(&run, 1, "1")
    };
    let (_, detail) = refused(tape.record_decision(stale).await, Code::Aborted, "TAPE-R002");
    assert_eq!((detail.owner.as_str(), detail.fence), ("fenced", 2));

    let ours = pb::RecordDecisionRequest {
        fence,
        lease_owner: "fenced".into(),
        ..decision(&run, 1, "1")
    };
    tape.record_decision(ours).await.unwrap();
    // From outside nobody needs a fence.
    tape.end_run(end(&run, pb::RunStatus::Cancelled)).await.unwrap();
}

#[tokio::test]
async fn headers_say_what_fields_say() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let begun = server.begin("i-1", "a", true).await;
    let with = |fence: &'static str, owner: &'static str| {
        let mut request = Request::new(decision(&begun.run_id, 0, "1"));
        request.metadata_mut().insert("tape-fence", fence.parse().unwrap());
        request
            .metadata_mut()
            .insert("tape-lease-owner", owner.parse().unwrap());
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        request.metadata_mut().insert("traceparent", trace.parse().unwrap());
        request
    };
    refused(tape.record_decision(with("9", "a")).await, Code::Aborted, "TAPE-R002");
    refused(tape.record_decision(with("1", "b")).await, Code::Aborted, "TAPE-R002");
    let (_, detail) = refused(
        tape.record_decision(with("no", "a")).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("fence", "no"));
    tape.record_decision(with("1", "a")).await.unwrap();
    tape.end_run(pb::EndRunRequest {
        fence: 1,
        ..end(&begun.run_id, pb::RunStatus::Terminal)
    })
    .await
    .unwrap();

    let journal = crate::feed::whole(&server, &begun.run_id, 0).await;
    let recorded = journal.iter().find(|entry| entry.kind == "decision.recorded").unwrap();
    assert_eq!(recorded.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(recorded.span_id, "00f067aa0ba902b7");
}

/// The heartbeat of a fenced driver must never take a run that it has lost.
#[tokio::test]
async fn a_renewal_under_a_fence_is_no_take_over() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let begun = server.begin("i-1", "a", true).await;
    let renew = pb::ResumeRunRequest {
        run_id: begun.run_id.clone(),
        lease_owner: "a".into(),
        fence: begun.fence,
        fenced: true,
        ..Default::default()
    };
    let before = server.seq(&begun.run_id).await;
    server.clock.turn(60_000);
    let renewed = tape.resume_run(renew.clone()).await.unwrap().into_inner().run.unwrap();
    assert_eq!(
        (renewed.fence, renewed.lease_expires_at_ms),
        (1, 1_000_000 + 60_000 + 120_000)
    );
    assert_eq!(server.seq(&begun.run_id).await, before);

    server.clock.turn(120_001);
    server.begin("i-1", "b", true).await;
    let (_, detail) = refused(tape.resume_run(renew).await, Code::Aborted, "TAPE-R002");
    assert_eq!((detail.owner.as_str(), detail.fence), ("b", 2));
    assert_eq!(server.get(&begun.run_id).await.lease_owner, "b");
}

#[tokio::test]
async fn what_a_run_begins_with_is_kept_for_whoever_takes_it_over() {
    let server = TestServer::start().await;
    let request = pb::BeginRunRequest {
        input_json: r#""pay the rent""#.into(),
        scopes: vec!["pay".into()],
        labels: [("team".to_owned(), "ops".to_owned())].into(),
        ..begin_request("i-1", "a")
    };
    let run = server
        .tape
        .clone()
        .begin_run(request)
        .await
        .unwrap()
        .into_inner()
        .run_id;
    let state = server.get(&run).await;
    assert_eq!(state.input_json, r#""pay the rent""#);
    assert_eq!(state.scopes, ["pay"]);
    assert_eq!(state.labels["team"], "ops");

    assert!(recoverable(&server).await.is_empty());
    server.clock.turn(120_001);
    assert_eq!(recoverable(&server).await, [run]);
}

async fn recoverable(server: &TestServer) -> Vec<String> {
    let request = pb::ListRunsToRecoverRequest::default();
    let answer = server.tape.clone().list_runs_to_recover(request).await.unwrap();
    answer.into_inner().runs.into_iter().map(|run| run.run_id).collect()
}

#[tokio::test]
async fn a_cancelled_run_tells_its_driver_why() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    let cancel = pb::EndRunRequest {
        detail_json: r#"{"reason":"the user left"}"#.into(),
        ..end(&run, pb::RunStatus::Cancelled)
    };
    tape.end_run(cancel).await.unwrap();
    let (status, _) = refused(
        tape.record_decision(decision(&run, 0, "1")).await,
        Code::FailedPrecondition,
        "TAPE-R004",
    );
    assert!(status.message().contains("the user left"), "{status}");
}

#[tokio::test]
async fn a_budget_is_dollars_outside_and_holds_its_cap() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    let set = pb::SetBudgetRequest {
        run_id: run.clone(),
        usd_cap: 1.5,
        token_cap: 1000,
        ..Default::default()
    };
    assert_eq!(
        tape.set_budget(set).await.unwrap().into_inner().usd_cap.to_string(),
        "1.5"
    );
    let admit = |usd_estimate, request_id: &str| pb::AdmitBudgetRequest {
        run_id: run.clone(),
        usd_estimate,
        token_estimate: 10,
        request_id: request_id.into(),
        ..Default::default()
    };
    assert!(
        tape.admit_budget(admit(1.0, "q-1"))
            .await
            .unwrap()
            .into_inner()
            .admitted
    );
    let second = tape.admit_budget(admit(1.0, "q-2")).await.unwrap().into_inner();
    assert!(!second.admitted && second.reason.contains("usd"), "{}", second.reason);
    let charge = pb::ChargeBudgetRequest {
        run_id: run.clone(),
        usd: 0.25,
        tokens: 7,
        request_id: "q-1".into(),
        ..Default::default()
    };
    tape.charge_budget(charge.clone()).await.unwrap();
    let before = server.seq(&run).await;
    let again = tape.charge_budget(charge).await.unwrap().into_inner();
    assert_eq!(
        (again.usd_spent.to_string(), again.tokens_spent),
        ("0.25".to_owned(), 7)
    );
    assert_eq!(server.seq(&run).await, before);
    assert!(
        tape.admit_budget(admit(1.0, "q-3"))
            .await
            .unwrap()
            .into_inner()
            .admitted
    );

    let (_, detail) = refused(
        tape.admit_budget(admit(f64::NAN, "q-4")).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("usd_estimate", "NaN"));
}
