//! Timers.

use tape_core::RunId;
use tape_core::timer::{Timer, TimerState};
use tape_proto::v1 as pb;

pub(crate) fn record(run: &RunId, timer: Timer) -> pb::TimerRecord {
    pb::TimerRecord {
        run_id: run.0.clone(),
        timer_id: timer.id,
        fire_at_ms: timer.fire_at.0,
        kind: timer.kind,
        payload_json: timer.payload_json,
        fired: timer.state == TimerState::Fired,
        created_at_ms: timer.created.0,
    }
}
