//! `Reactors`: for reactors in processes of their own. Not served yet; the reactors run inside the server.

use tape_proto::v1 as pb;
use tonic::{Request, Response, Status};

use crate::status;

pub(crate) struct ReactorsService;

const WHAT: &str = "the service Reactors (run the reactors inside the server: `tape-server --reactors all`)";

macro_rules! unserved {
    ($($rpc:ident($asked:ident) -> $answer:ident;)*) => {
        #[tonic::async_trait]
        impl pb::reactors_server::Reactors for ReactorsService {
            $(
                async fn $rpc(&self, _: Request<pb::$asked>) -> Result<Response<pb::$answer>, Status> {
                    Err(status::unserved(WHAT))
                }
            )*
        }
    };
}

unserved! {
    due(DueRequest) -> DueResponse;
    claim(ClaimRequest) -> ClaimResponse;
    renew(RenewRequest) -> RenewResponse;
    mark_sent(MarkSentRequest) -> MarkSentResponse;
    settle(SettleRequest) -> SettleResponse;
    release(ReleaseRequest) -> ReleaseResponse;
    acknowledge_timer(AcknowledgeTimerRequest) -> AcknowledgeTimerResponse;
    call_worker(CallWorkerRequest) -> CallWorkerResponse;
}
