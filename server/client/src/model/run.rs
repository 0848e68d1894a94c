//! Runs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use tape_proto::v1 as pb;

/// A run as it stands.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its id.
    pub run_id: String,
    /// Tenant; empty in single-tenant mode.
    pub tenant: String,
    /// App.
    pub app: String,
    /// User.
    pub user: String,
    /// Session.
    pub session: String,
    /// Invocation within the session.
    pub invocation: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Seq of its newest journal entry.
    pub seq: i64,
    /// Who drives it; empty = nobody.
    pub lease_owner: String,
    /// Until when.
    pub lease_expires_at_ms: i64,
    /// The fence in force.
    pub fence: i64,
    /// When it was created.
    pub started_at_ms: i64,
    /// When it ended.
    pub ended_at_ms: i64,
    /// The gate at which it waits; empty = none.
    pub waiting_on_gate: String,
    /// Recorded decisions.
    pub decisions: i64,
    /// Effects begun.
    pub effects: i64,
    /// Where replay ends and work begins.
    pub next_decision_index: i64,
    /// What it was started with.
    pub input_json: String,
    /// What its ending said.
    pub detail_json: String,
    /// Why it is STUCK, FAILED or CANCELLED, or why nobody takes it.
    pub last_error: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A run that was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct Started {
    /// It is new.
    pub created: bool,
    /// As it stands.
    pub run: Run,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// Waits for a driver.
    Runnable,
    /// Is driven.
    Running,
    /// Waits at a gate.
    Waiting,
    /// Ended well.
    Terminal,
    /// Ended badly.
    Failed,
    /// Is being undone.
    Compensating,
    /// Needs a person.
    Stuck,
    /// Ended on request.
    Cancelled,
    /// Something that this version does not know.
    Unknown,
}

impl RunStatus {
    /// All that can be filtered by.
    pub const ALL: [Self; 8] = [
        Self::Runnable,
        Self::Running,
        Self::Waiting,
        Self::Terminal,
        Self::Failed,
        Self::Compensating,
        Self::Stuck,
        Self::Cancelled,
    ];

    /// The name, in capitals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runnable => "RUNNABLE",
            Self::Running => "RUNNING",
            Self::Waiting => "WAITING",
            Self::Terminal => "TERMINAL",
            Self::Failed => "FAILED",
            Self::Compensating => "COMPENSATING",
            Self::Stuck => "STUCK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Terminal | Self::Failed | Self::Stuck | Self::Cancelled)
    }

    pub(crate) fn wire(self) -> i32 {
        let status = match self {
            Self::Runnable => pb::RunStatus::Runnable,
            Self::Running => pb::RunStatus::Running,
            Self::Waiting => pb::RunStatus::Waiting,
            Self::Terminal => pb::RunStatus::Terminal,
            Self::Failed => pb::RunStatus::Failed,
            Self::Compensating => pb::RunStatus::Compensating,
            Self::Stuck => pb::RunStatus::Stuck,
            Self::Cancelled => pb::RunStatus::Cancelled,
            Self::Unknown => pb::RunStatus::Unspecified,
        };
        status.into()
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<pb::RunStatus> for RunStatus {
    fn from(status: pb::RunStatus) -> Self {
        match status {
            pb::RunStatus::Runnable => Self::Runnable,
            pb::RunStatus::Running => Self::Running,
            pb::RunStatus::Waiting => Self::Waiting,
            pb::RunStatus::Terminal => Self::Terminal,
            pb::RunStatus::Failed => Self::Failed,
            pb::RunStatus::Compensating => Self::Compensating,
            pb::RunStatus::Stuck => Self::Stuck,
            pb::RunStatus::Cancelled => Self::Cancelled,
            pb::RunStatus::Unspecified => Self::Unknown,
        }
    }
}

impl From<pb::RunState> for Run {
    fn from(run: pb::RunState) -> Self {
        Self {
            status: run.status().into(),
            run_id: run.run_id,
            tenant: run.tenant_id,
            app: run.app_name,
            user: run.user_id,
            session: run.session_id,
            invocation: run.invocation_id,
            seq: run.seq_cursor,
            lease_owner: run.lease_owner,
            lease_expires_at_ms: run.lease_expires_at_ms,
            fence: run.fence,
            started_at_ms: run.started_at_ms,
            ended_at_ms: run.ended_at_ms,
            waiting_on_gate: run.waiting_on_gate,
            decisions: run.decisions,
            effects: run.effects,
            next_decision_index: run.next_decision_index,
            input_json: run.input_json,
            detail_json: run.detail_json,
            last_error: run.last_error,
            labels: run.labels.into_iter().collect(),
        }
    }
}
