//! Decisions.

use tape_core::RunId;
use tape_core::decision::Decision;
use tape_proto::v1 as pb;

pub(crate) fn record(run: &RunId, decision: Decision) -> pb::DecisionRecord {
    pb::DecisionRecord {
        run_id: run.0.clone(),
        seq: decision.seq,
        decision_index: decision.index,
        model: decision.model,
        request_json: decision.request_json,
        response_json: decision.response_json,
        rationale: decision.rationale,
        policy_version: decision.policy_version,
        ts_ms: decision.at.0,
    }
}
