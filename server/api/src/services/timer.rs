//! Timers: set, cancel, list what is due.

use tape_core::command::timer::{CancelTimer, ClaimTimer, FireTimer, SetTimer};
use tape_core::json::check_name;
use tape_core::timer::TimerState;
use tape_core::{DueKind, RowKey, Time};
use tape_port::{DueItem, DueWork, TapeError};
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::{Cx, run::ahead};
use crate::convert::{limit, not_negative, run_id, timer::record};
use crate::origin::Origin;

pub(super) async fn set_timer(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::SetTimerRequest,
) -> Result<pb::TimerRecord, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    let command = SetTimer {
        run: run.clone(),
        id: asked.timer_id,
        fire_at: Time(not_negative("fire_at_ms", asked.fire_at_ms, "at once")?),
        kind: asked.kind,
        payload_json: asked.payload_json,
    };
    Ok(record(&run, cx.engine.execute(&command, origin.trace).await?))
}

pub(super) async fn cancel_timer(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::CancelTimerRequest,
) -> Result<pb::CancelTimerResponse, TapeError> {
    let origin = Origin::of(metadata, asked.fence, &asked.lease_owner, &asked.request_id)?;
    let run = run_id(&asked.run_id)?;
    check_name("timer_id", &asked.timer_id)?;
    // A timer that never was is already as it is wanted; a run that never was is a mistake.
    if cx.engine.timer(&run, &asked.timer_id).await?.is_none() {
        return Ok(pb::CancelTimerResponse { cancelled: false });
    }
    let command = CancelTimer {
        run,
        id: asked.timer_id,
    };
    let cancelled = cx.engine.execute(&command, origin.trace).await?;
    Ok(pb::CancelTimerResponse { cancelled })
}

pub(super) async fn list_due_timers(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::ListDueTimersRequest,
) -> Result<pb::ListDueTimersResponse, TapeError> {
    if asked.claim {
        cx.caller.writes("ListDueTimers with claim")?;
    }
    let work = DueWork {
        ahead_ms: ahead(cx, asked.now_ms)?,
        tenants: cx.caller.bounds(),
        ..DueWork::all(DueKind::Timers, limit("limit", asked.limit, 200, 1000)?)
    };
    // Fresh, so that of two callers only one gets a timer.
    let claimer = format!("list-due-timers:{}", cx.engine.fresh());
    let mut timers = Vec::new();
    for due in cx.engine.due_work(&work).await? {
        let RowKey::Timer(id) = &due.key else { continue };
        if asked.claim {
            timers.extend(fire(cx, &due, id, &claimer).await?);
        } else {
            let timer = cx.engine.timer(&due.run, id).await?;
            timers.extend(timer.map(|timer| record(&due.run, timer)));
        }
    }
    Ok(pb::ListDueTimersResponse { timers })
}

/// Marks a timer fired, for good; none if somebody else has it.
async fn fire(cx: &Cx, due: &DueItem, id: &str, claimer: &str) -> Result<Option<pb::TimerRecord>, TapeError> {
    let claim = ClaimTimer {
        run: due.run.clone(),
        id: id.to_owned(),
        owner: claimer.to_owned(),
        ttl_ms: 0,
        ahead_ms: 0,
        at_once: false,
    };
    match cx.engine.execute(&claim, None).await {
        Ok(Some(_)) => {}
        Ok(None) => return Ok(None),
        Err(error) if error.is_lost() => return Ok(None),
        Err(error) => return Err(error),
    }
    let fire = FireTimer {
        run: due.run.clone(),
        id: id.to_owned(),
        owner: claimer.to_owned(),
    };
    let timer = cx.engine.execute(&fire, None).await?;
    // Cancelled or set anew in between: that is the last word.
    let fired = timer.state == TimerState::Fired;
    Ok(fired.then(|| record(&due.run, timer)))
}
