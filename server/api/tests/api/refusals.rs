//! Every bad input of the contract: its status, its code, and that it names field, value and cure.

use tape_api::HubConfig;
use tape_engine::EngineConfig;
use tape_proto::v1 as pb;
use tonic::Code;

use crate::support::{TestServer, begin_request, decision, end, inline, refused, wire};

#[tokio::test]
async fn bad_effects_are_refused_by_rule() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "a", false).await.run_id;
    let non_idempotent = pb::EffectSemantics::NonIdempotent.into();
    let outbox = pb::EffectDispatchMode::Outbox.into();
    let good = || inline(&run, 0);
    // What is asked, its status, its code, the field and value that are named, and what the sentence holds.
    let table = [
        (
            pb::BeginEffectRequest {
                semantics: non_idempotent,
                ..good()
            },
            (Code::FailedPrecondition, "TAPE-E003", "", "", "NON_IDEMPOTENT"),
        ),
        (
            pb::BeginEffectRequest {
                business_key: "inv-7".into(),
                ..good()
            },
            (
                Code::InvalidArgument,
                "TAPE-E004",
                "business_key",
                "inv-7",
                "business_key requires connector",
            ),
        ),
        (
            pb::BeginEffectRequest {
                dispatch_mode: outbox,
                ..good()
            },
            (Code::InvalidArgument, "TAPE-E005", "connector", "", "OUTBOX"),
        ),
        (
            pb::BeginEffectRequest {
                semantics: non_idempotent,
                dispatch_mode: outbox,
                connector: "elsewhere".into(),
                ..good()
            },
            (
                Code::FailedPrecondition,
                "TAPE-E006",
                "",
                "",
                "no way to settle UNKNOWN",
            ),
        ),
        (
            pb::BeginEffectRequest {
                scope: "pay".into(),
                ..good()
            },
            (Code::PermissionDenied, "TAPE-E008", "scope", "pay", "pay"),
        ),
        (
            pb::BeginEffectRequest {
                request_json: "{amount: 1}".into(),
                ..good()
            },
            (
                Code::InvalidArgument,
                "TAPE-V002",
                "request_json",
                "{amount: 1}",
                "not JSON",
            ),
        ),
        (
            pb::BeginEffectRequest {
                request_json: format!("\"{}\"", "x".repeat(4 << 20)),
                ..good()
            },
            (
                Code::InvalidArgument,
                "TAPE-V003",
                "request_json",
                "…",
                "at most 4194304 fit",
            ),
        ),
        (
            pb::BeginEffectRequest {
                custom_key: "k".repeat(513),
                ..good()
            },
            (Code::InvalidArgument, "TAPE-V003", "custom_key", "…", "at most 512 fit"),
        ),
        (
            pb::BeginEffectRequest {
                tool_name: String::new(),
                ..good()
            },
            (Code::InvalidArgument, "TAPE-V001", "tool_name", "", "missing"),
        ),
        (
            pb::BeginEffectRequest { semantics: 9, ..good() },
            (Code::InvalidArgument, "TAPE-V001", "semantics", "9", "IDEMPOTENT (1)"),
        ),
        (
            pb::BeginEffectRequest {
                dispatch_mode: 9,
                ..good()
            },
            (Code::InvalidArgument, "TAPE-V001", "dispatch_mode", "9", "OUTBOX (2)"),
        ),
        (
            pb::BeginEffectRequest {
                run_id: "r-none".into(),
                ..good()
            },
            (Code::NotFound, "TAPE-R001", "", "", "r-none"),
        ),
        (
            pb::BeginEffectRequest {
                run_id: String::new(),
                ..good()
            },
            (Code::InvalidArgument, "TAPE-V001", "run_id", "", "missing"),
        ),
    ];
    for (asked, (code, tape_code, field, value, says)) in table {
        let answer = server.tape.clone().begin_effect(asked).await;
        let (status, detail) = refused(answer, code, tape_code);
        assert_eq!(detail.field, field, "{status}");
        assert!(detail.value.contains(value), "{status}");
        assert!(detail.value.len() <= 256, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    // Nothing of it was written.
    assert_eq!(server.get(&run).await.effects, 0);
}

#[tokio::test]
async fn allow_unsafe_is_taken_and_journalled_with_a_warning() {
    let server = TestServer::start().await;
    let run = server.begin("i-1", "a", false).await.run_id;
    let unsafe_wire = pb::BeginEffectRequest {
        status_check: String::new(),
        allow_unsafe: true,
        ..wire(&run, "elsewhere")
    };
    server.tape.clone().begin_effect(unsafe_wire).await.unwrap();
    server
        .tape
        .clone()
        .end_run(end(&run, pb::RunStatus::Terminal))
        .await
        .unwrap();
    let journal = crate::feed::whole(&server, &run, 0).await;
    let begun = journal.iter().find(|entry| entry.kind == "effect.begun").unwrap();
    assert!(begun.payload_json.contains("allow_unsafe"), "{}", begun.payload_json);
}

#[tokio::test]
async fn a_strict_server_names_the_nearest_connector() {
    let strict = EngineConfig {
        strict_connectors: true,
        ..EngineConfig::default()
    };
    let server = TestServer::with(strict, HubConfig::default()).await;
    let run = server.begin("i-1", "a", false).await.run_id;
    let (status, detail) = refused(
        server.tape.clone().begin_effect(wire(&run, "bnak")).await,
        Code::InvalidArgument,
        "TAPE-E007",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("connector", "bnak"));
    assert!(status.message().contains("\"bank\""), "{status}");
    server.tape.clone().begin_effect(wire(&run, "bank")).await.unwrap();
}

#[tokio::test]
async fn bad_runs_and_decisions_are_refused_by_name() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let nameless = |change: fn(&mut pb::BeginRunRequest)| {
        let mut request = begin_request("i-1", "a");
        change(&mut request);
        request
    };
    let table = [
        (nameless(|r| r.app_name.clear()), "app_name", ""),
        (nameless(|r| r.invocation_id.clear()), "invocation_id", ""),
        (nameless(|r| r.user_id = "a\u{1f}b".into()), "user_id", "\\u{1f}"),
        (nameless(|r| r.lease_ttl_ms = -1), "lease_ttl_ms", "-1"),
        (nameless(|r| r.fence = -1), "fence", "-1"),
    ];
    for (asked, field, value) in table {
        let (status, detail) = refused(tape.begin_run(asked).await, Code::InvalidArgument, "TAPE-V001");
        assert_eq!(detail.field, field, "{status}");
        assert!(detail.value.contains(value), "{status}");
    }
    let labels = (0..65).map(|n| (n.to_string(), String::new())).collect();
    let many = pb::BeginRunRequest {
        labels,
        ..begin_request("i-1", "a")
    };
    let (_, detail) = refused(tape.begin_run(many).await, Code::InvalidArgument, "TAPE-V003");
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("labels", "65"));

    let run = server.begin("i-1", "a", false).await.run_id;
    let (_, detail) = refused(
        tape.record_decision(decision(&run, -1, "1")).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("decision_index", "-1"));
    let (_, detail) = refused(
        tape.record_decision(decision(&run, 0, "nope")).await,
        Code::InvalidArgument,
        "TAPE-V002",
    );
    assert_eq!(
        (detail.field.as_str(), detail.value.as_str()),
        ("response_json", "nope")
    );
    let (_, detail) = refused(
        tape.end_run(end(&run, pb::RunStatus::Running)).await,
        Code::InvalidArgument,
        "TAPE-V001",
    );
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("status", "2"));
    let (_, detail) = refused(
        tape.end_run(end("r-x", pb::RunStatus::Failed)).await,
        Code::NotFound,
        "TAPE-R001",
    );
    assert!(!detail.retryable);
}

#[tokio::test]
async fn the_wrong_outcome_of_an_effect_is_refused_by_name() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    let complete = |key: &str, status: pb::EffectStatus| pb::CompleteEffectRequest {
        run_id: run.clone(),
        idempotency_key: key.into(),
        status: status.into(),
        ..Default::default()
    };
    let answer = tape.complete_effect(complete("k", pb::EffectStatus::Pending)).await;
    let (_, detail) = refused(answer, Code::InvalidArgument, "TAPE-V001");
    assert_eq!((detail.field.as_str(), detail.value.as_str()), ("status", "1"));
    refused(
        tape.complete_effect(complete("k", pb::EffectStatus::Confirmed)).await,
        Code::NotFound,
        "TAPE-E001",
    );
    let key = tape
        .begin_effect(wire(&run, "bank"))
        .await
        .unwrap()
        .into_inner()
        .idempotency_key;
    refused(
        tape.complete_effect(complete(&key, pb::EffectStatus::Confirmed)).await,
        Code::FailedPrecondition,
        "TAPE-E010",
    );
}

#[tokio::test]
async fn what_is_not_served_says_so() {
    let server = TestServer::without_host().await;
    let mut connectors = pb::connectors_client::ConnectorsClient::new(server.channel.clone());
    let (status, _) = refused(
        connectors.list_connectors(pb::ListConnectorsRequest::default()).await,
        Code::Unimplemented,
        "TAPE-A003",
    );
    assert!(status.message().contains("does not serve"), "{status}");
}

#[tokio::test]
async fn numbers_below_zero_are_refused_by_name() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    let key = tape.begin_effect(wire(&run, "bank")).await.unwrap().into_inner();
    let below = |detail: &pb::ErrorDetail, field: &str, value: i64| {
        assert_eq!((&*detail.field, &*detail.value), (field, &*value.to_string()));
    };

    let asked = pb::ListEffectsToDispatchRequest {
        limit: -7,
        ..Default::default()
    };
    let answer = tape.list_effects_to_dispatch(asked).await;
    below(&refused(answer, Code::InvalidArgument, "TAPE-V001").1, "limit", -7);

    let asked = pb::ListDueTimersRequest {
        now_ms: -1,
        ..Default::default()
    };
    let answer = tape.list_due_timers(asked).await;
    below(&refused(answer, Code::InvalidArgument, "TAPE-V001").1, "now_ms", -1);

    for ttl_ms in [-1, i64::MAX] {
        let asked = pb::ClaimEffectDispatchRequest {
            run_id: run.clone(),
            idempotency_key: key.idempotency_key.clone(),
            claimer: "c".into(),
            lease_ttl_ms: ttl_ms,
            ..Default::default()
        };
        let answer = tape.claim_effect_dispatch(asked).await;
        below(
            &refused(answer, Code::InvalidArgument, "TAPE-V001").1,
            "lease_ttl_ms",
            ttl_ms,
        );
    }

    let asked = pb::RecordDispatchAttemptRequest {
        run_id: run.clone(),
        idempotency_key: key.idempotency_key,
        next_dispatch_at_ms: -1,
        ..Default::default()
    };
    let answer = tape.record_dispatch_attempt(asked).await;
    below(
        &refused(answer, Code::InvalidArgument, "TAPE-V001").1,
        "next_dispatch_at_ms",
        -1,
    );

    let asked = pb::RegisterCompensationRequest {
        run_id: run.clone(),
        effect_key: "k".into(),
        compensator_ref: "app:undo".into(),
        max_attempts: -1,
        ..Default::default()
    };
    let answer = tape.register_compensation(asked).await;
    below(
        &refused(answer, Code::InvalidArgument, "TAPE-V001").1,
        "max_attempts",
        -1,
    );

    let asked = pb::BeginEffectRequest {
        decision_index: -1,
        ..inline(&run, 0)
    };
    let answer = tape.begin_effect(asked).await;
    below(
        &refused(answer, Code::InvalidArgument, "TAPE-V001").1,
        "decision_index",
        -1,
    );
    let answer = tape.begin_effect(inline(&run, -1)).await;
    below(&refused(answer, Code::InvalidArgument, "TAPE-V001").1, "call_index", -1);
}

#[tokio::test]
async fn the_greatest_index_is_an_index() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    tape.record_decision(decision(&run, i64::MAX, "1")).await.unwrap();
    assert_eq!(server.get(&run).await.next_decision_index, i64::MAX);
}

/// Trailers have a bound of their own, and a client that meets a larger one sees neither status nor code.
#[tokio::test]
async fn a_refusal_fits_into_a_trailer_whatever_it_is_about() {
    let server = TestServer::start().await;
    let mut tape = server.tape.clone();
    let run = server.begin("i-1", "a", false).await.run_id;
    let cancel = pb::EndRunRequest {
        detail_json: format!("{{\"reason\":\"{}\"}}", "because ".repeat(100_000)),
        ..end(&run, pb::RunStatus::Cancelled)
    };
    tape.end_run(cancel).await.unwrap();
    let (status, _) = refused(
        tape.record_decision(decision(&run, 0, "1")).await,
        Code::FailedPrecondition,
        "TAPE-R004",
    );
    assert!(status.message().contains("because because"), "{status}");

    let granted = pb::BeginRunRequest {
        scopes: (0..10_000).map(|number| format!("scope-{number}")).collect(),
        ..begin_request("i-2", "a")
    };
    let run = tape.begin_run(granted).await.unwrap().into_inner().run_id;
    let asked = pb::BeginEffectRequest {
        scope: "wire".into(),
        ..inline(&run, 0)
    };
    let status = tape.begin_effect(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().len() < 2_000, "{}", status.message().len());
    assert!(!crate::support::detail(&status).cure.is_empty());
}

#[tokio::test]
async fn what_is_asked_of_a_run_that_is_not_there_names_the_run() {
    let server = TestServer::start().await;
    let asked = pb::ReconcileEffectRequest {
        run_id: "r-nobody".into(),
        idempotency_key: "k".into(),
        resolved_status: pb::EffectStatus::Confirmed.into(),
        ..Default::default()
    };
    let answer = server.tape.clone().reconcile_effect(asked).await;
    let (status, _) = refused(answer, Code::NotFound, "TAPE-R001");
    assert!(status.message().contains("r-nobody"), "{status}");
}
