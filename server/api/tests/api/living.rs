//! Connectors in workers' processes: who is asked, who never is, and what is known when nobody answers.

use std::sync::Arc;

use tape_client::{RemoteConfig, RemoteTape};
use tape_connector_port::{DispatchAnswer, EffectCall, ObserveAnswer, StatusAnswer, Supports};
use tape_core::{DueKind, Time};
use tape_port::{DueWork, LivingConnectors, Served, Tape as _, Told, WorkerError};
use tape_proto::v1 as pb;
use tape_proto::v1::worker_answer::Answer;
use tape_proto::v1::worker_call::Call;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{TestServer, soon};
use crate::workers::Stream;

fn hello(app: &str, worker_id: &str) -> pb::WorkerHello {
    pb::WorkerHello {
        app_name: app.into(),
        worker_id: worker_id.into(),
        connectors: vec!["ledger".into()],
        ..Default::default()
    }
}

fn effect(tenant: &str, app: &str) -> EffectCall {
    EffectCall {
        tenant: tenant.into(),
        app: app.into(),
        run_id: "r-1".into(),
        idempotency_key: "k".into(),
        decision_index: 0,
        tool: "wire".into(),
        operation: "wire".into(),
        business_key: Some("inv-1".into()),
        attempt: 1,
        payload_json: "{}".into(),
        deadline_ms: 0,
        trace_parent: None,
        idempotent: false,
    }
}

fn booked(reference: &str) -> Answer {
    Answer::Dispatch(pb::DispatchAnswer {
        answer: Some(pb::dispatch_answer::Answer::Confirmed(pb::Receipt {
            external_ref: reference.into(),
            response_json: String::new(),
        })),
    })
}

fn refusal() -> Answer {
    Answer::Refused(pb::Refused {
        code: "draining".into(),
        message: "going".into(),
        retryable: true,
    })
}

fn remote(server: &TestServer) -> Arc<RemoteTape> {
    let config = RemoteConfig {
        url: server.url.clone(),
        reactor_id: "r-1".into(),
        ..RemoteConfig::default()
    };
    Arc::new(RemoteTape::new(config).unwrap())
}

type Asked = JoinSet<Result<Told<DispatchAnswer>, WorkerError>>;

/// Asks while the test answers as the worker.
fn dispatch(of: Arc<dyn LivingConnectors>, effect: EffectCall, begin_by: Time) -> Asked {
    let mut asked = JoinSet::new();
    asked.spawn(async move { of.dispatch("ledger", &effect, begin_by).await });
    asked
}

async fn said(mut asked: Asked) -> Result<Told<DispatchAnswer>, WorkerError> {
    soon(asked.join_next()).await.unwrap().unwrap()
}

fn is_refused(error: &WorkerError, wanted: &str) -> bool {
    matches!(error, WorkerError::Refused { code, retryable: true, .. } if code == wanted)
}

/// In the server's process, and from elsewhere.
fn both(server: &TestServer) -> [Arc<dyn LivingConnectors>; 2] {
    [server.hub.clone(), remote(server)]
}

#[tokio::test]
async fn only_a_worker_of_the_effects_app_and_tenant_is_asked() {
    let server = TestServer::start().await;
    let mut own = Stream::attach(&server, hello("treasury", "w-own")).await;
    let mut other = Stream::attach(&server, hello("sales", "w-other")).await;
    for it in both(&server) {
        let asked = dispatch(it.clone(), effect("", "treasury"), Time(i64::MAX));
        let call = own.call().await;
        assert!(call.answer_within_ms > 0, "{call:?}");
        assert_eq!(call.begin_by_ms, i64::MAX);
        let Some(Call::Dispatch(dispatch_call)) = &call.call else {
            panic!("not a dispatch: {call:?}");
        };
        assert_eq!(dispatch_call.connector, "ledger");
        own.answer(&call.call_id, booked("l-1")).await;
        assert_eq!(said(asked).await.unwrap().worker, "w-own");

        // Of the same name, and of others: nobody of its own is there.
        for (tenant, app) in [("", "support"), ("acme", "treasury")] {
            let error = said(dispatch(it.clone(), effect(tenant, app), Time::ZERO))
                .await
                .unwrap_err();
            assert!(is_refused(&error, "unknown_connector"), "{error}");
        }
    }
    // Nothing was said to the other app's worker all the while: what comes first is for it.
    let asked = dispatch(server.hub.clone(), effect("", "sales"), Time::ZERO);
    let (id, call) = other.next().await;
    assert!(matches!(call, Call::Dispatch(_)), "{call:?}");
    other.answer(&id, booked("l-2")).await;
    assert_eq!(said(asked).await.unwrap().worker, "w-other");
}

#[tokio::test]
async fn one_that_says_no_is_passed_over_and_one_that_vanishes_is_not_replaced() {
    let server = TestServer::start().await;
    let mut pair = [
        Stream::attach(&server, hello("treasury", "w-1")).await,
        Stream::attach(&server, hello("treasury", "w-2")).await,
    ];
    for it in both(&server) {
        let asked = dispatch(it, effect("", "treasury"), Time::ZERO);
        // They take turns: whoever is first says no.
        let [one, other] = &mut pair;
        let first = tokio::select! {
            call = one.next() => { one.answer(&call.0, refusal()).await; 0 }
            call = other.next() => { other.answer(&call.0, refusal()).await; 1 }
        };
        let second = &mut pair[1 - first];
        let (id, _) = second.next().await;
        second.answer(&id, booked("l-1")).await;
        assert!(said(asked).await.is_ok());
    }

    let asked = dispatch(server.hub.clone(), effect("", "treasury"), Time::ZERO);
    let [mut one, mut other] = pair;
    let mut left = tokio::select! {
        _ = one.next() => { drop(one); other }
        _ = other.next() => { drop(other); one }
    };
    // It may have done it: the other one is not asked.
    let lost = said(asked).await.unwrap_err();
    assert!(matches!(lost, WorkerError::Lost { .. }), "{lost}");
    let (it, effect) = (server.hub.clone(), effect("", "treasury"));
    let mut asking = JoinSet::new();
    asking.spawn(async move { LivingConnectors::observe(&*it, "ledger", &effect).await });
    let (id, call) = left.next().await;
    assert!(matches!(call, Call::Observe(_)), "{call:?}");
    let absent = pb::observe_answer::Answer::Absent(pb::Absent {});
    left.answer(&id, Answer::Observe(pb::ObserveAnswer { answer: Some(absent) }))
        .await;
    let seen = soon(asking.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(seen.answer, ObserveAnswer::Absent);
}

#[tokio::test]
async fn after_its_time_nobody_is_asked() {
    let server = TestServer::start().await;
    let mut worker = Stream::attach(&server, hello("treasury", "w-1")).await;
    server.clock.turn(10_000);
    let now = server.engine.now();
    for it in both(&server) {
        let late = said(dispatch(it.clone(), effect("", "treasury"), Time(now.0 - 1)))
            .await
            .unwrap_err();
        assert!(is_refused(&late, "too_late"), "{late}");
        let over = EffectCall {
            deadline_ms: now.0 - 1,
            ..effect("", "treasury")
        };
        let over = said(dispatch(it, over, Time::ZERO)).await.unwrap_err();
        assert!(is_refused(&over, "too_late"), "{over}");
    }
    // Its answer is waited for no longer than the effect's own deadline.
    let soon_over = EffectCall {
        deadline_ms: now.0 + 250,
        ..effect("", "treasury")
    };
    let asked = dispatch(server.hub.clone(), soon_over, Time::ZERO);
    let call = worker.call().await;
    assert_eq!(call.answer_within_ms, 250);
    let lost = said(asked).await.unwrap_err();
    assert!(matches!(lost, WorkerError::Lost { .. }), "{lost}");
}

#[tokio::test]
async fn a_question_goes_to_a_worker_whose_connector_answers_it() {
    let server = TestServer::start().await;
    let _observes = Stream::attach(&server, hello("treasury", "w-1")).await;
    let described = pb::ConnectorInWorker {
        name: "ledger".into(),
        status_check: true,
        ..Default::default()
    };
    let checking = pb::WorkerHello {
        described: vec![described],
        ..hello("treasury", "w-2")
    };
    let mut checks = Stream::attach(&server, checking).await;
    let living = server.hub.living();
    let together = Supports {
        observe: true,
        status_check: true,
        compensate: false,
    };
    assert_eq!((living.len(), living[0].supports), (1, together));
    // However the turns go.
    for it in both(&server).into_iter().chain(both(&server)) {
        let mut asking = JoinSet::new();
        asking.spawn(async move { it.status_check("ledger", &effect("", "treasury"), "l-1").await });
        let (id, call) = checks.next().await;
        let Call::StatusCheck(check) = call else {
            panic!("not a status check: {call:?}");
        };
        assert_eq!(
            (
                check.connector.as_str(),
                check.function.as_str(),
                check.external_ref.as_str()
            ),
            ("ledger", "", "l-1")
        );
        let not = pb::status_answer::Answer::NotCommitted(pb::NotCommitted {});
        checks
            .answer(&id, Answer::Status(pb::StatusAnswer { answer: Some(not) }))
            .await;
        let told = soon(asking.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!(told.answer, StatusAnswer::NotCommitted);
    }
}

#[tokio::test]
async fn a_reactor_elsewhere_hears_who_came_and_who_left() {
    let server = TestServer::start().await;
    let (tape, stop) = (remote(&server), CancellationToken::new());
    let mut listening = JoinSet::new();
    listening.spawn({
        let (tape, stop) = (tape.clone(), stop.clone());
        async move { tape.watch(&[DueKind::Outbox], stop).await }
    });
    // A change between a look and the wait for the next would be missed.
    let until = async |there: bool| {
        while tape.living().is_empty() == there {
            tokio::select! {
                () = tape.living_changed() => {}
                () = tokio::task::yield_now() => {}
            }
        }
    };
    let worker = Stream::attach(&server, hello("treasury", "w-1")).await;
    soon(until(true)).await;
    assert_eq!(tape.living()[0].app, "treasury");
    drop(worker);
    soon(until(false)).await;
    stop.cancel();
    soon(listening.join_next()).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_waits_for_another_apps_connector_is_not_found() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "driver", false).await.run_id;
    let wire = pb::BeginEffectRequest {
        run_id: run.clone(),
        tool_name: "wire".into(),
        semantics: pb::EffectSemantics::NonIdempotent.into(),
        dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
        connector: "ledger".into(),
        business_key: "inv-1".into(),
        ..Default::default()
    };
    server.tape.clone().begin_effect(wire).await.unwrap();
    let tape = remote(&server);
    let served_for = |apps: &[Option<&str>]| DueWork {
        served: Some(
            apps.iter()
                .map(|app| Served {
                    tenant: String::new(),
                    name: "ledger".into(),
                    app: app.map(str::to_owned),
                })
                .collect(),
        ),
        ..DueWork::all(DueKind::Outbox, 10)
    };
    assert!(tape.due(&served_for(&[Some("sales")])).await.unwrap().is_empty());
    let stats = server
        .admin
        .clone()
        .stats(pb::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        stats.unserved_effects.len(),
        1,
        "the other app's connector serves nothing of it"
    );
    // Found once, also where two looks find it.
    for apps in [
        &[Some("app")][..],
        &[None],
        &[Some("sales"), Some("app")],
        &[None, Some("app")],
    ] {
        assert_eq!(tape.due(&served_for(apps)).await.unwrap().len(), 1, "{apps:?}");
    }
    let stats = server
        .admin
        .clone()
        .stats(pb::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(stats.unserved_effects.is_empty());
}
