//! What reactors ask of workers, and whom the hub asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use pb::worker_call::Call;
use tape_connector_port::{CompensateAnswer, EffectCall, ObligationCall, StatusAnswer};
use tape_core::run::Run;
use tape_port::{TimerCall, WorkerError, Workers};
use tape_proto::v1 as pb;

use super::WorkerHub;
use super::worker::{Answer, Worker};
use crate::convert::calls;

#[async_trait]
impl Workers for WorkerHub {
    fn apps(&self) -> Vec<String> {
        let mut apps: Vec<_> = self.all().iter().map(|worker| worker.app.clone()).collect();
        apps.sort_unstable();
        apps.dedup();
        apps
    }

    async fn attached(&self) {
        self.attached.notified().await;
    }

    async fn redrive(&self, run: &Run, reason: &str) -> Result<(), WorkerError> {
        let identity = &run.identity;
        let mut refused = None;
        for worker in self.with_room(&identity.tenant, &identity.app)? {
            // Before it answers, so that the next run goes to somebody else.
            worker.add_run(&run.id);
            let call = Call::Redrive(pb::RedriveCall {
                run_id: run.id.0.clone(),
                app_name: identity.app.clone(),
                user_id: identity.user.clone(),
                session_id: identity.session.clone(),
                invocation_id: identity.invocation.clone(),
                input_json: run.input_json.clone(),
                reason: reason.to_owned(),
                tenant_id: identity.tenant.clone(),
            });
            match worker.ask(self.next_call_id(), call, self.config.accept_within).await {
                Ok(Answer::Accepted(_)) => return Ok(()),
                Ok(_) => return Err(worker.misunderstood()),
                Err(error @ WorkerError::Refused { retryable, .. }) => {
                    worker.drop_run(&run.id);
                    if !retryable {
                        return Err(error);
                    }
                    refused = Some(error);
                }
                // It may have taken it: the run stays on its list, in case it dies.
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| busy(&identity.app)))
    }

    async fn status_check(
        &self,
        function: &str,
        effect: &EffectCall,
        reference: &str,
    ) -> Result<StatusAnswer, WorkerError> {
        let worker = self.who_knows(function, effect)?;
        let call = Call::StatusCheck(pb::StatusCheckCall {
            function: function.to_owned(),
            effect: Some(calls::effect(effect)),
            external_ref: reference.to_owned(),
        });
        match worker.ask(self.next_call_id(), call, self.config.answer_within).await? {
            Answer::Status(answer) => Ok(calls::status_answer(answer)),
            _ => Err(worker.misunderstood()),
        }
    }

    async fn compensate(&self, function: &str, obligation: &ObligationCall) -> Result<CompensateAnswer, WorkerError> {
        let worker = self.who_knows(function, &obligation.effect)?;
        let call = Call::Compensate(calls::compensate(function, obligation));
        match worker.ask(self.next_call_id(), call, self.config.answer_within).await? {
            Answer::Compensate(answer) => Ok(calls::compensate_answer(answer)),
            _ => Err(worker.misunderstood()),
        }
    }

    async fn timer(&self, tenant: &str, app: &str, call: &TimerCall) -> Result<(), WorkerError> {
        let worker = self.next(self.of_app(tenant, app)).ok_or_else(|| nobody(app))?;
        let call = Call::Timer(pb::TimerCall {
            run_id: call.run.0.clone(),
            timer_id: call.timer.clone(),
            kind: call.kind.clone(),
            payload_json: call.payload_json.clone(),
            fire_at_ms: call.fire_at_ms,
        });
        match worker.ask(self.next_call_id(), call, self.config.answer_within).await? {
            Answer::Timer(_) => Ok(()),
            _ => Err(worker.misunderstood()),
        }
    }
}

impl WorkerHub {
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

    /// A worker of the effect's app that has said it knows the function. They take turns.
    fn who_knows(&self, function: &str, effect: &EffectCall) -> Result<Arc<Worker>, WorkerError> {
        let mut workers = self.of_app(&effect.tenant, &effect.app);
        if workers.is_empty() {
            return Err(nobody(&effect.app));
        }
        workers.retain(|worker| worker.knows(function));
        self.next(workers).ok_or_else(|| WorkerError::Refused {
            worker: format!("of app {:?}", effect.app),
            code: "unknown_function".to_owned(),
            message: format!("no attached worker has listed {function:?} among its functions"),
            retryable: true,
        })
    }

    fn next(&self, mut workers: Vec<Arc<Worker>>) -> Option<Arc<Worker>> {
        if workers.is_empty() {
            return None;
        }
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) % workers.len();
        Some(workers.swap_remove(turn))
    }
}

fn nobody(app: &str) -> WorkerError {
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
