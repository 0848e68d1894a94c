//! What operations are asked with.

use std::collections::BTreeMap;

use tape_proto::v1 as pb;

use super::run::RunStatus;

/// A run to be started.
#[derive(Clone, Debug, Default)]
pub struct StartRun {
    /// App. Required.
    pub app: String,
    /// User.
    pub user: String,
    /// Session.
    pub session: String,
    /// Empty = a fresh one: every such request starts another run.
    pub invocation: String,
    /// What it is asked to do: a JSON string = the user's text.
    pub input_json: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Which runs. All that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this app; empty = of all.
    pub app: String,
    /// Of this user; empty = of all.
    pub user: String,
    /// In one of these; none = in any.
    pub statuses: Vec<RunStatus>,
    /// Started at least so long ago.
    pub older_than_ms: i64,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Runs per page; 0 = 100, at most 1000.
    pub page_size: i32,
    /// [`Page::next`] of the page before.
    pub after: Option<String>,
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// What asks for the next page; none = this was the last.
    pub next: Option<String>,
}

/// How a person settles an effect.
#[derive(Clone, Debug, Default)]
pub struct SettleEffect {
    /// Run.
    pub run_id: String,
    /// Effect.
    pub key: String,
    /// It took hold; otherwise it did not.
    pub confirmed: bool,
    /// The upstream's name for it.
    pub external_ref: String,
    /// What the run is given as its result.
    pub response_json: String,
    /// Why. Required.
    pub reason: String,
    /// By whom. Required.
    pub who: String,
}

/// How a person settles an obligation.
#[derive(Clone, Debug, Default)]
pub struct SettleObligation {
    /// Run.
    pub run_id: String,
    /// Obligation.
    pub seq: i64,
    /// It is undone, or need not be; otherwise nobody shall try any more.
    pub compensated: bool,
    /// Why. Required.
    pub reason: String,
    /// By whom. Required.
    pub who: String,
}

/// A signal for a gate.
#[derive(Clone, Debug, Default)]
pub struct Signal {
    /// Run; or empty, and app, user and session mean the newest live run of that session.
    pub run_id: String,
    /// App.
    pub app: String,
    /// User.
    pub user: String,
    /// Session.
    pub session: String,
    /// Gate. Required.
    pub gate: String,
    /// What the gate resolves to.
    pub resolution_json: String,
    /// Set one to be able to repeat safely.
    pub request_id: String,
}

impl StartRun {
    pub(crate) fn into_wire(self) -> pb::StartRunRequest {
        pb::StartRunRequest {
            tenant_id: String::new(),
            app_name: self.app,
            user_id: self.user,
            session_id: self.session,
            invocation_id: self.invocation,
            input_json: self.input_json,
            labels: self.labels.into_iter().collect(),
        }
    }
}

impl RunFilter {
    pub(crate) fn to_wire(&self) -> pb::ListRunsRequest {
        pb::ListRunsRequest {
            tenant_id: String::new(),
            app_name: self.app.clone(),
            user_id: self.user.clone(),
            statuses: self.statuses.iter().map(|status| status.wire()).collect(),
            older_than_ms: self.older_than_ms,
            attributes: self.labels.clone().into_iter().collect(),
            page_size: self.page_size,
            page_token: self.after.clone().unwrap_or_default(),
        }
    }
}

impl SettleEffect {
    pub(crate) fn into_wire(self) -> pb::ResolveEffectRequest {
        let status = if self.confirmed {
            pb::EffectStatus::Confirmed
        } else {
            pb::EffectStatus::Failed
        };
        pb::ResolveEffectRequest {
            run_id: self.run_id,
            idempotency_key: self.key,
            status: status.into(),
            external_ref: self.external_ref,
            response_json: self.response_json,
            reason: self.reason,
            who: self.who,
        }
    }
}

impl SettleObligation {
    pub(crate) fn into_wire(self) -> pb::AdminResolveObligationRequest {
        let status = if self.compensated {
            pb::ObligationStatus::Compensated
        } else {
            pb::ObligationStatus::Stuck
        };
        pb::AdminResolveObligationRequest {
            run_id: self.run_id,
            obligation_seq: self.seq,
            status: status.into(),
            reason: self.reason,
            who: self.who,
        }
    }
}

impl Signal {
    pub(crate) fn into_wire(self) -> pb::SendSignalRequest {
        pb::SendSignalRequest {
            run_id: self.run_id,
            app_name: self.app,
            user_id: self.user,
            session_id: self.session,
            gate_name: self.gate,
            resolution_json: self.resolution_json,
            fence: 0,
            lease_owner: String::new(),
            request_id: self.request_id,
        }
    }
}
