//! Runs: begin, resume, end, read, follow.

use tape_core::command::begin_run::{BeginRun, Begun, RenewLease, ResumeRun};
use tape_core::command::compensate::CompensateRun;
use tape_core::command::end_run::{CancelRun, EndRun};
use tape_core::run::{CompensationPolicy, Ending, Run, RunState};
use tape_core::{DueKind, Refusal, RowKey, RunId, Time};
use tape_engine::RunFeed;
use tape_port::{DueWork, TapeError};
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::run::{caller, identity, lease, state, status};
use crate::convert::{limit, not_negative, run_id, signed, unknown_number};
use crate::feed::{self, Answers};
use crate::origin::Origin;

pub(super) async fn begin_run(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::BeginRunRequest,
) -> Result<pb::BeginRunResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let identity = identity(&asked, cx.caller.tenant("tenant_id", &asked.tenant_id)?);
    let id = RunId::derive(&identity);
    let owner = origin.driver.owner.unwrap_or_default();
    let lease = lease(&owner, asked.lease_ttl_ms, asked.fenced);
    let begun = match origin.driver.fence {
        // Whoever names a fence has driven before.
        Some(fence) => Begun {
            run: cx
                .engine
                .execute(&RenewLease { run: id, fence, lease }, origin.trace)
                .await?,
            resumed: true,
        },
        None => {
            let command = BeginRun {
                identity,
                caller: caller(&asked)?,
                input_json: asked.input_json,
                lease,
            };
            cx.engine.execute(&command, origin.trace).await?
        }
    };
    let run = begun.run;
    let fence = leased(cx, &run, &owner);
    Ok(pb::BeginRunResponse {
        run_id: run.id.0,
        resumed: begun.resumed,
        next_seq: run.seq + 1,
        status: status(&run.state).into(),
        fence,
        next_decision_index: run.next_decision_index,
    })
}

pub(super) async fn resume_run(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::ResumeRunRequest,
) -> Result<pb::ResumeRunResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let owner = origin.driver.owner.unwrap_or_default();
    let lease = lease(&owner, asked.lease_ttl_ms, asked.fenced);
    let run = match origin.driver.fence {
        Some(fence) => {
            cx.engine
                .execute(&RenewLease { run, fence, lease }, origin.trace)
                .await?
        }
        None => cx.engine.execute(&ResumeRun { run, lease }, origin.trace).await?,
    };
    leased(cx, &run, &owner);
    Ok(pb::ResumeRunResponse { run: Some(state(run)) })
}

/// The fence that the caller got; 0 without a lease. If the caller is an attached worker, the run is its own from now on.
fn leased(cx: &Cx, run: &Run, owner: &str) -> i64 {
    match &run.state {
        RunState::Running(lease) if lease.owner == owner => {
            cx.hub.drives(owner, run);
            signed(lease.fence)
        }
        _ => 0,
    }
}

pub(super) async fn end_run(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::EndRunRequest,
) -> Result<pb::EndRunResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let end = |ending| EndRun {
        run: run.clone(),
        driver: origin.driver.clone(),
        ending,
        detail_json: asked.detail_json.clone(),
    };
    let trace = origin.trace.clone();
    let ended = match pb::RunStatus::try_from(asked.status) {
        Ok(pb::RunStatus::Terminal) => cx.engine.execute(&end(Ending::Terminal), trace).await?,
        Ok(pb::RunStatus::Failed) => cx.engine.execute(&end(Ending::Failed), trace).await?,
        Ok(pb::RunStatus::Stuck) => cx.engine.execute(&end(Ending::Stuck), trace).await?,
        Ok(pb::RunStatus::Cancelled) => {
            let reason = reason_of(&asked.detail_json);
            let command = CancelRun {
                run: run.clone(),
                reason: reason.clone(),
            };
            let cancelled = cx.engine.execute(&command, trace).await?;
            cx.hub.cancel(&run, &reason);
            cancelled
        }
        Ok(pb::RunStatus::Compensating) => {
            let command = CompensateRun {
                run: run.clone(),
                reason: reason_of(&asked.detail_json),
                policy: CompensationPolicy::default(),
            };
            cx.engine.execute(&command, trace).await?
        }
        _ => {
            let known = "TERMINAL (4), FAILED (5), COMPENSATING (6), STUCK (7), CANCELLED (8)";
            return Err(unknown_number("status", asked.status, known).into());
        }
    };
    cx.hub.dropped(&run);
    Ok(pb::EndRunResponse {
        run: Some(state(ended)),
    })
}

/// A reason within a detail: its `reason`, or a plain string, or all of it.
fn reason_of(detail_json: &str) -> String {
    let detail: serde_json::Value = serde_json::from_str(detail_json).unwrap_or_default();
    let reason = detail.get("reason").unwrap_or(&detail);
    reason.as_str().map_or_else(|| detail_json.to_owned(), str::to_owned)
}

pub(super) async fn get_run(cx: &Cx, _: &MetadataMap, asked: pb::GetRunRequest) -> Result<pb::RunState, TapeError> {
    Ok(state(cx.engine.run(&run_id(&asked.run_id)?).await?))
}

pub(super) async fn list_runs_to_recover(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListRunsToRecoverRequest,
) -> Result<pb::ListRunsToRecoverResponse, TapeError> {
    let work = DueWork {
        ahead_ms: ahead(cx, asked.now_ms)?,
        tenants: cx.caller.bounds(),
        ..DueWork::all(DueKind::Recovery, limit("limit", asked.limit, 100, 1000)?)
    };
    let mut runs = Vec::new();
    for due in cx.engine.due_work(&work).await? {
        if due.key == RowKey::Head {
            runs.push(state(cx.engine.run(&due.run).await?));
        }
    }
    Ok(pb::ListRunsToRecoverResponse { runs })
}

/// How far ahead of the server's clock the caller looks; 0 = not at all.
pub(super) fn ahead(cx: &Cx, now_ms: i64) -> Result<i64, Refusal> {
    Ok(match not_negative("now_ms", now_ms, "the server's clock")? {
        0 => 0,
        now_ms => Time(now_ms).since(cx.engine.now()),
    })
}

pub(super) async fn subscribe_run(
    cx: &Cx,
    asked: pb::SubscribeRunRequest,
) -> Result<Answers<pb::JournalEntry>, TapeError> {
    let from = not_negative("from_seq", asked.from_seq, "the whole journal")?;
    let run = run_id(&asked.run_id)?;
    let feed = RunFeed::open(cx.engine.clone(), run.clone(), from).await?;
    Ok(feed::entries(feed, run, cx.closing.clone()))
}
