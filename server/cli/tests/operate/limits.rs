//! What never reaches a service: too large, unreadable, unknown. It is refused in the same form as everything else.

use prost::Message as _;
use tape_proto::v1 as pb;
use tonic::client::Grpc;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::server::{Start, begin, folder};

/// The code in the details, and the field that is named there.
fn told(status: &Status) -> (String, String) {
    let bytes = status
        .metadata()
        .get_bin("tape-error-bin")
        .expect("details")
        .to_bytes()
        .unwrap();
    let detail = pb::ErrorDetail::decode(bytes).unwrap();
    assert!(
        !detail.cure.is_empty() && status.message().starts_with(&detail.code),
        "{status:?}"
    );
    (detail.code, detail.field)
}

#[tokio::test]
async fn what_the_transport_refuses_has_a_code_and_a_cure_and_the_connection_lives_on() {
    let folder = folder();
    let server = Start::new(folder.path()).run().await;
    let mut tape = server.tape().await;

    let large = pb::BeginRunRequest {
        input_json: format!("\"{}\"", "a".repeat(17 * 1024 * 1024)),
        ..begin("1")
    };
    let refused = tape.begin_run(large).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(told(&refused), ("TAPE-V003".to_owned(), "request".to_owned()));

    let mut any = Grpc::new(server.channel().await);
    any.ready().await.unwrap();
    // A number where BeginRun has a text.
    let garbage = pb::WriteValueRequest {
        if_version: -1,
        ..Default::default()
    };
    let codec = ProstCodec::<pb::WriteValueRequest, pb::BeginRunResponse>::default();
    let path = "/tape.v1.Tape/BeginRun".parse().unwrap();
    let refused = any.unary(Request::new(garbage), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(told(&refused).0, "TAPE-V001");

    any.ready().await.unwrap();
    let codec = ProstCodec::<pb::GetRunRequest, pb::RunState>::default();
    let path = "/tape.v1.Tape/NoSuchMethod".parse().unwrap();
    let refused = any
        .unary(Request::new(pb::GetRunRequest::default()), path, codec)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), told(&refused).0.as_str()),
        (Code::Unimplemented, "TAPE-A003")
    );

    tape.begin_run(begin("1")).await.unwrap();
}
