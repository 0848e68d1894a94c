//! Gates: wait for a signal, send one.

use tape_core::command::gate::{AwaitSignal, SendSignal};
use tape_core::json::check_name;
use tape_core::refusal::Status;
use tape_core::{Refusal, RunId};
use tape_engine::RunFilter;
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::run::status;
use crate::convert::run_id;
use crate::origin::Origin;

pub(super) async fn await_signal(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::AwaitSignalRequest,
) -> Result<pb::AwaitSignalResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let negative =
        |field, number: String| Refusal::invalid(field, &number, format!("{field} is negative."), "Use 0 or more.");
    if asked.timeout_ms < 0 {
        return Err(negative("timeout_ms", asked.timeout_ms.to_string()).into());
    }
    let command = AwaitSignal {
        run: run.clone(),
        driver: origin.driver,
        gate: asked.gate_name,
        index: u32::try_from(asked.await_index).map_err(|_| negative("await_index", asked.await_index.to_string()))?,
        payload_json: asked.payload_json,
        timeout_ms: asked.timeout_ms,
    };
    let resolution = cx.engine.execute(&command, origin.trace).await?;
    if resolution.is_none() {
        // Parked: nobody drives it.
        cx.hub.dropped(&run);
    }
    Ok(pb::AwaitSignalResponse {
        delivered: resolution.is_some(),
        resolution_json: resolution.unwrap_or_default(),
    })
}

pub(super) async fn send_signal(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::SendSignalRequest,
) -> Result<pb::SendSignalResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = if asked.run_id.is_empty() {
        newest_run(cx, &asked).await?
    } else {
        run_id(&asked.run_id)?
    };
    let command = SendSignal {
        run,
        gate: asked.gate_name,
        resolution_json: asked.resolution_json,
        request_id: origin.request_id,
    };
    let signalled = cx.engine.execute(&command, origin.trace).await?;
    Ok(pb::SendSignalResponse {
        accepted: signalled.accepted,
        run_status: status(&signalled.run.state).into(),
        run_id: signalled.run.id.0,
    })
}

/// The newest run of a session that has not ended.
async fn newest_run(cx: &Cx, asked: &pb::SendSignalRequest) -> Result<RunId, TapeError> {
    if asked.app_name.is_empty() {
        check_name("run_id", "")?;
    }
    let mut filter = RunFilter {
        tenant: cx.caller.bound().map(str::to_owned),
        app: Some(asked.app_name.clone()),
        user: Some(asked.user_id.clone()),
        // RUNNABLE, RUNNING, WAITING.
        statuses: vec![1, 2, 3],
        ..RunFilter::default()
    };
    loop {
        let page = cx.engine.list_runs(&filter).await?;
        if let Some(run) = page
            .items
            .into_iter()
            .find(|run| run.identity.session == asked.session_id)
        {
            return Ok(run.id);
        }
        filter.after = page.next;
        if filter.after.is_none() {
            let refusal = Refusal::new(
                Status::NotFound,
                "TAPE-R001",
                format!(
                    "No run of session {:?} of user {:?} in app {:?} waits or runs.",
                    asked.session_id, asked.user_id, asked.app_name
                ),
                "Check the three names, or name the run by run_id.",
            );
            return Err(refusal.at("session_id", &asked.session_id).into());
        }
    }
}
