//! `/metrics`: what happened is counted, under bounded names.

use tape_proto::v1 as pb;

use crate::server::{Start, begin, eventually, folder};

#[tokio::test]
async fn every_call_commit_and_run_is_counted() {
    let folder = folder();
    let server = Start::new(folder.path()).run().await;
    let mut tape = server.tape().await;
    for invocation in ["a", "b", "c"] {
        tape.begin_run(begin(invocation)).await.unwrap();
    }
    let missing = pb::GetRunRequest {
        run_id: "r-none".into(),
    };
    tape.get_run(missing).await.unwrap_err();

    let metrics = server.metrics().await;
    let of = |name: &str| metrics.get(name).copied().unwrap_or_default();
    assert_eq!(
        of(r#"tape_grpc_request_duration_seconds_count{code="OK",method="Tape/BeginRun"}"#),
        3.0
    );
    assert_eq!(
        of(r#"tape_grpc_request_duration_seconds_count{code="NOT_FOUND",method="Tape/GetRun"}"#),
        1.0
    );
    assert_eq!(of(r#"tape_journal_entries_total{kind="run.begun"}"#), 3.0);
    let batches = r#"tape_commit_batch_duration_seconds_count{outcome="written",store="sqlite"}"#;
    let commits = r#"tape_commit_batch_size_sum{outcome="written",store="sqlite"}"#;
    assert!(of(batches) >= 1.0 && of(commits) >= 3.0, "{metrics:#?}");

    eventually("three runs are counted as running", async || {
        let metrics = server.metrics().await;
        (metrics.get(r#"tape_runs{status="running"}"#) == Some(&3.0)).then_some(())
    })
    .await;
    for name in [
        r#"tape_effects{status="unknown"}"#,
        r#"tape_obligations_unresolved{status="pending"}"#,
        r#"tape_reactor_lag_seconds{reactor="outbox"}"#,
        "tape_workers",
    ] {
        assert_eq!(server.metrics().await.get(name), Some(&0.0), "{name}");
    }
}

#[tokio::test]
async fn an_unknown_method_makes_no_time_series_of_its_own() {
    let folder = folder();
    let server = Start::new(folder.path()).run().await;
    let mut grpc = tonic::client::Grpc::new(server.channel().await);
    for name in ["X1", "X2"] {
        grpc.ready().await.unwrap();
        let path = format!("/tape.v1.Tape/{name}").parse().unwrap();
        let codec = tonic_prost::ProstCodec::<pb::GetRunRequest, pb::RunState>::default();
        let request = tonic::Request::new(pb::GetRunRequest::default());
        let refused = grpc.unary(request, path, codec).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unimplemented);
    }
    let metrics = server.metrics().await;
    let other = r#"tape_grpc_request_duration_seconds_count{code="UNIMPLEMENTED",method="other"}"#;
    assert_eq!(metrics.get(other), Some(&2.0), "{metrics:#?}");
}
