//! What the server tells tools about itself, by either version of gRPC's reflection.

use tonic::Request;
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::TestServer;

const SERVED: [&str; 7] = [
    "tape.v1.Tape",
    "tape.v1.Driver",
    "tape.v1.Admin",
    "tape.v1.Workers",
    "tape.v1.Reactors",
    "tape.v1.Connectors",
    "grpc.health.v1.Health",
];

/// The services that one version of reflection lists.
macro_rules! listed {
    ($version:ident, $server:expr) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;
        let asked = $version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new($server.channel.clone());
        let asked = Request::new(tokio_stream::once(asked));
        let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
        match answers.message().await.unwrap().unwrap().message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
            }
            other => panic!("no list: {other:?}"),
        }
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_list_what_is_served() {
    let server = TestServer::start().await;
    for listed in [listed!(v1, server), listed!(v1alpha, server)] {
        for service in SERVED {
            assert!(listed.iter().any(|name| name == service), "{service} in {listed:?}");
        }
    }
}
