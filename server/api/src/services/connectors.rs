//! `Connectors`: deploying and calling connectors over gRPC. Not served yet; connectors come from the configuration.

use tape_proto::v1 as pb;
use tonic::{Request, Response, Status, Streaming};

use crate::status;

pub(crate) struct ConnectorsService;

const WHAT: &str = "the service Connectors (name connectors under tape.connectors in tape.yaml)";

macro_rules! unserved {
    ($($rpc:ident($asked:ty) -> $answer:ident;)*) => {
        #[tonic::async_trait]
        impl pb::connectors_server::Connectors for ConnectorsService {
            $(
                async fn $rpc(&self, _: Request<$asked>) -> Result<Response<pb::$answer>, Status> {
                    Err(status::unserved(WHAT))
                }
            )*
        }
    };
}

unserved! {
    put_connector(Streaming<pb::PutConnectorRequest>) -> PutConnectorResponse;
    list_connectors(pb::ListConnectorsRequest) -> ListConnectorsResponse;
    get_connector(pb::GetConnectorRequest) -> GetConnectorResponse;
    activate_version(pb::ActivateVersionRequest) -> ActivateVersionResponse;
    rollback(pb::RollbackRequest) -> RollbackResponse;
    grant(pb::GrantRequest) -> GrantResponse;
    call_connector(pb::CallConnectorRequest) -> CallConnectorResponse;
    remove_version(pb::RemoveVersionRequest) -> RemoveVersionResponse;
}
