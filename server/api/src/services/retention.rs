//! Retention: which runs can be compacted, and compacting one.

use tape_core::Time;
use tape_core::command::compact::CompactRun;
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::run::state;
use crate::convert::{limit, not_negative, run_id, signed};
use crate::origin::Origin;

pub(super) async fn list_compactable_runs(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListCompactableRunsRequest,
) -> Result<pb::ListCompactableRunsResponse, TapeError> {
    let before = match not_negative("before_ms", asked.before_ms, "the server's clock")? {
        0 => cx.engine.now(),
        before => Time(before),
    };
    let limit = limit("limit", asked.limit, 100, 1000)?;
    let runs = cx
        .engine
        .compactable_runs(cx.caller.bound(), before, limit as usize)
        .await?;
    Ok(pb::ListCompactableRunsResponse {
        runs: runs.into_iter().map(state).collect(),
    })
}

pub(super) async fn compact_run(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::CompactRunRequest,
) -> Result<pb::CompactRunResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let command = CompactRun {
        run: run_id(&asked.run_id)?,
    };
    let compacted = cx.engine.execute(&command, origin.trace).await?;
    Ok(pb::CompactRunResponse {
        decisions_zeroed: signed(compacted.decisions),
        effects_zeroed: signed(compacted.effects),
        bytes_saved: signed(compacted.bytes),
        already_compacted: compacted.already,
    })
}
