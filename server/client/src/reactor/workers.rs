//! `Workers`: what a reactor asks of the workers that are attached to the server.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use pb::worker_answer::Answer;
use pb::worker_call::Call;
use tape_connector_port::{CompensateAnswer, EffectCall, ObligationCall, StatusAnswer};
use tape_core::Time;
use tape_port::{RecoveryTask, TimerTask, WorkerError, Workers};
use tape_proto::v1 as pb;
use tape_wire::calls;
use tokio::sync::watch;
use tonic::{Code, Status};

use super::{RemoteTape, code_of, said};

/// How long a worker may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How much longer the server may take to say so.
const GRACE: Duration = Duration::from_secs(5);

#[async_trait]
impl Workers for RemoteTape {
    fn apps(&self) -> Vec<String> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn attachments(&self) -> watch::Receiver<u64> {
        self.attachments.subscribe()
    }

    async fn redrive(&self, task: &RecoveryTask, reason: &str) -> Result<(), WorkerError> {
        let identity = &task.identity;
        let call = Call::Redrive(calls::redrive(task, reason));
        match self.put(&identity.tenant, &identity.app, call).await? {
            (_, Answer::Accepted(_)) => Ok(()),
            (worker, _) => Err(misunderstood(worker)),
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
        match self.put(&effect.tenant, &effect.app, call).await? {
            (_, Answer::Status(answer)) => Ok(calls::status_answer(answer)),
            (worker, _) => Err(misunderstood(worker)),
        }
    }

    async fn compensate(&self, function: &str, obligation: &ObligationCall) -> Result<CompensateAnswer, WorkerError> {
        let effect = &obligation.effect;
        let call = Call::Compensate(calls::compensate(function, obligation));
        match self.put(&effect.tenant, &effect.app, call).await? {
            (_, Answer::Compensate(answer)) => Ok(calls::compensate_answer(answer)),
            (worker, _) => Err(misunderstood(worker)),
        }
    }

    async fn timer(&self, tenant: &str, app: &str, timer: &TimerTask) -> Result<(), WorkerError> {
        let call = Call::Timer(calls::timer(timer));
        match self.put(tenant, app, call).await? {
            (_, Answer::Timer(_)) => Ok(()),
            (worker, _) => Err(misunderstood(worker)),
        }
    }
}

impl RemoteTape {
    /// Puts a call to a worker, once: a lost answer is the caller's to weigh.
    async fn put(&self, tenant: &str, app: &str, call: Call) -> Result<(String, Answer), WorkerError> {
        self.put_by(tenant, app, call, Time::ZERO).await
    }

    /// The same, and not after `begin_by`; zero = at any time.
    pub(super) async fn put_by(
        &self,
        tenant: &str,
        app: &str,
        call: Call,
        begin_by: Time,
    ) -> Result<(String, Answer), WorkerError> {
        let request = pb::CallWorkerRequest {
            tenant_id: tenant.to_owned(),
            app_name: app.to_owned(),
            call: Some(pb::WorkerCall {
                call: Some(call),
                begin_by_ms: begin_by.0,
                ..pb::WorkerCall::default()
            }),
            timeout_ms: i64::try_from(ANSWER_MAX.as_millis()).unwrap_or(i64::MAX),
        };
        let mut reactors = self.reactors.clone();
        let called = tokio::time::timeout(ANSWER_MAX + GRACE, reactors.call_worker(request)).await;
        let answer = match called {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => return Err(unanswered(app, &status)),
            Err(_) => {
                return Err(lost(
                    app,
                    format!("the server did not answer within {} s", ANSWER_MAX.as_secs()),
                ));
            }
        };
        let worker = answer.worker_id;
        match answer.answer.and_then(|answer| answer.answer) {
            Some(Answer::Refused(refused)) => Err(WorkerError::Refused {
                worker,
                code: refused.code,
                message: refused.message,
                retryable: refused.retryable,
            }),
            Some(answer) => Ok((worker, answer)),
            None => Err(misunderstood(worker)),
        }
    }
}

/// What a failed call means: nothing was asked only if the server says so.
fn unanswered(app: &str, status: &Status) -> WorkerError {
    if code_of(status) == "TAPE-W001" {
        return WorkerError::NoWorker { app: app.to_owned() };
    }
    if matches!(
        status.code(),
        Code::InvalidArgument | Code::PermissionDenied | Code::Unimplemented
    ) {
        return WorkerError::Refused {
            worker: format!("of app {app:?}"),
            code: code_of(status),
            message: said(status),
            retryable: false,
        };
    }
    lost(app, said(status))
}

fn lost(app: &str, reason: String) -> WorkerError {
    WorkerError::Lost {
        worker: format!("of app {app:?}"),
        reason,
    }
}

pub(super) fn misunderstood(worker: String) -> WorkerError {
    WorkerError::Lost {
        worker,
        reason: "its answer is to another question".to_owned(),
    }
}
