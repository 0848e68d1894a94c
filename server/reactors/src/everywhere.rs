//! Connectors wherever they live: components in this process's host, and connectors in the processes of agents.
//!
//! ```text
//! reactor ── Connectors ──▶ Everywhere ──▶ host: deployed components
//!                                     └──▶ workers of the effect's app: what they said that they have
//! ```
//!
//! What is deployed comes first, unless it was a worker that dispatched the effect and one can still be asked. A connector in an agent's
//! process has no sandbox, and nobody sees what leaves there. So the mark is made before it is asked, and from then on the request is
//! taken to have left: only the worker's own word, or its saying that it did not begin, says otherwise.

use std::sync::{Arc, OnceLock, Weak};

use async_trait::async_trait;
use tape_connector_port::{
    Asks, Called, CompensateAnswer, CompensateOutcome, ConnectorError, ConnectorInfo, ConnectorState, Connectors,
    Description, DispatchAnswer, Doubt, EffectCall, Evidence, Mark, MarkRefused, ObligationCall, ObserveAnswer,
    Outcome, Sender, StatusAnswer,
};
use tape_core::Time;
use tape_core::effect::BOOKS_LAG_MS;
use tape_port::{Living, LivingConnectors, Told, WorkerError};

/// The version of every connector that lives in a worker: it has none of its own that could be asked for again.
pub const IN_PROCESS: &str = "in-process";
/// How long a connector is left alone whose worker is away, or has no room.
const AWAY_MS: u64 = 1_000;
/// From before the mark until a worker must have begun. The books are believed that late after the mark; half of it is left for the
/// request's own way, and for clocks that do not agree.
const BEGIN_WITHIN_MS: i64 = BOOKS_LAG_MS / 2;

/// The connectors of a host, and those that live in attached workers.
pub struct Everywhere {
    host: Arc<dyn Connectors>,
    /// Told once the workers are there; they may know whoever knows this.
    workers: OnceLock<Weak<dyn LivingConnectors>>,
}

/// Who is asked about an effect.
enum Home {
    Host,
    Workers(Arc<dyn LivingConnectors>, Living),
    /// It lives in workers, none of which is attached.
    Away,
}

impl Everywhere {
    /// Those of the host alone.
    #[must_use]
    pub fn new(host: Arc<dyn Connectors>) -> Self {
        Self {
            host,
            workers: OnceLock::new(),
        }
    }

    /// From now on those of `workers`, too. The first ones count.
    pub fn join(&self, workers: &Arc<dyn LivingConnectors>) {
        self.workers.get_or_init(|| Arc::downgrade(workers));
    }

    fn workers(&self) -> Option<Arc<dyn LivingConnectors>> {
        self.workers.get()?.upgrade()
    }

    fn find(&self, tenant: &str, app: &str, name: &str) -> Option<(Arc<dyn LivingConnectors>, Living)> {
        let workers = self.workers()?;
        let mut living = workers.living().into_iter();
        let living =
            living.find(|one| (one.tenant.as_str(), one.app.as_str(), one.name.as_str()) == (tenant, app, name))?;
        Some((workers, living))
    }

    fn home(&self, name: &str, version: Option<&str>, call: &EffectCall) -> Home {
        let by_worker = version == Some(IN_PROCESS);
        let deployed = self.host.describe(&call.tenant, &call.app, name).is_some();
        if deployed && !by_worker {
            return Home::Host;
        }
        match self.find(&call.tenant, &call.app, name) {
            Some((workers, living)) => Home::Workers(workers, living),
            None if by_worker && !deployed => Home::Away,
            // It answers for its predecessor, or says that there is none.
            None => Home::Host,
        }
    }
}

#[async_trait]
impl Connectors for Everywhere {
    fn list(&self) -> Vec<ConnectorInfo> {
        let mut all = self.host.list();
        let living = self.workers().map(|workers| workers.living()).unwrap_or_default();
        let only_there = |one: &Living| self.host.describe(&one.tenant, &one.app, &one.name).is_none();
        all.extend(living.into_iter().filter(only_there).map(info));
        all
    }

    fn states(&self) -> Vec<ConnectorState> {
        self.host.states()
    }

    fn describe(&self, tenant: &str, app: &str, name: &str) -> Option<Description> {
        let deployed = self.host.describe(tenant, app, name);
        deployed.or_else(|| self.find(tenant, app, name).map(|(_, living)| description(&living)))
    }

    async fn changed(&self) {
        match self.workers() {
            Some(workers) => tokio::select! {
                () = workers.living_changed() => {}
                () = self.host.changed() => {}
            },
            None => self.host.changed().await,
        }
    }

    async fn dispatch(
        &self,
        name: &str,
        version: Option<&str>,
        call: &EffectCall,
        mark: &dyn Mark,
    ) -> Result<Called<Outcome>, ConnectorError> {
        let workers = match self.home(name, version, call) {
            Home::Host => return self.host.dispatch(name, version, call, mark).await,
            Home::Away => return Err(away(name, "no worker that has it is attached")),
            Home::Workers(workers, _) => workers,
        };
        let now = workers.clock();
        if call.deadline_ms > 0 && Time(call.deadline_ms) <= now {
            let late = Outcome::Retry {
                reason: "its deadline passed before a worker was asked".to_owned(),
                retry_after_ms: None,
            };
            return Ok(called(late, String::new()));
        }
        set(mark).await?;
        let said = workers.dispatch(name, call, now.after(BEGIN_WITHIN_MS)).await;
        done(name, said, Outcome::Unknown, |answer| match answer {
            DispatchAnswer::Confirmed(receipt) => Outcome::Confirmed(receipt),
            DispatchAnswer::Failed(failure) => Outcome::Failed(failure),
            DispatchAnswer::Unknown(doubt) => Outcome::Unknown(doubt),
        })
    }

    async fn status_check(
        &self,
        name: &str,
        version: Option<&str>,
        call: &EffectCall,
        reference: &str,
    ) -> Result<Called<StatusAnswer>, ConnectorError> {
        match self.home(name, version, call) {
            Home::Host => self.host.status_check(name, version, call, reference).await,
            Home::Away => Err(away(name, "no worker that has it is attached")),
            Home::Workers(_, living) if !living.supports.status_check => Err(unsupported(name, "status-check")),
            Home::Workers(workers, _) => heard(name, workers.status_check(name, call, reference).await),
        }
    }

    async fn observe(
        &self,
        name: &str,
        version: Option<&str>,
        call: &EffectCall,
    ) -> Result<Called<ObserveAnswer>, ConnectorError> {
        match self.home(name, version, call) {
            Home::Host => self.host.observe(name, version, call).await,
            Home::Away => Err(away(name, "no worker that has it is attached")),
            Home::Workers(_, living) if !living.supports.observe => Err(unsupported(name, "observe")),
            Home::Workers(workers, _) => heard(name, workers.observe(name, call).await),
        }
    }

    async fn compensate(
        &self,
        name: &str,
        version: Option<&str>,
        call: &ObligationCall,
        mark: &dyn Mark,
    ) -> Result<Called<CompensateOutcome>, ConnectorError> {
        let workers = match self.home(name, version, &call.effect) {
            Home::Host => return self.host.compensate(name, version, call, mark).await,
            Home::Away => return Err(away(name, "no worker that has it is attached")),
            Home::Workers(_, living) if !living.supports.compensate => return Err(unsupported(name, "compensate")),
            Home::Workers(workers, _) => workers,
        };
        let now = workers.clock();
        set(mark).await?;
        let said = workers.compensate(name, call, now.after(BEGIN_WITHIN_MS)).await;
        done(name, said, CompensateOutcome::Unknown, |answer| match answer {
            CompensateAnswer::Resolved(receipt) => CompensateOutcome::Resolved(receipt),
            CompensateAnswer::Failed(failure) => CompensateOutcome::Failed(failure),
            CompensateAnswer::Unknown(doubt) => CompensateOutcome::Unknown(doubt),
        })
    }
}

/// From here on a worker may have begun.
async fn set(mark: &dyn Mark) -> Result<(), ConnectorError> {
    let sender = Sender {
        version: IN_PROCESS,
        digest: "",
    };
    let marked = mark.sent(sender).await;
    marked.map_err(|MarkRefused(reason)| ConnectorError::MarkRefused { reason })
}

/// What came of a request that changes something.
fn done<A, O>(
    name: &str,
    said: Result<Told<A>, WorkerError>,
    in_doubt: impl FnOnce(Doubt) -> O,
    outcome: impl FnOnce(A) -> O,
) -> Result<Called<O>, ConnectorError> {
    match said {
        Ok(told) => Ok(called(outcome(told.answer), told.worker)),
        Err(WorkerError::Lost { worker, reason }) => {
            let doubt = Doubt {
                sent: format!("worker {worker:?} was asked"),
                ..Doubt::because(format!("worker {worker:?} was asked and did not answer: {reason}"))
            };
            Ok(called(in_doubt(doubt), worker))
        }
        // Nobody began with it.
        Err(error) => Err(away(name, &error.to_string())),
    }
}

/// An answer to a question that changes nothing: without one it can be asked again.
fn heard<A>(name: &str, said: Result<Told<A>, WorkerError>) -> Result<Called<A>, ConnectorError> {
    match said {
        Ok(told) => Ok(called(told.answer, told.worker)),
        Err(error) => Err(away(name, &error.to_string())),
    }
}

/// `worker` is empty where none was asked.
fn called<T>(outcome: T, worker: String) -> Called<T> {
    Called {
        outcome,
        evidence: Evidence {
            unseen_in_worker: (!worker.is_empty()).then_some(worker),
            ..Evidence::default()
        },
        version: IN_PROCESS.to_owned(),
        digest: String::new(),
    }
}

fn away(name: &str, why: &str) -> ConnectorError {
    ConnectorError::Overloaded {
        name: name.to_owned(),
        limit: why.to_owned(),
        retry_after_ms: AWAY_MS,
    }
}

fn unsupported(name: &str, what: &str) -> ConnectorError {
    ConnectorError::Unsupported {
        name: name.to_owned(),
        what: what.to_owned(),
    }
}

fn info(living: Living) -> ConnectorInfo {
    ConnectorInfo {
        description: description(&living),
        name: living.name,
        tenant: living.tenant,
        app: Some(living.app),
        version: IN_PROCESS.to_owned(),
        digest: String::new(),
        calls: 0,
        failures: 0,
        last_error: None,
    }
}

fn description(living: &Living) -> Description {
    Description {
        name: living.name.clone(),
        version: IN_PROCESS.to_owned(),
        contract: String::new(),
        summary: format!("Lives in the workers of app {:?}", living.app),
        operations: Vec::new(),
        supports: living.supports,
        offline: false,
        config_schema: String::new(),
        asks: Asks::default(),
    }
}

#[cfg(test)]
mod tests;
