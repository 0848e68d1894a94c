//! Reactors in processes of their own: the port over gRPC, as `tape-client` implements it.

use std::sync::Arc;
use std::time::Duration;

use tape_client::{RemoteConfig, RemoteTape};
use tape_core::command::dispatch::{ClaimDispatch, MarkSent, Outcome, RenewDispatch, SettleDispatch};
use tape_core::command::obligation::{SettleObligation, Undone};
use tape_core::command::observe::{Booking, ClaimCheck, IfAbsent, Observation, RecordObservation};
use tape_core::command::recovery::{ClaimRecovery, NoTaker};
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::{DueKind, EffectKey, RowKey, RunId};
use tape_port::{ClaimCompensation, DispatchTask, DueWork, Served, Tape, TapeError, WorkerError, Workers};
use tape_proto::v1 as pb;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::support::{TestServer, refused, soon, wire};

fn remote(server: &TestServer, name: &str) -> RemoteTape {
    RemoteTape::new(RemoteConfig {
        url: server.url.clone(),
        reactor_id: name.into(),
        ..RemoteConfig::default()
    })
    .unwrap()
}

async fn begun(server: &TestServer, invocation: &str, connector: &str) -> (RunId, EffectKey) {
    let run = server.begin(invocation, "driver", false).await.run_id;
    let begun = server.tape.clone().begin_effect(wire(&run, connector)).await.unwrap();
    (RunId(run), EffectKey(begun.into_inner().idempotency_key))
}

fn claim_of(run: &RunId, key: &EffectKey, owner: &str) -> ClaimDispatch {
    ClaimDispatch {
        run: run.clone(),
        key: key.clone(),
        owner: owner.into(),
        ttl_ms: 60_000,
        two_phase: true,
        connectors: Some(vec!["bank".into()]),
    }
}

fn mark_of(task: &DispatchTask, owner: &str) -> MarkSent {
    MarkSent {
        run: task.run.clone(),
        key: task.key.clone(),
        owner: owner.into(),
        attempt: task.attempt,
        version: "1.4.0".into(),
        digest: "sha256:14".into(),
    }
}

fn settled(task: &DispatchTask, owner: &str, outcome: Outcome) -> SettleDispatch {
    SettleDispatch {
        run: task.run.clone(),
        key: task.key.clone(),
        owner: owner.into(),
        attempt: task.attempt,
        outcome,
        evidence_json: r#"{"exchanges":[]}"#.into(),
        version: "1.2.0".into(),
        digest: "sha256:12".into(),
    }
}

fn confirmed() -> Outcome {
    Outcome::Confirmed {
        external_ref: "bank-1".into(),
        response_json: r#"{"id":"bank-1"}"#.into(),
    }
}

#[tokio::test]
async fn what_is_done_for_an_effect_later_goes_on_in_the_trace_that_began_it() {
    const TRACE_PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let server = TestServer::start().await;
    let run = RunId(server.begin("i-1", "driver", false).await.run_id);
    let mut request = tonic::Request::new(wire(run.as_str(), "bank"));
    let header = TRACE_PARENT.parse().unwrap();
    request.metadata_mut().insert("traceparent", header);
    let begun = server.tape.clone().begin_effect(request).await.unwrap().into_inner();
    let key = EffectKey(begun.idempotency_key);
    let tape = remote(&server, "r-1");
    let task = tape.claim_dispatch(claim_of(&run, &key, "r-1")).await.unwrap().unwrap();
    assert_eq!(task.call.trace_parent.as_deref(), Some(TRACE_PARENT));
}

#[tokio::test]
async fn an_effect_is_found_claimed_marked_and_settled_from_elsewhere() {
    let server = TestServer::start().await;
    let (run, key) = begun(&server, "i-1", "bank").await;
    let tape = remote(&server, "r-1");
    let due = tape.due(&DueWork::all(DueKind::Outbox, 10)).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(
        (&due[0].run, &due[0].key, due[0].app.as_str()),
        (&run, &RowKey::Effect(key.clone()), "app")
    );
    assert_eq!(tape.now(), server.engine.now());

    let task = tape.claim_dispatch(claim_of(&run, &key, "r-1")).await.unwrap().unwrap();
    assert_eq!(
        (task.connector.as_str(), task.attempt, task.call.attempt),
        ("bank", 1, 1)
    );
    assert_eq!(task.call.payload_json, r#"{"amount":"250.00"}"#);
    assert!(
        remote(&server, "r-2")
            .claim_dispatch(claim_of(&run, &key, "r-2"))
            .await
            .unwrap()
            .is_none()
    );

    tape.mark_sent(mark_of(&task, "r-1")).await.unwrap();
    // Said twice, because the first answer was lost: as if once.
    tape.mark_sent(mark_of(&task, "r-1")).await.unwrap();
    let renew = RenewDispatch {
        run: run.clone(),
        key: key.clone(),
        owner: "r-1".into(),
        attempt: 1,
        ttl_ms: 90_000,
    };
    tape.renew_dispatch(renew).await.unwrap();
    let claimed_until = server
        .effect(run.as_str(), key.as_str())
        .await
        .dispatch_claim_expires_at_ms;
    assert_eq!(claimed_until, server.engine.now().0 + 90_000);
    tape.settle_dispatch(settled(&task, "r-1", confirmed())).await.unwrap();
    let seq = server.seq(run.as_str()).await;
    tape.settle_dispatch(settled(&task, "r-1", confirmed())).await.unwrap();
    assert_eq!(server.seq(run.as_str()).await, seq, "said twice, recorded once");

    let effect = server.effect(run.as_str(), key.as_str()).await;
    assert_eq!(
        (effect.status(), effect.external_ref.as_str()),
        (pb::EffectStatus::Confirmed, "bank-1")
    );
    assert_eq!(effect.attempts[0].connector_version, "1.2.0");
    assert_eq!(effect.attempts[0].evidence_json, r#"{"exchanges":[]}"#);
}

#[tokio::test]
async fn what_a_reactor_does_not_serve_it_does_not_get() {
    let server = TestServer::start().await;
    let (run, key) = begun(&server, "i-1", "post").await;
    let tape = remote(&server, "r-1");
    assert!(
        tape.claim_dispatch(claim_of(&run, &key, "r-1"))
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(server.effect(run.as_str(), key.as_str()).await.dispatch_attempts, 0);
    let unserved = server
        .admin
        .clone()
        .stats(pb::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(unserved.unserved_effects[0].connector, "post");

    // Somebody who serves it asks: then somebody does, and people see who.
    let work = DueWork {
        served: Some(vec![Served {
            tenant: String::new(),
            name: "post".into(),
            app: None,
        }]),
        ..DueWork::all(DueKind::Outbox, 10)
    };
    tape.due(&work).await.unwrap();
    let stats = server
        .admin
        .clone()
        .stats(pb::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(stats.unserved_effects.is_empty());
    let outbox = stats.reactors.iter().find(|one| one.kind == "outbox").unwrap();
    assert_eq!((outbox.due, outbox.remote.len()), (1, 1));
    assert_eq!(
        (outbox.remote[0].reactor_id.as_str(), outbox.remote[0].passes),
        ("r-1", 1)
    );
    server.clock.turn(61_000);
    let later = server
        .admin
        .clone()
        .stats(pb::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(later.reactors.iter().all(|one| one.remote.is_empty()));
}

#[tokio::test]
async fn a_thousand_effects_that_nobody_serves_hide_none() {
    let server = TestServer::start().await;
    for n in 0..1_000 {
        begun(&server, &format!("i-{n}"), "post").await;
    }
    server.clock.turn(1_000);
    let (run, key) = begun(&server, "served", "bank").await;
    let tape = remote(&server, "r-1");
    let serving = |name: &str| DueWork {
        served: Some(vec![Served {
            tenant: String::new(),
            name: name.into(),
            app: None,
        }]),
        ..DueWork::all(DueKind::Outbox, 200)
    };
    let due = tape.due(&serving("bank")).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!((&due[0].run, &due[0].key), (&run, &RowKey::Effect(key)));
    // Its connector appears: they are due at once, since when they were.
    let due = tape.due(&serving("post")).await.unwrap();
    assert_eq!(due.len(), 200);
    assert!(due[0].at <= server.engine.now().after(-1_000));
}

#[tokio::test]
async fn doubt_about_an_effect_waits_for_its_connector() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "driver", false).await.run_id;
    let request = pb::BeginEffectRequest {
        status_check: String::new(),
        business_key: "inv-1".into(),
        ..wire(&run, "bank")
    };
    let key = server
        .tape
        .clone()
        .begin_effect(request)
        .await
        .unwrap()
        .into_inner()
        .idempotency_key;
    let (run, key) = (RunId(run), EffectKey(key));
    let tape = remote(&server, "r-1");
    let task = tape.claim_dispatch(claim_of(&run, &key, "r-1")).await.unwrap().unwrap();
    tape.mark_sent(mark_of(&task, "r-1")).await.unwrap();
    let unknown = Outcome::Unknown {
        reason: "no answer".into(),
    };
    tape.settle_dispatch(settled(&task, "r-1", unknown)).await.unwrap();
    let doubts = async |served: Vec<Served>| {
        let work = DueWork {
            served: Some(served),
            ..DueWork::all(DueKind::Reconcile, 10)
        };
        tape.due(&work).await.unwrap().len()
    };
    let bank = Served {
        tenant: String::new(),
        name: "bank".into(),
        app: None,
    };
    assert_eq!(doubts(Vec::new()).await, 0);
    assert_eq!(doubts(vec![bank]).await, 1);
}

#[tokio::test]
async fn work_of_other_apps_and_tenants_is_left_alone() {
    let server = TestServer::start().await;
    begun(&server, "i-1", "bank").await;
    let looks = async |apps: &[&str], tenants: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let tape = RemoteTape::new(RemoteConfig {
            url: server.url.clone(),
            reactor_id: "r-1".into(),
            apps: names(apps),
            tenants: names(tenants),
        });
        tape.unwrap()
            .due(&DueWork::all(DueKind::Outbox, 10))
            .await
            .unwrap()
            .len()
    };
    assert_eq!(looks(&["app", "another"], &[]).await, 1);
    assert_eq!(looks(&["another"], &[]).await, 0);
    assert_eq!(looks(&[], &["t"]).await, 0);
}

#[tokio::test]
async fn a_reactor_that_lost_its_claim_is_told() {
    let server = TestServer::start().await;
    let (run, key) = begun(&server, "i-1", "bank").await;
    let (slow, quick) = (remote(&server, "r-1"), remote(&server, "r-2"));
    let first = slow.claim_dispatch(claim_of(&run, &key, "r-1")).await.unwrap().unwrap();
    server.clock.turn(61_000);
    let second = quick
        .claim_dispatch(claim_of(&run, &key, "r-2"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.attempt, 2);
    let lost = slow.mark_sent(mark_of(&first, "r-1")).await.unwrap_err();
    assert!(lost.is_lost() && lost.code() == "TAPE-E011", "{lost}");
    let lost = slow
        .settle_dispatch(settled(&first, "r-1", confirmed()))
        .await
        .unwrap_err();
    assert!(lost.is_lost(), "{lost}");
    quick.mark_sent(mark_of(&second, "r-2")).await.unwrap();
}

#[tokio::test]
async fn an_answer_of_the_books_that_comes_too_late_is_refused() {
    let server = TestServer::start().await;
    let (run, key) = server.in_doubt("i-1").await;
    let (run, key) = (RunId(run), EffectKey(key));
    let (slow, quick) = (remote(&server, "r-1"), remote(&server, "r-2"));
    let claim = |owner: &str| ClaimCheck {
        run: run.clone(),
        key: key.clone(),
        owner: owner.into(),
        ttl_ms: 60_000,
    };
    let record = |owner: &str, observation| RecordObservation {
        run: run.clone(),
        key: key.clone(),
        owner: Some(owner.into()),
        observation,
        if_absent: IfAbsent::default(),
        surplus: None,
        evidence_json: String::new(),
    };
    let task = slow.claim_check(claim("r-1")).await.unwrap().unwrap();
    assert_eq!(
        (task.connector.as_str(), task.function.as_str()),
        ("bank", "tools:check")
    );
    server.clock.turn(61_000);
    quick.claim_check(claim("r-2")).await.unwrap().unwrap();
    let late = slow
        .record_observation(record("r-1", Observation::Absent))
        .await
        .unwrap_err();
    assert!(late.is_lost() && late.code() == "TAPE-E013", "{late}");

    let patience = Observation::Inconclusive {
        reason: "later".into(),
        retry_after_ms: Some(7_000),
    };
    quick.record_observation(record("r-2", patience.clone())).await.unwrap();
    let seq = server.seq(run.as_str()).await;
    quick.record_observation(record("r-2", patience)).await.unwrap();
    assert_eq!(server.seq(run.as_str()).await, seq, "said twice, counted once");
    server.clock.turn(7_000);
    quick.claim_check(claim("r-2")).await.unwrap().unwrap();
    let booking = Booking {
        external_ref: "bank-9".into(),
        response_json: "{}".into(),
    };
    quick
        .record_observation(record("r-2", Observation::Present(booking)))
        .await
        .unwrap();
    let effect = server.effect(run.as_str(), key.as_str()).await;
    assert_eq!(
        (effect.status(), effect.external_ref.as_str()),
        (pb::EffectStatus::Confirmed, "bank-9")
    );
}

#[tokio::test]
async fn an_undoing_whose_worker_disappeared_is_in_doubt() {
    let server = TestServer::start().await;
    let (run, key) = begun(&server, "i-1", "bank").await;
    let tape = remote(&server, "r-1");
    let task = tape.claim_dispatch(claim_of(&run, &key, "r-1")).await.unwrap().unwrap();
    tape.mark_sent(mark_of(&task, "r-1")).await.unwrap();
    tape.settle_dispatch(settled(&task, "r-1", confirmed())).await.unwrap();
    let register = pb::RegisterCompensationRequest {
        run_id: run.0.clone(),
        effect_key: key.0.clone(),
        kind: "reverse".into(),
        ..Default::default()
    };
    let seq = server
        .tape
        .clone()
        .register_compensation(register)
        .await
        .unwrap()
        .into_inner()
        .seq;
    let claim = |owner: &str| ClaimCompensation {
        run: run.clone(),
        seq: Some(seq),
        owner: owner.into(),
        ttl_ms: 60_000,
        at_once: false,
    };
    let first = tape.claim_compensation(claim("r-1")).await.unwrap().unwrap();
    assert!(!first.in_doubt);
    assert_eq!(
        (first.connector.as_str(), first.version.as_deref()),
        ("bank", Some("1.2.0"))
    );
    assert_eq!(first.call.receipt.as_ref().unwrap().external_ref, "bank-1");
    assert!(tape.claim_compensation(claim("r-2")).await.unwrap().is_none());
    // It never comes back: what it did nobody knows, so the upstream is asked first.
    server.clock.turn(61_000);
    let second = tape.claim_compensation(claim("r-2")).await.unwrap().unwrap();
    assert!(second.in_doubt && second.call.attempt == 2);
    let settle = SettleObligation {
        run: run.clone(),
        seq,
        owner: Some("r-2".into()),
        outcome: Undone::Compensated {
            result_json: "{}".into(),
        },
        evidence_json: String::new(),
    };
    tape.settle_obligation(settle).await.unwrap();
    let obligations = server.engine.obligations(&run).await.unwrap();
    assert_eq!(obligations[0].state.name(), "COMPENSATED");
}

#[tokio::test]
async fn a_run_that_is_compensated_is_worked_off_from_elsewhere() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "driver", false).await.run_id;
    let request = pb::BeginEffectRequest {
        compensation: Some(pb::CompensationHandle {
            connector: "bank".into(),
            ..Default::default()
        }),
        ..wire(&run, "bank")
    };
    let key = server
        .tape
        .clone()
        .begin_effect(request)
        .await
        .unwrap()
        .into_inner()
        .idempotency_key;
    let (run, key) = (RunId(run), EffectKey(key));
    let tape = remote(&server, "r-1");
    let task = tape.claim_dispatch(claim_of(&run, &key, "r-1")).await.unwrap().unwrap();
    tape.settle_dispatch(settled(&task, "r-1", confirmed())).await.unwrap();
    let asked = pb::CompensateRunRequest {
        run_id: run.0.clone(),
        reason: "test".into(),
        ..Default::default()
    };
    server.admin.clone().compensate_run(asked).await.unwrap();
    let due = tape.due(&DueWork::all(DueKind::Compensation, 10)).await.unwrap();
    assert_eq!(due[0].key, RowKey::Head);
    let next = || ClaimCompensation {
        run: run.clone(),
        seq: None,
        owner: "r-1".into(),
        ttl_ms: 60_000,
        at_once: false,
    };
    let task = tape.claim_compensation(next()).await.unwrap().unwrap();
    let settle = SettleObligation {
        run: run.clone(),
        seq: task.seq,
        owner: Some("r-1".into()),
        outcome: Undone::Compensated {
            result_json: "{}".into(),
        },
        evidence_json: String::new(),
    };
    tape.settle_obligation(settle).await.unwrap();
    assert!(tape.claim_compensation(next()).await.unwrap().is_none());
    assert_eq!(server.get(run.as_str()).await.status(), pb::RunStatus::Failed);
}

#[tokio::test]
async fn timers_are_claimed_given_back_and_fired_from_elsewhere() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "driver", false).await.run_id;
    let set = pb::SetTimerRequest {
        run_id: run.clone(),
        timer_id: "t".into(),
        fire_at_ms: server.engine.now().0 + 10,
        kind: "mine".into(),
        payload_json: "{}".into(),
        ..Default::default()
    };
    server.tape.clone().set_timer(set).await.unwrap();
    let tape = remote(&server, "r-1");
    assert_eq!(
        tape.next_due(DueKind::Timers).await.unwrap(),
        Some(server.engine.now().after(10))
    );
    server.clock.turn(10);
    let (run, id, owner) = (RunId(run), "t".to_owned(), "r-1".to_owned());
    let claim = |at_once| ClaimTimer {
        run: run.clone(),
        id: id.clone(),
        owner: owner.clone(),
        ttl_ms: 60_000,
        ahead_ms: 0,
        at_once,
    };
    let task = tape.claim_timer(claim(false)).await.unwrap().unwrap();
    assert_eq!((task.kind.as_str(), task.built_in()), ("mine", false));
    let release = ReleaseTimer {
        run: run.clone(),
        id: id.clone(),
        owner: owner.clone(),
    };
    tape.release_timer(release).await.unwrap();
    assert!(tape.claim_timer(claim(false)).await.unwrap().is_none(), "it rests");
    assert!(
        tape.claim_timer(claim(true)).await.unwrap().is_some(),
        "not for a new worker"
    );
    let fire = FireTimer {
        run: run.clone(),
        id: id.clone(),
        owner,
    };
    tape.fire_timer(fire.clone()).await.unwrap();
    tape.fire_timer(fire).await.unwrap();
    let timer = server.engine.timer(&run, &id).await.unwrap().unwrap();
    assert_eq!(timer.state, tape_core::timer::TimerState::Fired);
}

#[tokio::test]
async fn a_run_without_a_driver_is_woken_from_elsewhere() {
    let server = TestServer::start().await;
    let start = pb::StartRunRequest {
        app_name: "app".into(),
        user_id: "user".into(),
        session_id: "session".into(),
        invocation_id: "i-1".into(),
        input_json: r#""go""#.into(),
        ..Default::default()
    };
    let run = RunId(server.admin.clone().start_run(start).await.unwrap().into_inner().run_id);
    let tape = remote(&server, "r-1");
    let claim = |at_once| ClaimRecovery {
        run: run.clone(),
        at_once,
    };
    let task = tape.claim_recovery(claim(false)).await.unwrap().unwrap();
    assert_eq!((task.identity.app.as_str(), task.new, task.tries), ("app", true, 1));
    assert_eq!(task.input_json, r#""go""#);
    let nobody = tape.redrive(&task, "start").await.unwrap_err();
    assert_eq!(nobody, WorkerError::NoWorker { app: "app".into() });
    let note = NoTaker {
        run: run.clone(),
        error: nobody.to_string(),
    };
    tape.no_taker(note).await.unwrap();
    assert!(server.get(run.as_str()).await.last_error.contains("no worker of app"));
    assert!(tape.claim_recovery(claim(false)).await.unwrap().is_none(), "it rests");
    assert!(tape.claim_recovery(claim(true)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_commit_and_a_worker_wake_reactors_elsewhere() {
    let server = TestServer::start().await;
    let tape = Arc::new(remote(&server, "r-1"));
    let mut attachments = tape.attachments();
    let stop = CancellationToken::new();
    let mut watching = tokio::task::JoinSet::new();
    watching.spawn({
        let (tape, stop) = (tape.clone(), stop.clone());
        async move { tape.watch(&[DueKind::Outbox, DueKind::Recovery], stop).await }
    });
    // The server listens: look at once.
    soon(tape.woken(DueKind::Outbox)).await;
    soon(tape.woken(DueKind::Recovery)).await;
    soon(attachments.changed()).await.unwrap();
    begun(&server, "i-1", "bank").await;
    soon(tape.woken(DueKind::Outbox)).await;
    assert!(tape.apps().is_empty());
    let _worker = crate::workers::attached(&server, "w-1").await;
    soon(attachments.changed()).await.unwrap();
    assert_eq!(tape.apps(), ["app"]);
    stop.cancel();
    soon(watching.join_next()).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_there_or_says_nothing_is_unavailable() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent_at, gone_at) = (silent.local_addr().unwrap(), gone.local_addr().unwrap());
    drop(gone);
    for address in [silent_at, gone_at] {
        let tape = RemoteTape::new(RemoteConfig {
            url: format!("tape://{address}"),
            reactor_id: "r-1".into(),
            ..RemoteConfig::default()
        })
        .unwrap();
        let work = DueWork::all(DueKind::Outbox, 1);
        let answer = tokio::time::timeout(Duration::from_secs(60), tape.due(&work))
            .await
            .expect("it gives up by itself");
        assert!(matches!(answer, Err(TapeError::Unavailable(_))), "{answer:?}");
    }
    drop(silent);
}

#[tokio::test]
async fn bad_requests_are_named() {
    let server = TestServer::start().await;
    let mut reactors = pb::reactors_client::ReactorsClient::new(server.channel.clone());
    let due = |kind: i32, id: &str| pb::DueRequest {
        kind,
        reactor_id: id.into(),
        ..Default::default()
    };
    let (_, detail) = refused(reactors.due(due(1, "")).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!(detail.field, "reactor_id");
    for kind in [0, 9] {
        let (_, detail) = refused(reactors.due(due(kind, "r")).await, Code::InvalidArgument, "TAPE-V001");
        assert_eq!((detail.field.as_str(), detail.value), ("kind", kind.to_string()));
    }
    let work = |kind: pb::WorkKind, key: &str| {
        Some(pb::Work {
            kind: kind.into(),
            run_id: "r-1".into(),
            key: key.into(),
        })
    };
    let claim = pb::ClaimRequest {
        work: work(pb::WorkKind::Compensation, "first"),
        reactor_id: "r".into(),
        ..Default::default()
    };
    let (_, detail) = refused(reactors.claim(claim).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("work.key", "first"));
    let lease = |kind| {
        Some(pb::WorkLease {
            work: work(kind, "k"),
            owner: "r".into(),
            fence: 1,
        })
    };
    let unfit = pb::SettleRequest {
        lease: lease(pb::WorkKind::Outbox),
        outcome: Some(pb::settle_request::Outcome::Recovery(pb::RecoveryOutcome::default())),
        ..Default::default()
    };
    let (_, detail) = refused(reactors.settle(unfit).await, Code::InvalidArgument, "TAPE-V001");
    assert_eq!(detail.field, "outcome");
    let renew = pb::RenewRequest {
        lease: lease(pb::WorkKind::Timer),
        lease_ttl_ms: 0,
    };
    refused(reactors.renew(renew).await, Code::InvalidArgument, "TAPE-V001");
    let call = pb::CallWorkerRequest {
        app_name: "app".into(),
        ..Default::default()
    };
    refused(reactors.call_worker(call).await, Code::InvalidArgument, "TAPE-V001");
    let watch = pb::WatchRequest {
        reactor_id: "r".into(),
        kinds: Vec::new(),
    };
    refused(
        reactors.watch(watch).await.map(drop),
        Code::InvalidArgument,
        "TAPE-V001",
    );
}

/// A claim that came to nothing because the connector rested is no attempt for the guest, and a number for whoever holds the next.
#[tokio::test]
async fn an_effect_whose_connector_rested_is_dispatched_when_it_is_back() {
    let server = TestServer::start().await;
    let (run, key) = begun(&server, "i-1", "bank").await;
    let elsewhere = remote(&server, "r-1");
    let here: &dyn Tape = &*server.engine;
    for (n, tape) in [(1, here), (2, &elsewhere), (3, here)] {
        let task = tape.claim_dispatch(claim_of(&run, &key, "r-1")).await.unwrap().unwrap();
        assert_eq!((task.attempt, task.call.attempt), (n, 1));
        let rests = Outcome::Nobody {
            reason: "it rests".into(),
            retry_after_ms: None,
        };
        tape.settle_dispatch(settled(&task, "r-1", rests)).await.unwrap();
        server.clock.turn(70_000);
    }
    let claim = claim_of(&run, &key, "r-1");
    let task = elsewhere.claim_dispatch(claim).await.unwrap().unwrap();
    assert_eq!((task.attempt, task.call.attempt), (4, 1));
    elsewhere.mark_sent(mark_of(&task, "r-1")).await.unwrap();
    elsewhere
        .settle_dispatch(settled(&task, "r-1", confirmed()))
        .await
        .unwrap();
    let effect = server.effect(run.as_str(), key.as_str()).await;
    assert_eq!(effect.status(), pb::EffectStatus::Confirmed);
}
