//! `Workers`: one stream per worker, kept by the hub.

use std::sync::Arc;

use tape_proto::v1 as pb;
use tonic::{Request, Response, Status, Streaming};

use super::Shared;
use crate::feed::Answers;
use crate::hub;

pub(crate) struct WorkersService {
    pub(crate) cx: Arc<Shared>,
}

#[tonic::async_trait]
impl pb::workers_server::Workers for WorkersService {
    type AttachStream = Answers<pb::WorkerCall>;

    async fn attach(
        &self,
        request: Request<Streaming<pb::WorkerMessage>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (metadata, extensions, messages) = request.into_parts();
        let cx = self.cx.of(&metadata, &extensions);
        Ok(Response::new(hub::attach(&self.cx.hub, cx.caller, messages)))
    }
}
