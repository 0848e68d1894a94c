//! Connectors that live in workers' processes: who has which, and how one is asked.
//!
//! Only workers of the effect's own tenant and app are asked. One that says no before it did anything is passed over; with one that does not
//! answer it ends: it may have done it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pb::worker_call::Call;
use tape_connector_port::{
    CompensateAnswer, DispatchAnswer, EffectCall, ObligationCall, ObserveAnswer, StatusAnswer, Supports,
};
use tape_core::Time;
use tape_port::{Living, LivingConnectors, Told, WorkerError};
use tape_proto::v1 as pb;
use tape_wire::calls;

use super::WorkerHub;
use super::worker::{Answer, Worker};

/// A call to a connector that lives in a worker's process.
pub(crate) struct ConnectorCall {
    /// Whose effect it is about.
    pub(crate) tenant: String,
    pub(crate) app: String,
    /// Which connector.
    pub(crate) connector: String,
    pub(crate) call: Call,
    /// After this nobody is asked any more; zero = at any time.
    pub(crate) begin_by: Time,
    /// After this its answer is no longer wanted; zero = only the limit on answers counts.
    pub(crate) deadline: Time,
}

impl ConnectorCall {
    /// The call as it was if it is to no connector.
    pub(crate) fn of(tenant: &str, app: &str, call: Call, begin_by: Time) -> Result<Self, Box<Call>> {
        let (connector, effect) = match &call {
            Call::Dispatch(pb::DispatchCall { connector, effect })
            | Call::Observe(pb::ObserveCall { connector, effect })
            | Call::StatusCheck(pb::StatusCheckCall { connector, effect, .. })
            | Call::Compensate(pb::CompensateCall { connector, effect, .. })
                if !connector.is_empty() =>
            {
                (connector.clone(), effect)
            }
            _ => return Err(Box::new(call)),
        };
        Ok(Self {
            tenant: tenant.to_owned(),
            app: app.to_owned(),
            connector,
            deadline: Time(effect.as_ref().map_or(0, |effect| effect.deadline_ms)),
            call,
            begin_by,
        })
    }

    /// Whether a connector that supports this can be asked.
    fn fits(&self, supports: Supports) -> bool {
        match self.call {
            Call::Observe(_) => supports.observe,
            Call::StatusCheck(_) => supports.status_check,
            Call::Compensate(_) => supports.compensate,
            _ => true,
        }
    }
}

impl WorkerHub {
    /// Puts a call to a worker that has the connector, the next one in turn, and to another one if it refuses.
    pub(crate) async fn ask_connector(
        &self,
        asked: ConnectorCall,
        within: Option<Duration>,
    ) -> Result<(Arc<Worker>, Answer), WorkerError> {
        let mut refused = self.without(&asked);
        let mut workers = self.of_app(&asked.tenant, &asked.app);
        workers.retain(|worker| {
            worker
                .connectors()
                .get(&asked.connector)
                .is_some_and(|it| asked.fits(*it))
        });
        if !workers.is_empty() {
            let turn = self.turns.fetch_add(1, Ordering::Relaxed) % workers.len();
            workers.rotate_left(turn);
        }
        for worker in workers {
            let within = self.time_left(&asked, within)?;
            let call = pb::WorkerCall {
                begin_by_ms: asked.begin_by.0,
                ..self.numbered(asked.call.clone(), within)
            };
            match worker.ask(call, within).await {
                Ok(answer) => return Ok((worker, answer)),
                Err(error @ WorkerError::Refused { retryable: true, .. }) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    /// How long its answer is waited for, if it may still be begun.
    fn time_left(&self, asked: &ConnectorCall, within: Option<Duration>) -> Result<Duration, WorkerError> {
        let (now, within) = (self.engine.now(), within.unwrap_or(self.config.answer_within));
        let over = |until: Time| until != Time::ZERO && now > until;
        if over(asked.begin_by) || over(asked.deadline) {
            return Err(WorkerError::Refused {
                worker: format!("of app {:?}", asked.app),
                code: "too_late".to_owned(),
                message: "its time was over before anybody was asked".to_owned(),
                retryable: true,
            });
        }
        if asked.deadline == Time::ZERO {
            return Ok(within);
        }
        let left = u64::try_from(asked.deadline.since(now)).unwrap_or_default();
        Ok(within.min(Duration::from_millis(left.max(1))))
    }

    fn without(&self, asked: &ConnectorCall) -> WorkerError {
        WorkerError::Refused {
            worker: format!("of app {:?}", asked.app),
            code: "unknown_connector".to_owned(),
            message: format!("no attached worker has connector {:?} for this", asked.connector),
            retryable: true,
        }
    }

    async fn asked(
        &self,
        effect: &EffectCall,
        call: Call,
        begin_by: Time,
    ) -> Result<(Arc<Worker>, Answer), WorkerError> {
        match ConnectorCall::of(&effect.tenant, &effect.app, call, begin_by) {
            Ok(asked) => self.ask_connector(asked, None).await,
            Err(_) => Err(super::call::nobody(&effect.app)),
        }
    }
}

#[async_trait]
impl LivingConnectors for WorkerHub {
    fn living(&self) -> Vec<Living> {
        let mut all: Vec<Living> = Vec::new();
        for worker in self.all() {
            for (name, supports) in worker.connectors() {
                let same =
                    |one: &&mut Living| (&one.tenant, &one.app, &one.name) == (&worker.tenant, &worker.app, name);
                match all.iter_mut().find(same) {
                    Some(known) => {
                        known.supports.observe |= supports.observe;
                        known.supports.status_check |= supports.status_check;
                        known.supports.compensate |= supports.compensate;
                    }
                    None => all.push(Living {
                        tenant: worker.tenant.clone(),
                        app: worker.app.clone(),
                        name: name.clone(),
                        supports: *supports,
                    }),
                }
            }
        }
        all.sort_by(|a, b| (&a.tenant, &a.app, &a.name).cmp(&(&b.tenant, &b.app, &b.name)));
        all
    }

    async fn living_changed(&self) {
        // The sender lives as long as the hub.
        drop(self.watch_roster().changed().await);
    }

    fn clock(&self) -> Time {
        self.engine.now()
    }

    async fn dispatch(
        &self,
        connector: &str,
        effect: &EffectCall,
        begin_by: Time,
    ) -> Result<Told<DispatchAnswer>, WorkerError> {
        let call = Call::Dispatch(calls::dispatch_by(connector, effect));
        match self.asked(effect, call, begin_by).await? {
            (worker, Answer::Dispatch(answer)) => Ok(told(&worker, calls::dispatch_answer(answer))),
            (worker, _) => Err(worker.misunderstood()),
        }
    }

    async fn observe(&self, connector: &str, effect: &EffectCall) -> Result<Told<ObserveAnswer>, WorkerError> {
        let call = Call::Observe(calls::observe_by(connector, effect));
        match self.asked(effect, call, Time::ZERO).await? {
            (worker, Answer::Observe(answer)) => Ok(told(&worker, calls::observe_answer(answer))),
            (worker, _) => Err(worker.misunderstood()),
        }
    }

    async fn status_check(
        &self,
        connector: &str,
        effect: &EffectCall,
        reference: &str,
    ) -> Result<Told<StatusAnswer>, WorkerError> {
        let call = Call::StatusCheck(calls::status_check_by(connector, effect, reference));
        match self.asked(effect, call, Time::ZERO).await? {
            (worker, Answer::Status(answer)) => Ok(told(&worker, calls::status_answer(answer))),
            (worker, _) => Err(worker.misunderstood()),
        }
    }

    async fn compensate(
        &self,
        connector: &str,
        obligation: &ObligationCall,
        begin_by: Time,
    ) -> Result<Told<CompensateAnswer>, WorkerError> {
        let call = Call::Compensate(calls::compensate_by(connector, obligation));
        match self.asked(&obligation.effect, call, begin_by).await? {
            (worker, Answer::Compensate(answer)) => Ok(told(&worker, calls::compensate_answer(answer))),
            (worker, _) => Err(worker.misunderstood()),
        }
    }
}

fn told<A>(worker: &Worker, answer: A) -> Told<A> {
    Told {
        worker: worker.id.clone(),
        answer,
    }
}
