//! Whose runs, sessions and values a request is about.
//!
//! The tenant of a request is that of its credentials, or the one that it names and may name, or the server's own. A run of
//! another tenant is answered exactly like one that does not exist.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tape_core::json::{check_optional_name, not_found};
use tape_core::refusal::Status;
use tape_core::{Refusal, RunId};
use tape_engine::Engine;
use tape_port::TapeError;
use tonic::metadata::MetadataMap;

use crate::auth::Grant;

/// How a server tells tenants apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TenancyMode {
    /// There is one.
    #[default]
    Single,
    /// Requests may name theirs, and are believed.
    TrustedMultiApp,
    /// It comes from the caller's verified credentials.
    HardMultiTenant,
}

/// How a server tells tenants apart, and which is its own.
#[derive(Clone, Debug, Default)]
pub struct Tenancy {
    /// How.
    pub mode: TenancyMode,
    /// The tenant of requests that say nothing about theirs; usually empty.
    pub own: String,
}

/// By which header a request names its tenant where requests are believed.
const HEADER: &str = "tape-tenant-id";

/// The caller of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The only tenant that it may see and change; none = any.
    bound: Option<String>,
    /// The tenant of what it does not name one for.
    own: String,
    /// Nobody may name another tenant than the server's own.
    single: bool,
    /// It may change things.
    reads_only: bool,
    /// Who its credentials say that it is; empty without any.
    principal: String,
}

impl Caller {
    pub(crate) fn of(tenancy: &Tenancy, grant: Option<&Grant>, metadata: &MetadataMap) -> Self {
        let named = || {
            let header = metadata.get(HEADER).and_then(|value| value.to_str().ok())?;
            (tenancy.mode != TenancyMode::Single && check_optional_name(HEADER, header).is_ok())
                .then(|| header.to_owned())
        };
        let bound = match (tenancy.mode, grant) {
            (_, Some(grant)) => grant.tenant.clone(),
            // Nobody vouches for this caller: it gets a tenant that nobody has.
            (TenancyMode::HardMultiTenant, None) => Some("\0".to_owned()),
            (_, None) => None,
        };
        Self {
            own: bound.clone().or_else(named).unwrap_or_else(|| tenancy.own.clone()),
            bound,
            single: tenancy.mode == TenancyMode::Single && !tenancy.own.is_empty(),
            reads_only: grant.is_some_and(|grant| grant.role < crate::auth::Role::Driver),
            principal: grant.map(|grant| grant.principal.clone()).unwrap_or_default(),
        }
    }

    /// The tenant of what a request creates or names: `named` by `field`, or else the caller's own.
    pub(crate) fn tenant(&self, field: &'static str, named: &str) -> Result<String, Refusal> {
        if named.is_empty() || named == self.own {
            return Ok(self.own.clone());
        }
        if self.bound.is_none() && !self.single {
            return Ok(named.to_owned());
        }
        Err(Refusal::new(
            Status::PermissionDenied,
            "TAPE-P004",
            format!("The request names tenant {named:?} in {field}, and its caller belongs to another one."),
            format!("Leave {field} empty: the tenant follows from the credentials."),
        )
        .at(field, named))
    }

    /// Who it is: as its credentials say, or without any as it says itself.
    pub(crate) fn who(&self, said: String) -> String {
        if self.principal.is_empty() {
            said
        } else {
            self.principal.clone()
        }
    }

    /// The tenant of sessions and values.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    /// To which tenant a listing is narrowed; none = of all.
    pub(crate) fn narrowed(&self, field: &'static str, named: &str) -> Result<Option<String>, Refusal> {
        if named.is_empty() && self.bound.is_none() {
            return Ok(None);
        }
        self.tenant(field, named).map(Some)
    }

    /// The only tenant that the caller may see; none = all.
    pub(crate) fn bound(&self) -> Option<&str> {
        self.bound.as_deref()
    }

    /// The same as a list of tenants.
    pub(crate) fn bounds(&self) -> Option<Vec<String>> {
        self.bound.clone().map(|bound| vec![bound])
    }

    /// Refuses a caller that belongs to one tenant.
    pub(crate) fn all(&self, what: &str) -> Result<(), Refusal> {
        if self.bound.is_none() {
            return Ok(());
        }
        Err(Refusal::new(
            Status::PermissionDenied,
            "TAPE-P006",
            format!("{what} works for all tenants, and the caller belongs to one."),
            "Use credentials whose tenant is \"*\".",
        ))
    }

    /// Whether the caller may see what belongs to `tenant`.
    pub(crate) fn sees(&self, tenant: &str) -> bool {
        self.bound.as_deref().is_none_or(|bound| bound == tenant)
    }

    /// Refuses a caller that may only look.
    pub(crate) fn writes(&self, what: &str) -> Result<(), Refusal> {
        if !self.reads_only {
            return Ok(());
        }
        Err(Refusal::new(
            Status::PermissionDenied,
            "TAPE-P003",
            format!("{what} needs the role driver, and the caller is a reader."),
            "Use credentials with that role, or ask the server's operator for it.",
        ))
    }
}

/// Runs whose tenant is remembered.
const RUNS_MAX: usize = 50_000;

/// To whom runs belong: that never changes, so it is remembered.
#[derive(Default)]
pub(crate) struct Owners {
    tenants: Mutex<HashMap<RunId, Box<str>>>,
}

impl Owners {
    /// Refuses a run that the caller may not see, in the words of one that does not exist.
    pub(crate) async fn admit(&self, engine: &Engine, caller: &Caller, run: &str) -> Result<(), TapeError> {
        // What is no id is refused by whoever reads it.
        if caller.bound.is_none() || run.is_empty() {
            return Ok(());
        }
        let id = RunId(run.to_owned());
        if let Some(sees) = self.lock().get(&id).map(|tenant| caller.sees(tenant)) {
            return if sees { Ok(()) } else { Err(missing(run)) };
        }
        let tenant = engine.run(&id).await?.identity.tenant;
        let sees = caller.sees(&tenant);
        let mut known = self.lock();
        if known.len() >= RUNS_MAX {
            known.clear();
        }
        known.insert(id, tenant.into());
        if sees { Ok(()) } else { Err(missing(run)) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Box<str>>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(run: &str) -> TapeError {
    not_found("TAPE-R001", "run", run).into()
}

/// What a request is about, as far as tenants are concerned. Every request of the contract has to say.
pub(crate) trait About {
    /// The run that it names; none if it names none, and its service finds the tenant by itself.
    fn run(&self) -> Option<&str>;
}

macro_rules! about {
    (runs: $($run:ident)*; others: $($other:ident)*) => {
        $(impl About for tape_proto::v1::$run {
            fn run(&self) -> Option<&str> {
                Some(&self.run_id)
            }
        })*
        $(impl About for tape_proto::v1::$other {
            fn run(&self) -> Option<&str> {
                None
            }
        })*
    };
}

about! {
    runs:
        ResumeRunRequest EndRunRequest GetRunRequest SubscribeRunRequest RecordDecisionRequest GetDecisionRequest
        BeginEffectRequest CompleteEffectRequest GetEffectRequest ReconcileEffectRequest ClaimEffectDispatchRequest
        RecordDispatchAttemptRequest RecordExternalObservationRequest RegisterCompensationRequest ListObligationsRequest
        ClaimObligationRequest RecordObligationAttemptRequest ResolveObligationRequest SetBudgetRequest AdmitBudgetRequest
        ChargeBudgetRequest AwaitSignalRequest SendSignalRequest SetTimerRequest CancelTimerRequest CompactRunRequest
        CancelRunRequest CompensateRunRequest RedriveRequest ResolveEffectRequest AdminResolveObligationRequest
        RetryEffectRequest DumpRunRequest SubscribeEventsRequest;
    others:
        BeginRunRequest ListRunsToRecoverRequest ListPendingEffectsRequest ListEffectsToDispatchRequest
        ListUnresolvedObligationsRequest ListDueTimersRequest CreateSessionRequest GetSessionRequest ListSessionsRequest
        DeleteSessionRequest AppendEventRequest WriteValueRequest GetValueRequest DeleteValueRequest WatchValueRequest
        Reaction DeregisterReactionRequest ListReactionsRequest ClaimTasksRequest CompleteTaskRequest NackTaskRequest
        ListTasksRequest RetryTaskRequest ListCompactableRunsRequest SubscribeBySubjectRequest StartRunRequest ListRunsRequest StatsRequest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;

    fn caller(mode: TenancyMode, own: &str, granted: Option<Option<&str>>, header: &str) -> Caller {
        let tenancy = Tenancy {
            mode,
            own: own.to_owned(),
        };
        let grant = granted.map(|tenant| Grant {
            principal: "p".to_owned(),
            role: Role::Driver,
            tenant: tenant.map(str::to_owned),
        });
        let mut metadata = MetadataMap::new();
        if !header.is_empty() {
            metadata.insert(HEADER, header.parse().unwrap());
        }
        Caller::of(&tenancy, grant.as_ref(), &metadata)
    }

    #[test]
    fn the_tenant_of_credentials_cannot_be_left() {
        for mode in [
            TenancyMode::Single,
            TenancyMode::TrustedMultiApp,
            TenancyMode::HardMultiTenant,
        ] {
            let caller = caller(mode, "", Some(Some("a")), "b");
            assert_eq!(caller.own(), "a");
            assert_eq!(caller.tenant("tenant_id", "").unwrap(), "a");
            assert_eq!(caller.narrowed("tenant_id", "").unwrap().as_deref(), Some("a"));
            assert_eq!(caller.tenant("tenant_id", "b").unwrap_err().code, "TAPE-P004");
            assert!(caller.sees("a") && !caller.sees("b") && !caller.sees(""));
        }
    }

    #[test]
    fn without_credentials_nobody_is_anybody_where_tenants_are_separated() {
        let caller = caller(TenancyMode::HardMultiTenant, "a", None, "a");
        assert!(!caller.sees("a") && !caller.sees(""));
    }

    #[test]
    fn where_requests_are_believed_they_name_their_tenant() {
        let named = caller(TenancyMode::TrustedMultiApp, "home", None, "b");
        assert_eq!(named.own(), "b");
        assert_eq!(named.tenant("tenant_id", "c").unwrap(), "c");
        let silent = caller(TenancyMode::TrustedMultiApp, "home", None, "");
        assert_eq!(silent.tenant("tenant_id", "").unwrap(), "home");
        assert_eq!(silent.narrowed("tenant_id", "").unwrap(), None);
    }

    #[test]
    fn a_server_of_one_named_tenant_takes_no_other() {
        let caller = caller(TenancyMode::Single, "home", None, "b");
        assert_eq!(caller.own(), "home");
        assert_eq!(caller.tenant("tenant_id", "b").unwrap_err().field, Some("tenant_id"));
    }
}
