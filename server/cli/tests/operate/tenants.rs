//! Tenants are separated by their credentials: in every RPC.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use tape_proto::v1 as pb;
use tonic::service::Interceptor;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::every_rpc::{Contract, Rpc, call};
use crate::server::{Server, Start, file, folder};

const ALICE: &str = "alice-token-0123456789";
const BOB: &str = "bob-token-0123456789ab";
/// In everything of Alice's that nobody else could have named.
const SECRET: &str = "sesame";

const PROJECT: &str = "
apiVersion: tape.dev/v1
kind: TapeProject
project: {name: shared}
tenancy: {mode: hard_multi_tenant}
";

fn tokens() -> String {
    format!(
        "- {{token: {ALICE}, principal: alice, role: operator, tenant: acme}}\n- {{token: {BOB}, principal: bob, role: operator, tenant: other}}\n"
    )
}

#[derive(Clone)]
struct As(&'static str);

impl Interceptor for As {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = format!("Bearer {}", self.0).parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

/// The bank's component, as `tape init` lays it into a project.
fn component() -> Vec<u8> {
    let folder = folder();
    let init = std::process::Command::new(env!("CARGO_BIN_EXE_tape"))
        .args(["init", "treasury"])
        .current_dir(folder.path())
        .output()
        .expect("tape runs");
    assert!(init.status.success(), "{init:?}");
    std::fs::read(folder.path().join("treasury/connectors/bank/bank.wasm")).expect("the scaffold has a component")
}

/// Deploys a connector of hers.
async fn deploy(channel: &Channel) {
    use pb::put_connector_request::Part;
    let header = pb::PutConnectorHeader {
        name: "alices-bank".into(),
        version: "1.0.0".into(),
        config_json: r#"{"base_url":"https://sesame.example.com"}"#.into(),
        reason: SECRET.into(),
        activate: true,
        ..Default::default()
    };
    let component = component();
    let chunks: Vec<Part> = component
        .chunks(512 * 1024)
        .map(|chunk| Part::Chunk(chunk.to_vec()))
        .collect();
    let parts = std::iter::once(Part::Header(header)).chain(chunks);
    let parts: Vec<_> = parts.map(|part| pb::PutConnectorRequest { part: Some(part) }).collect();
    let mut connectors = pb::connectors_client::ConnectorsClient::with_interceptor(channel.clone(), As(ALICE));
    connectors
        .put_connector(Request::new(futures_util::stream::iter(parts)))
        .await
        .unwrap();
}

/// What Alice has, and what names it.
struct Belongings {
    run: String,
    effect: String,
}

/// A run with a decision, an effect in doubt, an obligation, a timer and a budget; one that has ended; a session; a value.
async fn furnish(channel: &Channel) -> Belongings {
    let mut tape = pb::tape_client::TapeClient::with_interceptor(channel.clone(), As(ALICE));
    let begin = |invocation: &str| pb::BeginRunRequest {
        app_name: "alices-app".into(),
        user_id: "alices-user".into(),
        session_id: "alices-session".into(),
        invocation_id: invocation.into(),
        labels: [("secret".to_owned(), SECRET.to_owned())].into(),
        ..Default::default()
    };
    let run_id = tape.begin_run(begin("alices-first")).await.unwrap().into_inner().run_id;
    let decision = pb::RecordDecisionRequest {
        run_id: run_id.clone(),
        model: "m".into(),
        request_json: "{}".into(),
        response_json: r#""sesame""#.into(),
        ..Default::default()
    };
    tape.record_decision(decision).await.unwrap();
    let effect = pb::BeginEffectRequest {
        run_id: run_id.clone(),
        tool_name: "tool".into(),
        request_json: r#""sesame""#.into(),
        ..Default::default()
    };
    let effect = tape.begin_effect(effect).await.unwrap().into_inner().idempotency_key;
    let doubt = pb::CompleteEffectRequest {
        run_id: run_id.clone(),
        idempotency_key: effect.clone(),
        status: pb::EffectStatus::Unknown.into(),
        ..Default::default()
    };
    tape.complete_effect(doubt).await.unwrap();
    let undo = pb::RegisterCompensationRequest {
        run_id: run_id.clone(),
        effect_key: effect.clone(),
        kind: "sesame".into(),
        payload_json: "{}".into(),
        compensator_ref: "alices:undo".into(),
        max_attempts: 3,
        ..Default::default()
    };
    drop(tape.register_compensation(undo).await);
    let timer = pb::SetTimerRequest {
        run_id: run_id.clone(),
        timer_id: "alices-timer".into(),
        fire_at_ms: 1,
        kind: "sesame".into(),
        ..Default::default()
    };
    tape.set_timer(timer).await.unwrap();
    let ended = tape
        .begin_run(begin("alices-second"))
        .await
        .unwrap()
        .into_inner()
        .run_id;
    let end = pb::EndRunRequest {
        run_id: ended,
        status: pb::RunStatus::Terminal.into(),
        ..Default::default()
    };
    tape.end_run(end).await.unwrap();
    let session = pb::CreateSessionRequest {
        app_name: "alices-app".into(),
        user_id: "alices-user".into(),
        session_id: "alices-session".into(),
        state_json: r#"{"of":"sesame"}"#.into(),
    };
    tape.create_session(session.clone()).await.unwrap();
    let hidden = pb::CreateSessionRequest {
        session_id: SECRET.into(),
        ..session
    };
    tape.create_session(hidden).await.unwrap();
    let value = pb::WriteValueRequest {
        namespace: "alices-space".into(),
        key: "alices-key".into(),
        value_json: r#""sesame""#.into(),
        ..Default::default()
    };
    tape.write_value(value).await.unwrap();
    deploy(channel).await;
    Belongings { run: run_id, effect }
}

/// Everything of Alice's, as she sees it.
async fn inventory(channel: &Channel) -> Vec<String> {
    let mut tape = pb::tape_client::TapeClient::with_interceptor(channel.clone(), As(ALICE));
    let mut admin = pb::admin_client::AdminClient::with_interceptor(channel.clone(), As(ALICE));
    let runs = admin
        .list_runs(pb::ListRunsRequest::default())
        .await
        .unwrap()
        .into_inner()
        .runs;
    let mut seen = vec![format!("{runs:?}")];
    for run in runs {
        let dump = pb::DumpRunRequest { run_id: run.run_id };
        let mut parts = admin.dump_run(dump).await.unwrap().into_inner();
        while let Some(part) = parts.message().await.unwrap() {
            seen.push(part.json);
        }
    }
    let session = pb::GetSessionRequest {
        app_name: "alices-app".into(),
        user_id: "alices-user".into(),
        session_id: "alices-session".into(),
        ..Default::default()
    };
    seen.push(format!("{:?}", tape.get_session(session).await.unwrap().into_inner()));
    let value = pb::GetValueRequest {
        namespace: "alices-space".into(),
        key: "alices-key".into(),
    };
    seen.push(format!("{:?}", tape.get_value(value).await.unwrap().into_inner()));
    let mut connectors = pb::connectors_client::ConnectorsClient::with_interceptor(channel.clone(), As(ALICE));
    let all = pb::ListConnectorsRequest {
        all_versions: true,
        ..Default::default()
    };
    for mut version in connectors.list_connectors(all).await.unwrap().into_inner().versions {
        // How it does changes by itself.
        version.health = None;
        seen.push(format!("{version:?}"));
    }
    seen
}

async fn shared_server(folder: &tempfile::TempDir) -> Server {
    let project = file(folder, "tape.yaml", PROJECT);
    let tokens = file(folder, "tokens.yaml", &tokens());
    let (project, tokens) = (project.display().to_string(), tokens.display().to_string());
    Start::new(folder.path())
        .args(&["--config", &project, "--auth-tokens", &tokens, "--reactors", "none"])
        .run()
        .await
}

/// What answers; a refusal on the stream of calls names what the caller named, as one of a call does.
fn answers(rpc: &Rpc, messages: Vec<Bytes>) -> Vec<Bytes> {
    let refuses = |message: &Bytes| {
        let answer = pb::DriverAnswer::decode(message.clone()).expect("an answer").answer;
        matches!(answer, Some(pb::driver_answer::Answer::Error(_)))
    };
    let on_stream = rpc.path.ends_with("/Drive");
    messages
        .into_iter()
        .filter(|message| !on_stream || !refuses(message))
        .collect()
}

/// Whether an answer holds something of Alice's: what only she knows, or the id of her run.
fn shows(messages: &[Bytes], run: &str) -> bool {
    let has = |message: &[u8], text: &str| message.windows(text.len()).any(|window| window == text.as_bytes());
    messages.iter().any(|message| has(message, SECRET) || has(message, run))
}

#[tokio::test]
async fn no_rpc_reads_or_writes_what_is_another_tenants() {
    let folder = folder();
    let server = shared_server(&folder).await;
    let channel = server.channel().await;
    let alices = furnish(&channel).await;
    let contract = Contract::read();
    let before = inventory(&channel).await;

    let (mut shown_to_alice, mut tried) = (BTreeSet::new(), 0);
    for rpc in contract.rpcs() {
        for tenant in ["", "acme"] {
            let names = [
                ("run_id", alices.run.as_str()),
                ("idempotency_key", &alices.effect),
                ("effect_key", &alices.effect),
                ("tenant_id", tenant),
                ("app_name", "alices-app"),
                ("user_id", "alices-user"),
                ("session_id", "alices-session"),
                ("invocation_id", "alices-first"),
                ("timer_id", "alices-timer"),
                ("namespace", "alices-space"),
                ("key", "alices-key"),
                ("subject_pattern", "/tape/**"),
                ("gate_name", "gate"),
                ("claimer", "bob"),
                ("lease_owner", "bob"),
                ("owner", "bob"),
                ("worker_id", "worker"),
                ("reason", "because"),
                ("who", "bob"),
                ("writer", "bob"),
                ("tool_name", "tool"),
                ("model", "m"),
                ("id", "event"),
                ("name", "alices-bank"),
                ("version", "1.0.0"),
                ("from_version", "1.0.0"),
                ("connector", "bank"),
            ];
            let (messages, status) = call(&channel, &rpc, BOB, contract.requests(&rpc, &names)).await;
            let messages = answers(&rpc, messages);
            tried += 1;
            assert!(
                !shows(&messages, &alices.run),
                "{} shows Bob what is Alice's: {messages:?}",
                rpc.path
            );
            if tenant == "acme" && contract.names_tenant(&rpc) && messages.is_empty() {
                let code = status.as_ref().map(Status::code);
                assert!(
                    matches!(
                        code,
                        Some(Code::PermissionDenied | Code::NotFound | Code::Unimplemented | Code::InvalidArgument)
                    ),
                    "{}: {status:?}",
                    rpc.path
                );
            }
        }
    }
    assert!(tried > 140, "{tried} requests");
    assert_eq!(inventory(&channel).await, before, "Bob changed something of Alice's");

    // The requests are good ones: to Alice they show what she has.
    let mut rpcs = contract.rpcs();
    // Hers are changed by what the stream of calls carries: it comes last.
    rpcs.sort_by_key(|rpc| rpc.path.ends_with("/Drive"));
    for rpc in rpcs {
        let names = [
            ("run_id", alices.run.as_str()),
            ("idempotency_key", &alices.effect),
            ("app_name", "alices-app"),
            ("user_id", "alices-user"),
            ("session_id", "alices-session"),
            ("namespace", "alices-space"),
            ("key", "alices-key"),
            ("subject_pattern", "/tape/**"),
            ("name", "alices-bank"),
            ("version", "1.0.0"),
        ];
        let reads = ["Drive", "Get", "List", "Subscribe", "Watch", "Dump"];
        if reads
            .iter()
            .any(|verb| rpc.path.rsplit('/').next().is_some_and(|name| name.starts_with(verb)))
        {
            let (messages, _) = call(&channel, &rpc, ALICE, contract.requests(&rpc, &names)).await;
            if shows(&answers(&rpc, messages), &alices.run) {
                shown_to_alice.insert(rpc.path.clone());
            }
        }
    }
    for name in [
        "Driver/Drive",
        "Tape/GetRun",
        "Tape/GetDecision",
        "Tape/GetEffect",
        "Tape/SubscribeRun",
        "Tape/SubscribeEvents",
        "Tape/SubscribeBySubject",
        "Tape/GetSession",
        "Tape/ListSessions",
        "Tape/ListObligations",
        "Tape/ListUnresolvedObligations",
        "Tape/ListCompactableRuns",
        "Tape/GetValue",
        "Tape/WatchValue",
        "Tape/ListPendingEffects",
        "Tape/ListDueTimers",
        "Tape/ListRunsToRecover",
        "Admin/ListRuns",
        "Admin/DumpRun",
        "Connectors/ListConnectors",
        "Connectors/GetConnector",
        "Connectors/ListConnectorChanges",
    ] {
        assert!(
            shown_to_alice.contains(&format!("/tape.v1.{name}")),
            "{name}: {shown_to_alice:?}"
        );
    }
}

#[tokio::test]
async fn the_tenant_of_a_run_follows_from_the_credentials() {
    let folder = folder();
    let server = shared_server(&folder).await;
    let channel = server.channel().await;
    let mut tape = pb::tape_client::TapeClient::with_interceptor(channel, As(BOB));
    let begin = |tenant: &str| pb::BeginRunRequest {
        tenant_id: tenant.into(),
        app_name: "app".into(),
        session_id: "session".into(),
        invocation_id: "1".into(),
        ..Default::default()
    };
    let run_id = tape.begin_run(begin("")).await.unwrap().into_inner().run_id;
    let run = tape
        .get_run(pb::GetRunRequest { run_id: run_id.clone() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(run.tenant_id, "other");
    assert_eq!(
        tape.begin_run(begin("other")).await.unwrap().into_inner().run_id,
        run_id
    );
    let refused = tape.begin_run(begin("acme")).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().starts_with("TAPE-P004"), "{refused:?}");
}

#[tokio::test]
async fn separated_tenants_need_credentials_to_start_with() {
    let folder = folder();
    let project = file(&folder, "tape.yaml", PROJECT).display().to_string();
    let (status, words) = Start::new(folder.path()).args(&["--config", &project]).refused();
    assert_eq!(status.code(), Some(1));
    assert!(
        words.contains("hard_multi_tenant") && words.contains("--auth-tokens"),
        "{words}"
    );
}
