//! What reactors ask of workers, and whom the hub asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pb::worker_call::Call;
use tape_connector_port::{CompensateAnswer, EffectCall, ObligationCall, StatusAnswer};
use tape_core::RunId;
use tape_port::{RecoveryTask, TimerTask, WorkerError, Workers};
use tape_proto::v1 as pb;
use tape_wire::calls;
use tokio::sync::watch;

use super::WorkerHub;
use super::worker::{Answer, Worker};

#[async_trait]
impl Workers for WorkerHub {
    fn apps(&self) -> Vec<String> {
        let mut apps: Vec<_> = self.all().iter().map(|worker| worker.app.clone()).collect();
        apps.sort_unstable();
        apps.dedup();
        apps
    }

    fn attachments(&self) -> watch::Receiver<u64> {
        self.attachments.subscribe()
    }

    async fn redrive(&self, task: &RecoveryTask, reason: &str) -> Result<(), WorkerError> {
        let (identity, call) = (&task.identity, calls::redrive(task, reason));
        match self
            .put(&identity.tenant, &identity.app, Call::Redrive(call), None)
            .await?
        {
            (_, Answer::Accepted(_)) => Ok(()),
            (worker, _) => Err(worker.misunderstood()),
        }
    }

    async fn status_check(
        &self,
        function: &str,
        effect: &EffectCall,
        reference: &str,
    ) -> Result<StatusAnswer, WorkerError> {
        let call = Call::StatusCheck(pb::StatusCheckCall {
            function: function.to_owned(),
            effect: Some(calls::effect(effect)),
            external_ref: reference.to_owned(),
            connector: String::new(),
        });
        match self.put(&effect.tenant, &effect.app, call, None).await? {
            (_, Answer::Status(answer)) => Ok(calls::status_answer(answer)),
            (worker, _) => Err(worker.misunderstood()),
        }
    }

    async fn compensate(&self, function: &str, obligation: &ObligationCall) -> Result<CompensateAnswer, WorkerError> {
        let (effect, call) = (&obligation.effect, calls::compensate(function, obligation));
        match self
            .put(&effect.tenant, &effect.app, Call::Compensate(call), None)
            .await?
        {
            (_, Answer::Compensate(answer)) => Ok(calls::compensate_answer(answer)),
            (worker, _) => Err(worker.misunderstood()),
        }
    }

    async fn timer(&self, tenant: &str, app: &str, timer: &TimerTask) -> Result<(), WorkerError> {
        match self.put(tenant, app, Call::Timer(calls::timer(timer)), None).await? {
            (_, Answer::Timer(_)) => Ok(()),
            (worker, _) => Err(worker.misunderstood()),
        }
    }
}

impl WorkerHub {
    /// Puts a call to a worker of an app: one that has room for a run, or knows the function; the next one in turn
    /// otherwise. `within` = how long to wait for its answer; none = as configured.
    pub(crate) async fn put(
        &self,
        tenant: &str,
        app: &str,
        call: Call,
        within: Option<Duration>,
    ) -> Result<(Arc<Worker>, Answer), WorkerError> {
        let within = within.unwrap_or(self.config.answer_within);
        let worker = match &call {
            Call::Redrive(redrive) => return self.hand_over(tenant, app, redrive, within).await,
            Call::StatusCheck(pb::StatusCheckCall { function, .. })
            | Call::Compensate(pb::CompensateCall { function, .. }) => self.who_knows(function, tenant, app)?,
            _ => self.next(self.of_app(tenant, app)).ok_or_else(|| nobody(app))?,
        };
        let answer = worker.ask(self.numbered(call, within), within).await?;
        Ok((worker, answer))
    }

    /// A call as it goes onto a stream.
    pub(super) fn numbered(&self, call: Call, within: Duration) -> pb::WorkerCall {
        pb::WorkerCall {
            call_id: self.next_call_id(),
            call: Some(call),
            answer_within_ms: i64::try_from(within.as_millis()).unwrap_or(i64::MAX),
            begin_by_ms: 0,
        }
    }

    /// Hands a run to the least loaded worker that takes it.
    async fn hand_over(
        &self,
        tenant: &str,
        app: &str,
        redrive: &pb::RedriveCall,
        within: Duration,
    ) -> Result<(Arc<Worker>, Answer), WorkerError> {
        let run = RunId(redrive.run_id.clone());
        let accept_within = within.min(self.config.accept_within);
        let mut refused = None;
        for worker in self.with_room(tenant, app)? {
            // Before it answers, so that the next run goes to somebody else.
            worker.add_run(&run);
            let call = Call::Redrive(redrive.clone());
            match worker.ask(self.numbered(call, accept_within), accept_within).await {
                Ok(answer) => return Ok((worker, answer)),
                Err(error @ WorkerError::Refused { retryable, .. }) => {
                    worker.drop_run(&run);
                    if !retryable {
                        return Err(error);
                    }
                    refused = Some(error);
                }
                // It may have taken it: the run stays on its list, in case it dies.
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| busy(app)))
    }

    /// The workers of an app that have room for a run, the least loaded first.
    fn with_room(&self, tenant: &str, app: &str) -> Result<Vec<Arc<Worker>>, WorkerError> {
        let workers = self.of_app(tenant, app);
        if workers.is_empty() {
            return Err(nobody(app));
        }
        let loads = workers.into_iter().filter_map(|worker| Some((worker.load()?, worker)));
        let mut loads: Vec<_> = loads.collect();
        loads.sort_by_key(|(load, _)| *load);
        Ok(loads.into_iter().map(|(_, worker)| worker).collect())
    }

    /// A worker of the app that has said it knows the function. They take turns.
    fn who_knows(&self, function: &str, tenant: &str, app: &str) -> Result<Arc<Worker>, WorkerError> {
        let mut workers = self.of_app(tenant, app);
        if workers.is_empty() {
            return Err(nobody(app));
        }
        workers.retain(|worker| worker.knows(function));
        self.next(workers).ok_or_else(|| WorkerError::Refused {
            worker: format!("of app {app:?}"),
            code: "unknown_function".to_owned(),
            message: format!("no attached worker has listed {function:?} among its functions"),
            retryable: true,
        })
    }

    /// One of them, the next in turn.
    pub(super) fn next(&self, mut workers: Vec<Arc<Worker>>) -> Option<Arc<Worker>> {
        if workers.is_empty() {
            return None;
        }
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) % workers.len();
        Some(workers.swap_remove(turn))
    }
}

pub(super) fn nobody(app: &str) -> WorkerError {
    WorkerError::NoWorker { app: app.to_owned() }
}

fn busy(app: &str) -> WorkerError {
    WorkerError::Refused {
        worker: format!("of app {app:?}"),
        code: "busy".to_owned(),
        message: "every attached worker drives as many runs as it may".to_owned(),
        retryable: true,
    }
}
