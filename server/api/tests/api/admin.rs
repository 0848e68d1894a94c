//! What operators do.

use tape_proto::v1 as pb;
use tonic::Code;

use crate::support::{TestServer, end, inline, refused, wire};

fn start(invocation: &str) -> pb::StartRunRequest {
    pb::StartRunRequest {
        app_name: "app".into(),
        invocation_id: invocation.into(),
        input_json: r#""hello""#.into(),
        labels: [("team".to_owned(), "ops".to_owned())].into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_started_run_waits_for_a_worker_and_is_listed() {
    let server = TestServer::start().await;
    let mut admin = server.admin.clone();
    let first = admin.start_run(start("i-0")).await.unwrap().into_inner();
    assert!(first.created);
    assert_eq!(first.run.unwrap().status(), pb::RunStatus::Runnable);
    assert!(!admin.start_run(start("i-0")).await.unwrap().into_inner().created);
    for _ in 0..4 {
        server.clock.turn(1_000);
        assert!(admin.start_run(start("")).await.unwrap().into_inner().created);
    }

    let mut ids = Vec::new();
    let mut request = pb::ListRunsRequest {
        page_size: 2,
        attributes: [("team".to_owned(), "ops".to_owned())].into(),
        ..Default::default()
    };
    loop {
        let page = admin.list_runs(request.clone()).await.unwrap().into_inner();
        assert!(page.runs.len() <= 2);
        ids.extend(page.runs.into_iter().map(|run| run.run_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(ids.len(), 5);
    assert_eq!(ids[4], first.run_id, "newest first");

    let old = pb::ListRunsRequest {
        older_than_ms: 4_000,
        ..Default::default()
    };
    assert_eq!(admin.list_runs(old).await.unwrap().into_inner().runs.len(), 1);
    let waiting = pb::ListRunsRequest {
        statuses: vec![pb::RunStatus::Waiting.into()],
        ..Default::default()
    };
    assert!(admin.list_runs(waiting).await.unwrap().into_inner().runs.is_empty());
    let bad = pb::ListRunsRequest {
        page_token: "?".into(),
        ..Default::default()
    };
    let (_, detail) = refused(admin.list_runs(bad).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("page_token", "?"));
    let bad = pb::ListRunsRequest {
        statuses: vec![12],
        ..Default::default()
    };
    let (_, detail) = refused(admin.list_runs(bad).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("statuses", "12"));
}

#[tokio::test]
async fn a_dump_has_every_section_and_the_journal_last() {
    let server = TestServer::start().await;
    let (run, _) = server.in_doubt("i-1").await;
    let request = pb::DumpRunRequest { run_id: run.clone() };
    let mut stream = server.admin.clone().dump_run(request).await.unwrap().into_inner();
    let mut sections = Vec::new();
    while let Some(part) = stream.message().await.unwrap() {
        serde_json::from_str::<serde_json::Value>(&part.json).unwrap();
        sections.push(part.section);
    }
    let journal = sections.iter().filter(|section| *section == "journal").count();
    assert_eq!(i64::try_from(journal).unwrap(), server.seq(&run).await);
    assert_eq!(sections[0], "run");
    assert_eq!(
        sections.iter().position(|s| s == "journal").unwrap() + journal,
        sections.len()
    );
    for section in ["lease", "effect"] {
        assert!(sections.iter().any(|s| s == section), "{section}");
    }
    let nobody = pb::DumpRunRequest { run_id: "r-x".into() };
    refused(server.admin.clone().dump_run(nobody).await, Code::NotFound, "TAPE-R001");
}

#[tokio::test]
async fn an_effect_in_doubt_is_settled_by_a_person_who_signs() {
    let server = TestServer::start().await;
    let mut admin = server.admin.clone();
    let (run, key) = server.in_doubt("i-1").await;
    let resolve = |status: pb::EffectStatus, reason: &str, who: &str| pb::ResolveEffectRequest {
        run_id: run.clone(),
        idempotency_key: key.clone(),
        status: status.into(),
        external_ref: "bank-9".into(),
        reason: reason.into(),
        who: who.into(),
        ..Default::default()
    };
    for (reason, who, field) in [("", "ada", "reason"), ("saw it", "", "who")] {
        let answer = admin
            .resolve_effect(resolve(pb::EffectStatus::Confirmed, reason, who))
            .await;
        let (_, detail) = refused(answer, Code::InvalidArgument, "TAPE-V001");
        assert_eq!(detail.field, field);
    }
    for _ in 0..2 {
        let settled = admin
            .resolve_effect(resolve(pb::EffectStatus::Confirmed, "saw it", "ada"))
            .await;
        let settled = settled.unwrap().into_inner();
        assert_eq!(
            (settled.status(), settled.external_ref.as_str()),
            (pb::EffectStatus::Confirmed, "bank-9")
        );
    }
    let other = admin
        .resolve_effect(resolve(pb::EffectStatus::Failed, "no", "ada"))
        .await;
    refused(other, Code::FailedPrecondition, "TAPE-E002");
    let retry = pb::RetryEffectRequest {
        run_id: run.clone(),
        idempotency_key: key.clone(),
        reason: "again".into(),
        who: "ada".into(),
    };
    refused(admin.retry_effect(retry).await, Code::FailedPrecondition, "TAPE-E002");
}

#[tokio::test]
async fn a_failed_effect_is_opened_again_and_a_waiting_one_is_hurried() {
    let server = TestServer::start().await;
    let mut admin = server.admin.clone();
    let (run, key) = server.in_doubt("i-1").await;
    let absent = pb::ResolveEffectRequest {
        run_id: run.clone(),
        idempotency_key: key.clone(),
        status: pb::EffectStatus::Failed.into(),
        reason: "not in the books".into(),
        who: "ada".into(),
        ..Default::default()
    };
    admin.resolve_effect(absent).await.unwrap();
    let retry = pb::RetryEffectRequest {
        run_id: run.clone(),
        idempotency_key: key.clone(),
        reason: "again".into(),
        who: "ada".into(),
    };
    let open = admin.retry_effect(retry.clone()).await.unwrap().into_inner();
    assert_eq!(open.status(), pb::EffectStatus::Pending);
    assert!(server.claim(&run, &key).await.acquired);
    let later = pb::RecordDispatchAttemptRequest {
        run_id: run.clone(),
        idempotency_key: key.clone(),
        error: "closed".into(),
        next_dispatch_at_ms: 9_000_000,
        ..Default::default()
    };
    server.tape.clone().record_dispatch_attempt(later).await.unwrap();
    assert!(!server.claim(&run, &key).await.acquired);
    admin.retry_effect(retry).await.unwrap();
    assert!(server.claim(&run, &key).await.acquired);
}

#[tokio::test]
async fn compensation_names_what_it_will_undo_newest_first() {
    let server = TestServer::start().await;
    let (mut tape, mut admin) = (server.tape.clone(), server.admin.clone());
    let run = server.begin("i-1", "a", false).await.run_id;
    let mut keys = Vec::new();
    for index in 0..2 {
        let undoable = pb::BeginEffectRequest {
            compensation: Some(pb::CompensationHandle {
                function: "tools:refund".into(),
                kind: "refund".into(),
                ..Default::default()
            }),
            ..inline(&run, index)
        };
        let key = tape.begin_effect(undoable).await.unwrap().into_inner().idempotency_key;
        let done = pb::CompleteEffectRequest {
            run_id: run.clone(),
            idempotency_key: key.clone(),
            status: pb::EffectStatus::Confirmed.into(),
            ..Default::default()
        };
        tape.complete_effect(done).await.unwrap();
        keys.push(key);
    }
    let ask = pb::CompensateRunRequest {
        run_id: run.clone(),
        reason: "the customer left".into(),
        ..Default::default()
    };
    let answer = admin.compensate_run(ask.clone()).await.unwrap().into_inner();
    assert_eq!(answer.run.unwrap().status(), pb::RunStatus::Compensating);
    let owed: Vec<_> = answer.obligations.iter().map(|o| o.effect_key.clone()).collect();
    keys.reverse();
    assert_eq!(owed, keys);
    assert_eq!(
        admin.compensate_run(ask).await.unwrap().into_inner().obligations.len(),
        2
    );

    let stuck = pb::AdminResolveObligationRequest {
        run_id: run.clone(),
        obligation_seq: answer.obligations[0].seq,
        status: pb::ObligationStatus::Compensated.into(),
        reason: "by phone".into(),
        who: "ada".into(),
    };
    let resolved = admin.resolve_obligation(stuck).await.unwrap().into_inner();
    assert_eq!(resolved.status(), pb::ObligationStatus::Compensated);

    let empty = server.begin("i-2", "a", false).await.run_id;
    let ask = pb::CompensateRunRequest {
        run_id: empty,
        ..Default::default()
    };
    let answer = admin.compensate_run(ask).await.unwrap().into_inner();
    assert_eq!(answer.run.unwrap().status(), pb::RunStatus::Failed);
}

/// Its driver may be dead or at work: what it has begun may have happened, and it alone knows.
#[tokio::test]
async fn what_is_under_way_when_a_run_is_compensated_is_in_doubt_until_its_driver_has_had_the_last_word() {
    let server = TestServer::start().await;
    let (mut tape, mut admin) = (server.tape.clone(), server.admin.clone());
    let mut keys = Vec::new();
    for (invocation, completion) in [("i-1", pb::EffectStatus::Confirmed), ("i-2", pb::EffectStatus::Failed)] {
        let run = server.begin(invocation, "a", false).await.run_id;
        let undoable = pb::BeginEffectRequest {
            compensation: Some(pb::CompensationHandle {
                function: "tools:refund".into(),
                kind: "refund".into(),
                ..Default::default()
            }),
            ..inline(&run, 0)
        };
        let undoable = tape.begin_effect(undoable).await.unwrap().into_inner().idempotency_key;
        let only_read = tape
            .begin_effect(inline(&run, 1))
            .await
            .unwrap()
            .into_inner()
            .idempotency_key;
        let ask = pb::CompensateRunRequest {
            run_id: run.clone(),
            reason: "the customer left".into(),
            ..Default::default()
        };
        let answer = admin.compensate_run(ask.clone()).await.unwrap().into_inner();
        assert_eq!(answer.run.unwrap().status(), pb::RunStatus::Compensating);
        let get = |key: &str| pb::GetEffectRequest {
            run_id: run.clone(),
            idempotency_key: key.to_owned(),
        };
        let effect = tape.get_effect(get(&undoable)).await.unwrap().into_inner();
        assert_eq!(effect.effect.unwrap().status(), pb::EffectStatus::Unknown);
        let effect = tape.get_effect(get(&only_read)).await.unwrap().into_inner();
        assert_eq!(
            effect.effect.unwrap().status(),
            pb::EffectStatus::Pending,
            "nothing could be undone of it"
        );

        let last_word = pb::CompleteEffectRequest {
            run_id: run.clone(),
            idempotency_key: undoable.clone(),
            status: completion.into(),
            ..Default::default()
        };
        let anothers = pb::CompleteEffectRequest {
            lease_owner: "b".into(),
            ..last_word.clone()
        };
        refused(tape.complete_effect(anothers).await, Code::Aborted, "TAPE-R002");
        for _ in 0..2 {
            let said = tape.complete_effect(last_word.clone()).await.unwrap().into_inner();
            assert_eq!(said.status(), completion);
        }
        refused(
            tape.begin_effect(inline(&run, 2)).await,
            Code::FailedPrecondition,
            "TAPE-R003",
        );
        let answer = admin.compensate_run(ask).await.unwrap().into_inner();
        keys.push((undoable, answer.obligations, answer.run.unwrap().status()));
    }
    let [(took, owed, status), (_, nothing, ended)] = &keys[..] else {
        panic!()
    };
    assert_eq!(owed.iter().map(|o| &o.effect_key).collect::<Vec<_>>(), [took]);
    assert_eq!(*status, pb::RunStatus::Compensating);
    assert!(nothing.is_empty());
    assert_eq!(*ended, pb::RunStatus::Failed);
}

#[tokio::test]
async fn only_failed_and_stuck_runs_are_reopened_and_only_with_a_reason() {
    let server = TestServer::start().await;
    let (mut tape, mut admin) = (server.tape.clone(), server.admin.clone());
    let redrive = |run: &str, reason: &str| pb::RedriveRequest {
        run_id: run.into(),
        reason: reason.into(),
    };
    let failed = server.begin("i-1", "a", false).await.run_id;
    tape.end_run(end(&failed, pb::RunStatus::Failed)).await.unwrap();
    let (_, detail) = refused(
        admin.redrive(redrive(&failed, "")).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!(detail.field, "reason");
    let reopened = admin
        .redrive(redrive(&failed, "fixed"))
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    assert_eq!((reopened.status(), reopened.ended_at_ms), (pb::RunStatus::Runnable, 0));

    let gone = server.begin("i-2", "a", false).await.run_id;
    let cancel = pb::CancelRunRequest {
        run_id: gone.clone(),
        reason: "enough".into(),
    };
    for _ in 0..2 {
        let run = admin
            .cancel_run(cancel.clone())
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap();
        assert_eq!(run.status(), pb::RunStatus::Cancelled);
    }
    refused(
        admin.redrive(redrive(&gone, "please")).await,
        Code::FailedPrecondition,
        "TAPE-R004",
    );
}

#[tokio::test]
async fn stats_tell_runs_reactors_connectors_and_what_nobody_serves() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    tape.begin_effect(wire(&run, "bank")).await.unwrap();
    let nobodys = pb::BeginEffectRequest {
        tool_name: "post".into(),
        ..wire(&run, "post")
    };
    let key = tape.begin_effect(nobodys).await.unwrap().into_inner().idempotency_key;
    server.admin.clone().start_run(start("i-2")).await.unwrap();

    let stats = server
        .admin
        .clone()
        .stats(pb::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((stats.server_version.as_str(), stats.started_at_ms), ("0.1.0-test", 5));
    assert_eq!(
        (stats.runs_by_status["running"], stats.runs_by_status["runnable"]),
        (1, 1)
    );
    let kinds: Vec<_> = stats.reactors.iter().map(|reactor| reactor.kind.as_str()).collect();
    assert_eq!(kinds, ["recovery", "reconciler", "outbox", "timers", "compensation"]);
    let outbox = &stats.reactors[2];
    assert_eq!((outbox.due, outbox.oldest_due_at_ms, outbox.passes), (2, 1_000_000, 2));
    assert!(outbox.enabled && !stats.reactors[0].enabled);
    assert_eq!(stats.reactors[0].due, 1);
    assert_eq!(
        (stats.connectors[0].name.as_str(), stats.connectors[0].calls),
        ("bank", 3)
    );
    assert_eq!(stats.unserved_effects.len(), 1);
    assert_eq!(
        (
            &stats.unserved_effects[0].idempotency_key,
            stats.unserved_effects[0].connector.as_str()
        ),
        (&key, "post")
    );
}
