//! The client against the services: the same operations, without the wire.

use futures_util::StreamExt;
use tape_client::{
    EffectStatus, ObligationStatus, RefusalKind, RunFilter, RunStatus, SettleEffect, SettleObligation, Signal,
    StartRun, TapeClient,
};
use tape_proto::v1 as pb;

use crate::support::{TestServer, begin_request, soon};

async fn connected() -> (TestServer, TapeClient) {
    let server = TestServer::start().await;
    let client = TapeClient::connect(&server.url).await.unwrap();
    (server, client)
}

fn start(invocation: &str) -> StartRun {
    StartRun {
        app: "app".into(),
        user: "user".into(),
        session: "session".into(),
        invocation: invocation.into(),
        input_json: r#""go""#.into(),
        labels: [("team".to_owned(), "ops".to_owned())].into(),
    }
}

#[tokio::test]
async fn a_run_is_started_signalled_followed_and_dumped() {
    let (server, client) = connected().await;
    let started = client.start_run(start("i-1")).await.unwrap();
    assert!(started.created && !client.start_run(start("i-1")).await.unwrap().created);
    let run = started.run.run_id;
    assert_eq!(client.run(&run).await.unwrap().status, RunStatus::Runnable);
    let mut entries = client.subscribe_run(&run, 0).await.unwrap();
    assert_eq!(soon(entries.next()).await.unwrap().unwrap().kind, "run.begun");

    server.tape.clone().begin_run(begin_request("i-1", "a")).await.unwrap();
    let wait = pb::AwaitSignalRequest {
        run_id: run.clone(),
        gate_name: "approval".into(),
        ..Default::default()
    };
    server.tape.clone().await_signal(wait).await.unwrap();
    let signal = Signal {
        app: "app".into(),
        user: "user".into(),
        session: "session".into(),
        gate: "approval".into(),
        resolution_json: "true".into(),
        ..Signal::default()
    };
    assert!(client.signal(signal).await.unwrap());
    assert_eq!(
        client.cancel(&run, "enough").await.unwrap().status,
        RunStatus::Cancelled
    );

    let mut kinds = Vec::new();
    while let Some(entry) = soon(entries.next()).await {
        kinds.push(entry.unwrap().kind);
    }
    assert_eq!(kinds.first().map(String::as_str), Some("run.attached"));
    assert_eq!(kinds.last().map(String::as_str), Some("run.cancelled"));

    let dump = client.dump_run(&run).await.unwrap();
    assert_eq!(dump["run"]["status"], "CANCELLED");
    assert_eq!(dump["gates"][0]["name"], "approval");
    assert_eq!(dump["journal"].as_array().unwrap().len(), kinds.len() + 1);
    assert_eq!(dump["leases"][0]["owner"], "a");
}

#[tokio::test]
async fn runs_come_page_by_page() {
    let (server, client) = connected().await;
    for n in 0..5 {
        server.clock.turn(1);
        client.start_run(start(&format!("i-{n}"))).await.unwrap();
    }
    let mut filter = RunFilter {
        app: "app".into(),
        statuses: vec![RunStatus::Runnable],
        labels: [("team".to_owned(), "ops".to_owned())].into(),
        page_size: 2,
        ..RunFilter::default()
    };
    let mut names = Vec::new();
    loop {
        let page = client.list_runs(&filter).await.unwrap();
        names.extend(page.items.into_iter().map(|run| run.invocation));
        filter.after = page.next;
        if filter.after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["i-4", "i-3", "i-2", "i-1", "i-0"]);
}

#[tokio::test]
async fn doubt_is_listed_settled_and_undone() {
    let (server, client) = connected().await;
    let (run, key) = server.in_doubt("i-1").await;
    let unknown = client.unknown_effects(0).await.unwrap();
    assert_eq!(
        (unknown.len(), unknown[0].key.as_str(), unknown[0].status),
        (1, key.as_str(), EffectStatus::Unknown)
    );
    assert!(unknown[0].outbox && unknown[0].attempts[0].sent_at_ms > 0);

    let settle = SettleEffect {
        run_id: run.clone(),
        key: key.clone(),
        confirmed: true,
        external_ref: "bank-1".into(),
        reason: "saw it".into(),
        who: "ada".into(),
        ..SettleEffect::default()
    };
    assert_eq!(
        client.resolve_effect(settle).await.unwrap().status,
        EffectStatus::Confirmed
    );
    let effect = client.effect(&run, &key).await.unwrap().unwrap();
    assert_eq!(effect.external_ref, "bank-1");
    assert!(client.effect(&run, "none").await.unwrap().is_none());
    let error = client.retry_effect(&run, &key, "again", "ada").await.unwrap_err();
    assert_eq!(error.kind(), Some(RefusalKind::FailedPrecondition));

    let owed = pb::RegisterCompensationRequest {
        run_id: run.clone(),
        effect_key: key,
        kind: "refund".into(),
        ..Default::default()
    };
    server.tape.clone().register_compensation(owed).await.unwrap();
    let owed = client.obligations(&run).await.unwrap();
    assert_eq!(owed[0].status, ObligationStatus::Pending);
    let settle = SettleObligation {
        run_id: run.clone(),
        seq: owed[0].seq,
        compensated: true,
        reason: "by phone".into(),
        who: "ada".into(),
    };
    let settled = client.resolve_obligation(settle).await.unwrap();
    assert_eq!(settled.status, ObligationStatus::Compensated);
    let (undone, obligations) = client.compensate(&run, "the customer left", false).await.unwrap();
    assert_eq!((undone.status, obligations.len()), (RunStatus::Failed, 0));
    assert_eq!(
        client.redrive(&run, "once more").await.unwrap().status,
        RunStatus::Runnable
    );
}

#[tokio::test]
async fn a_refusal_keeps_its_code_its_field_and_its_cure() {
    let (_server, client) = connected().await;
    let error = client.run("r-none").await.unwrap_err();
    assert!(error.is_not_found() && !error.retryable());
    assert_eq!(error.code(), "TAPE-R001");
    assert!(error.to_string().contains(error.cure()) && !error.cure().is_empty());
    let bad = RunFilter {
        after: Some("?".into()),
        ..RunFilter::default()
    };
    let error = client.list_runs(&bad).await.unwrap_err();
    assert!(
        matches!(&error, tape_client::ClientError::Refused { field, .. } if field == "page_token"),
        "{error}"
    );
}

#[tokio::test]
async fn stats_are_told() {
    let (_server, client) = connected().await;
    client.start_run(start("i-1")).await.unwrap();
    let stats = client.stats().await.unwrap();
    assert_eq!(stats.runs_by_status["runnable"], 1);
    assert_eq!((stats.reactors.len(), stats.store_url.as_str()), (5, "memory:"));
    assert_eq!(stats.connectors[0].name, "bank");
}
