//! Deploying connectors over the wire.

use futures_util::stream;
use tape_proto::v1 as pb;
use tape_proto::v1::connectors_client::ConnectorsClient;
use tape_proto::v1::put_connector_request::Part;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::TestServer;

fn client(server: &TestServer) -> ConnectorsClient<Channel> {
    ConnectorsClient::new(server.channel.clone())
}

fn header(version: &str) -> pb::PutConnectorHeader {
    pb::PutConnectorHeader {
        name: "bank".into(),
        version: version.into(),
        who: "ann".into(),
        ..Default::default()
    }
}

async fn put(
    server: &TestServer,
    header: pb::PutConnectorHeader,
    bytes: &[u8],
) -> Result<pb::PutConnectorResponse, Status> {
    let parts = [Part::Header(header), Part::Chunk(bytes.to_vec())];
    send(server, parts.to_vec()).await
}

async fn send(server: &TestServer, parts: Vec<Part>) -> Result<pb::PutConnectorResponse, Status> {
    let parts = parts
        .into_iter()
        .map(|part| pb::PutConnectorRequest { part: Some(part) });
    let parts: Vec<_> = parts.collect();
    let answer = client(server).put_connector(Request::new(stream::iter(parts))).await;
    answer.map(tonic::Response::into_inner)
}

async fn activate(server: &TestServer, version: &str, weight: i32) -> Result<Vec<(String, i32)>, Status> {
    let request = pb::ActivateVersionRequest {
        name: "bank".into(),
        version: version.into(),
        weight,
        reason: "try".into(),
        who: "ann".into(),
        ..Default::default()
    };
    let answer = client(server).activate_version(request).await?.into_inner();
    Ok(answer.active.into_iter().map(|one| (one.version, one.weight)).collect())
}

fn code(status: &Status) -> &str {
    status.message().split(':').next().unwrap_or_default()
}

#[tokio::test]
async fn a_version_is_put_activated_shared_left_and_removed() {
    let server = TestServer::start().await;
    let first = put(&server, header(""), b"one").await.unwrap();
    let version = first.version.unwrap();
    assert_eq!(
        (version.version.as_str(), first.created, version.weight),
        ("1.2.0", true, 0),
        "what it calls itself"
    );
    assert_eq!((version.size_bytes, version.put_by.as_str()), (3, "ann"));
    assert_eq!(first.missing_grants.len(), 1);
    assert!(!put(&server, header("1.2.0"), b"one").await.unwrap().created);
    put(&server, header("1.3.0"), b"two").await.unwrap();

    assert_eq!(
        activate(&server, "1.2.0", 0).await.unwrap(),
        [("1.2.0".to_owned(), 100)]
    );
    let shared = activate(&server, "1.3.0", 10).await.unwrap();
    assert_eq!(shared, [("1.2.0".to_owned(), 90), ("1.3.0".to_owned(), 10)]);
    let mut connectors = client(&server);
    let rollback = pb::RollbackRequest {
        name: "bank".into(),
        from_version: "1.3.0".into(),
        ..Default::default()
    };
    for _ in 0..2 {
        let back = connectors
            .rollback(rollback.clone())
            .await
            .unwrap()
            .into_inner()
            .active
            .unwrap();
        assert_eq!(
            (back.version.as_str(), back.weight),
            ("1.2.0", 100),
            "also when the answer was lost"
        );
    }
    let remove = |version: &str| pb::RemoveVersionRequest {
        name: "bank".into(),
        version: version.into(),
        ..Default::default()
    };
    let refused = connectors.remove_version(remove("1.2.0")).await.unwrap_err();
    assert_eq!(
        (refused.code(), code(&refused)),
        (Code::FailedPrecondition, "TAPE-C043")
    );
    assert!(
        connectors
            .remove_version(remove("1.3.0"))
            .await
            .unwrap()
            .into_inner()
            .removed
    );
    assert!(
        !connectors
            .remove_version(remove("1.3.0"))
            .await
            .unwrap()
            .into_inner()
            .removed
    );

    let changes = pb::ListConnectorChangesRequest {
        name: "bank".into(),
        ..Default::default()
    };
    let changes = connectors
        .list_connector_changes(changes)
        .await
        .unwrap()
        .into_inner()
        .changes;
    let kinds: Vec<&str> = changes
        .iter()
        .map(|change| change.kind.trim_start_matches("connector."))
        .collect();
    assert_eq!(
        kinds,
        ["put", "put", "activated", "activated", "rolled_back", "removed"]
    );
    assert_eq!(
        (changes[2].who.as_str(), changes[2].reason.as_str(), changes[5].seq),
        ("ann", "try", 6)
    );

    let get = pb::GetConnectorRequest {
        name: "bank".into(),
        with_component: true,
        ..Default::default()
    };
    let got = connectors.get_connector(get).await.unwrap().into_inner();
    assert_eq!(got.component, b"one");
    let tail = pb::TailConnectorRequest {
        name: "bank".into(),
        ..Default::default()
    };
    let mut lines = connectors.tail_connector(tail).await.unwrap().into_inner();
    assert_eq!(lines.message().await.unwrap().unwrap().message, "wired");
    assert!(lines.message().await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_not_said_is_as_in_the_active_version() {
    let server = TestServer::start().await;
    let grants = pb::ConnectorGrants {
        hosts: vec![pb::HostGrant {
            scheme: "https".into(),
            host: "bank".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let first = pb::PutConnectorHeader {
        config_json: r#"{"base_url":"https://bank"}"#.into(),
        grants: Some(grants.clone()),
        activate: true,
        ..header("1")
    };
    assert_eq!(put(&server, first, b"one").await.unwrap().version.unwrap().weight, 100);
    let second = put(&server, header("2"), b"two").await.unwrap().version.unwrap();
    assert_eq!(
        (second.config_json.as_str(), second.grants),
        (r#"{"base_url":"https://bank"}"#, Some(grants))
    );
    let grant = pb::GrantRequest {
        name: "bank".into(),
        grants: Some(pb::ConnectorGrants::default()),
        config_json: r#"{"base_url":"https://other"}"#.into(),
        ..Default::default()
    };
    let granted = client(&server)
        .grant(grant)
        .await
        .unwrap()
        .into_inner()
        .version
        .unwrap();
    assert_eq!((granted.version.as_str(), granted.weight), ("1", 100), "the active one");
    assert!(granted.grants.unwrap().hosts.is_empty() && granted.config_json.contains("other"));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_field_and_code() {
    let server = TestServer::start().await;
    let named = |name: &str| pb::PutConnectorHeader {
        name: name.into(),
        ..header("1")
    };
    let other_digest = pb::PutConnectorHeader {
        digest: "sha256:00".into(),
        ..header("1")
    };
    let signed = pb::PutConnectorHeader {
        signature: vec![0xff],
        ..header("1")
    };
    let negative = pb::PutConnectorHeader {
        grants: Some(pb::ConnectorGrants {
            reuse_calls: -1,
            ..Default::default()
        }),
        ..header("1")
    };
    let no_json = pb::PutConnectorHeader {
        config_json: "{".into(),
        ..header("1")
    };
    for (header, bytes, grpc, wanted) in [
        (named("Bank"), &b"x"[..], Code::InvalidArgument, "TAPE-C020"),
        (header("no version"), b"x", Code::InvalidArgument, "TAPE-C047"),
        (other_digest, b"x", Code::InvalidArgument, "TAPE-C045"),
        (signed, b"x", Code::InvalidArgument, "TAPE-C048"),
        (negative, b"x", Code::InvalidArgument, "TAPE-V001"),
        (no_json, b"x", Code::InvalidArgument, "TAPE-V002"),
        (header("1"), b"bad", Code::FailedPrecondition, "TAPE-C022"),
        (header("1"), b"", Code::InvalidArgument, "TAPE-C046"),
    ] {
        let refused = put(&server, header, bytes).await.unwrap_err();
        assert_eq!((refused.code(), code(&refused)), (grpc, wanted), "{refused:?}");
    }
    put(&server, header("1"), b"one").await.unwrap();
    let taken = put(&server, header("1"), b"other").await.unwrap_err();
    assert_eq!((taken.code(), code(&taken)), (Code::AlreadyExists, "TAPE-C041"));
    let rename = pb::PutConnectorHeader {
        rename: true,
        ..header("1")
    };
    let renamed = put(&server, rename, b"other").await.unwrap().version.unwrap().version;
    assert!(renamed.starts_with("1+"), "{renamed}");

    let unknown = activate(&server, "9", 0).await.unwrap_err();
    assert_eq!((unknown.code(), code(&unknown)), (Code::NotFound, "TAPE-C040"));
    assert!(unknown.message().contains(&renamed), "{unknown:?}");
    assert_eq!(
        activate(&server, "1", 101).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(code(&activate(&server, "1", 10).await.unwrap_err()), "TAPE-C042");
    let misspelt = pb::GetConnectorRequest {
        name: "bnak".into(),
        ..Default::default()
    };
    let misspelt = client(&server).get_connector(misspelt).await.unwrap_err();
    assert!(misspelt.message().contains("\"bank\""), "{misspelt:?}");
    let inactive = pb::GetConnectorRequest {
        name: "bank".into(),
        ..Default::default()
    };
    let inactive = client(&server).get_connector(inactive).await.unwrap_err();
    assert_eq!(
        (inactive.code(), code(&inactive)),
        (Code::FailedPrecondition, "TAPE-C042")
    );
}

#[tokio::test]
async fn an_upload_out_of_order_or_too_large_is_refused() {
    let server = TestServer::start().await;
    let chunk = || Part::Chunk(vec![7; 1024 * 1024]);
    for parts in [
        vec![],
        vec![chunk()],
        vec![Part::Header(header("1")), Part::Header(header("1"))],
    ] {
        let refused = send(&server, parts).await.unwrap_err();
        assert_eq!((refused.code(), code(&refused)), (Code::InvalidArgument, "TAPE-V001"));
    }
    let mut parts = vec![Part::Header(header("1"))];
    parts.extend((0..65).map(|_| chunk()));
    let refused = send(&server, parts).await.unwrap_err();
    assert_eq!(code(&refused), "TAPE-C046");
    assert!(
        client(&server)
            .list_connectors(pb::ListConnectorsRequest::default())
            .await
            .unwrap()
            .into_inner()
            .versions
            .is_empty()
    );
}

#[tokio::test]
async fn a_version_is_kept_while_it_is_asked_about_its_effects() {
    use tape_core::command::dispatch::{ClaimDispatch, MarkSent, Outcome, SettleDispatch};
    use tape_core::{EffectKey, RunId};
    use tape_port::Tape as _;

    let mut server = TestServer::start().await;
    for (version, bytes) in [("1", b"one"), ("2", b"two")] {
        put(&server, header(version), bytes).await.unwrap();
        activate(&server, version, 0).await.unwrap();
    }
    let begin = pb::BeginRunRequest {
        app_name: "app".into(),
        session_id: "s".into(),
        invocation_id: "i".into(),
        lease_owner: "d".into(),
        ..Default::default()
    };
    let run = server.tape.begin_run(begin).await.unwrap().into_inner().run_id;
    let effect = pb::BeginEffectRequest {
        run_id: run.clone(),
        tool_name: "wire".into(),
        request_json: "{}".into(),
        semantics: pb::EffectSemantics::NonIdempotent.into(),
        dispatch_mode: pb::EffectDispatchMode::Outbox.into(),
        business_key: "b".into(),
        connector: "bank".into(),
        ..Default::default()
    };
    let key = server
        .tape
        .begin_effect(effect)
        .await
        .unwrap()
        .into_inner()
        .idempotency_key;
    let (run, key) = (RunId(run), EffectKey(key));
    let claim = ClaimDispatch {
        run: run.clone(),
        key: key.clone(),
        owner: "o".into(),
        ttl_ms: 0,
        two_phase: true,
        connectors: None,
    };
    let task = server.engine.claim_dispatch(claim).await.unwrap().unwrap();
    let mark = MarkSent {
        run: run.clone(),
        key: key.clone(),
        owner: "o".into(),
        attempt: task.attempt,
        version: "1".into(),
        digest: "sha256:1".into(),
    };
    server.engine.mark_sent(mark).await.unwrap();
    let settle = SettleDispatch {
        run,
        key,
        owner: "o".into(),
        attempt: task.attempt,
        outcome: Outcome::Unknown { reason: "lost".into() },
        evidence_json: String::new(),
        // Whoever settles it does not know any more: the mark does.
        version: String::new(),
        digest: String::new(),
    };
    server.engine.settle_dispatch(settle).await.unwrap();
    let remove = |force: bool| pb::RemoveVersionRequest {
        name: "bank".into(),
        version: "1".into(),
        force,
        ..Default::default()
    };
    let refused = client(&server).remove_version(remove(false)).await.unwrap_err();
    assert_eq!(code(&refused), "TAPE-C043");
    assert!(refused.message().contains("1 effects"), "{refused:?}");
    assert!(
        client(&server)
            .remove_version(remove(true))
            .await
            .unwrap()
            .into_inner()
            .removed
    );
}
