//! `LivingConnectors`: connectors in the processes of workers that are attached to the server.

use async_trait::async_trait;
use pb::worker_answer::Answer;
use pb::worker_call::Call;
use tape_connector_port::{CompensateAnswer, DispatchAnswer, EffectCall, ObligationCall, ObserveAnswer, StatusAnswer};
use tape_core::Time;
use tape_port::{Living, LivingConnectors, Told, WorkerError};
use tape_proto::v1 as pb;
use tape_wire::calls;

use super::RemoteTape;
use super::workers::misunderstood;

#[async_trait]
impl LivingConnectors for RemoteTape {
    fn living(&self) -> Vec<Living> {
        self.living.borrow().clone()
    }

    async fn living_changed(&self) {
        // The sender lives as long as this.
        drop(self.living.subscribe().changed().await);
    }

    fn clock(&self) -> Time {
        self.server_now()
    }

    async fn dispatch(
        &self,
        connector: &str,
        effect: &EffectCall,
        begin_by: Time,
    ) -> Result<Told<DispatchAnswer>, WorkerError> {
        let call = Call::Dispatch(calls::dispatch_by(connector, effect));
        match self.put_by(&effect.tenant, &effect.app, call, begin_by).await? {
            (worker, Answer::Dispatch(answer)) => Ok(told(worker, calls::dispatch_answer(answer))),
            (worker, _) => Err(misunderstood(worker)),
        }
    }

    async fn observe(&self, connector: &str, effect: &EffectCall) -> Result<Told<ObserveAnswer>, WorkerError> {
        let call = Call::Observe(calls::observe_by(connector, effect));
        match self.put_by(&effect.tenant, &effect.app, call, Time::ZERO).await? {
            (worker, Answer::Observe(answer)) => Ok(told(worker, calls::observe_answer(answer))),
            (worker, _) => Err(misunderstood(worker)),
        }
    }

    async fn status_check(
        &self,
        connector: &str,
        effect: &EffectCall,
        reference: &str,
    ) -> Result<Told<StatusAnswer>, WorkerError> {
        let call = Call::StatusCheck(calls::status_check_by(connector, effect, reference));
        match self.put_by(&effect.tenant, &effect.app, call, Time::ZERO).await? {
            (worker, Answer::Status(answer)) => Ok(told(worker, calls::status_answer(answer))),
            (worker, _) => Err(misunderstood(worker)),
        }
    }

    async fn compensate(
        &self,
        connector: &str,
        obligation: &ObligationCall,
        begin_by: Time,
    ) -> Result<Told<CompensateAnswer>, WorkerError> {
        let effect = &obligation.effect;
        let call = Call::Compensate(calls::compensate_by(connector, obligation));
        match self.put_by(&effect.tenant, &effect.app, call, begin_by).await? {
            (worker, Answer::Compensate(answer)) => Ok(told(worker, calls::compensate_answer(answer))),
            (worker, _) => Err(misunderstood(worker)),
        }
    }
}

impl RemoteTape {
    /// What the server said last of the connectors in its workers.
    pub(super) fn told_living(&self, living: Vec<pb::WorkerConnector>) {
        let living: Vec<Living> = living.into_iter().filter_map(calls::living_of).collect();
        self.living.send_if_modified(|known| {
            let changed = *known != living;
            *known = living;
            changed
        });
    }
}

fn told<A>(worker: String, answer: A) -> Told<A> {
    Told { worker, answer }
}
