//! `Tape`: what a reactor asks of the server.

use async_trait::async_trait;
use pb::claim_response::Task;
use pb::settle_request::Outcome as Settled;
use tape_core::command::dispatch::{ClaimDispatch, MarkSent, RenewDispatch, SettleDispatch};
use tape_core::command::obligation::SettleObligation;
use tape_core::command::observe::{ClaimCheck, RecordObservation};
use tape_core::command::recovery::{ClaimRecovery, NoTaker};
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::{DueKind, RunId, Time};
use tape_port::{
    CheckTask, ClaimCompensation, CompensationTask, DispatchTask, DueItem, DueWork, RecoveryTask, Tape, TapeError,
    TimerTask,
};
use tape_proto::v1 as pb;

use super::RemoteTape;
use super::convert;

#[async_trait]
impl Tape for RemoteTape {
    fn now(&self) -> Time {
        self.server_now()
    }

    async fn woken(&self, kind: DueKind) {
        match self.woken.get(&kind) {
            Some(notify) => notify.notified().await,
            None => std::future::pending().await,
        }
    }

    async fn due(&self, work: &DueWork) -> Result<Vec<DueItem>, TapeError> {
        let request = pb::DueRequest {
            kind: convert::kind_number(work.kind).into(),
            limit: i32::try_from(work.limit).unwrap_or(i32::MAX),
            tenant_ids: both(&self.config.tenants, work.tenants.as_ref()),
            app_names: both(&self.config.apps, work.apps.as_ref()),
            served: work.served.as_deref().map(convert::served),
            reactor_id: self.config.reactor_id.clone(),
            ahead_ms: work.ahead_ms,
        };
        // Nothing is looked for: the wire would take no names for all names.
        let nothing = |wanted: &Option<Vec<String>>, sent: &[String]| wanted.is_some() && sent.is_empty();
        if nothing(&work.apps, &request.app_names) || nothing(&work.tenants, &request.tenant_ids) {
            return Ok(Vec::new());
        }
        let answer = self.call(request, async |mut it, asked| it.due(asked).await).await?;
        self.told_time(answer.now_ms);
        Ok(answer.items.into_iter().filter_map(convert::item).collect())
    }

    async fn next_due(&self, kind: DueKind) -> Result<Option<Time>, TapeError> {
        let request = pb::NextDueRequest {
            kind: convert::kind_number(kind).into(),
        };
        let answer = self
            .call(request, async |mut it, asked| it.next_due(asked).await)
            .await?;
        self.told_time(answer.now_ms);
        Ok((answer.next_due_at_ms > 0).then_some(Time(answer.next_due_at_ms)))
    }

    async fn claim_recovery(&self, command: ClaimRecovery) -> Result<Option<RecoveryTask>, TapeError> {
        let claim = pb::ClaimRequest {
            at_once: command.at_once,
            ..self.claim_of(DueKind::Recovery, &command.run, "", 0)
        };
        Ok(match self.claim(claim).await? {
            Some((Task::Recovery(task), _)) => convert::recovery(task),
            _ => None,
        })
    }

    async fn no_taker(&self, command: NoTaker) -> Result<(), TapeError> {
        let lease = self.lease(
            DueKind::Recovery,
            &command.run,
            String::new(),
            &self.config.reactor_id,
            0,
        );
        let outcome = Settled::Recovery(pb::RecoveryOutcome { error: command.error });
        self.settle(lease, outcome, String::new(), Default::default()).await
    }

    async fn claim_dispatch(&self, command: ClaimDispatch) -> Result<Option<DispatchTask>, TapeError> {
        let claim = pb::ClaimRequest {
            reactor_id: command.owner.clone(),
            connectors: command.connectors.map(|names| pb::ConnectorNames { names }),
            ..self.claim_of(DueKind::Outbox, &command.run, command.key.as_str(), command.ttl_ms)
        };
        Ok(match self.claim(claim).await? {
            Some((Task::Dispatch(task), attempt)) => convert::dispatch(command.run, command.key, attempt, task),
            _ => None,
        })
    }

    async fn mark_sent(&self, command: MarkSent) -> Result<(), TapeError> {
        let key = command.key.0;
        let request = pb::MarkSentRequest {
            lease: self.lease(DueKind::Outbox, &command.run, key, &command.owner, command.attempt),
            connector_version: command.version,
            connector_digest: command.digest,
        };
        self.call(request, async |mut it, asked| it.mark_sent(asked).await)
            .await
            .map(drop)
    }

    async fn renew_dispatch(&self, command: RenewDispatch) -> Result<(), TapeError> {
        let key = command.key.0;
        let request = pb::RenewRequest {
            lease: self.lease(DueKind::Outbox, &command.run, key, &command.owner, command.attempt),
            lease_ttl_ms: command.ttl_ms,
        };
        self.call(request, async |mut it, asked| it.renew(asked).await)
            .await
            .map(drop)
    }

    async fn settle_dispatch(&self, command: SettleDispatch) -> Result<(), TapeError> {
        let key = command.key.0;
        let lease = self.lease(DueKind::Outbox, &command.run, key, &command.owner, command.attempt);
        let outcome = Settled::Dispatch(convert::dispatched(command.outcome));
        let by = (command.version, command.digest);
        self.settle(lease, outcome, command.evidence_json, by).await
    }

    async fn claim_check(&self, command: ClaimCheck) -> Result<Option<CheckTask>, TapeError> {
        let claim = pb::ClaimRequest {
            reactor_id: command.owner.clone(),
            ..self.claim_of(DueKind::Reconcile, &command.run, command.key.as_str(), command.ttl_ms)
        };
        Ok(match self.claim(claim).await? {
            Some((Task::Reconcile(task), _)) => convert::check(command.run, command.key, task),
            _ => None,
        })
    }

    async fn record_observation(&self, command: RecordObservation) -> Result<(), TapeError> {
        let owner = command.owner.as_ref().unwrap_or(&self.config.reactor_id);
        let lease = self.lease(DueKind::Reconcile, &command.run, command.key.0, owner, 0);
        let outcome = convert::observation(command.observation);
        self.settle(lease, outcome, command.evidence_json, Default::default())
            .await
    }

    async fn claim_compensation(&self, claim: ClaimCompensation) -> Result<Option<CompensationTask>, TapeError> {
        let key = claim.seq.map(|seq| seq.to_string()).unwrap_or_default();
        let request = pb::ClaimRequest {
            reactor_id: claim.owner.clone(),
            at_once: claim.at_once,
            ..self.claim_of(DueKind::Compensation, &claim.run, &key, claim.ttl_ms)
        };
        Ok(match self.claim(request).await? {
            Some((Task::Compensation(task), _)) => convert::compensation(claim.run, task),
            _ => None,
        })
    }

    async fn settle_obligation(&self, command: SettleObligation) -> Result<(), TapeError> {
        let owner = command.owner.as_ref().unwrap_or(&self.config.reactor_id);
        let lease = self.lease(DueKind::Compensation, &command.run, command.seq.to_string(), owner, 0);
        let outcome = Settled::Compensate(convert::undone(command.outcome));
        self.settle(lease, outcome, command.evidence_json, Default::default())
            .await
    }

    async fn claim_timer(&self, command: ClaimTimer) -> Result<Option<TimerTask>, TapeError> {
        let claim = pb::ClaimRequest {
            reactor_id: command.owner.clone(),
            ahead_ms: command.ahead_ms,
            at_once: command.at_once,
            ..self.claim_of(DueKind::Timers, &command.run, &command.id, command.ttl_ms)
        };
        Ok(match self.claim(claim).await? {
            Some((Task::Timer(task), _)) => task.call.map(convert::timer),
            _ => None,
        })
    }

    async fn fire_timer(&self, command: FireTimer) -> Result<(), TapeError> {
        let request = pb::AcknowledgeTimerRequest {
            lease: self.lease(DueKind::Timers, &command.run, command.id, &command.owner, 0),
        };
        let acknowledged = self
            .call(request, async |mut it, asked| it.acknowledge_timer(asked).await)
            .await;
        acknowledged.map(drop)
    }

    async fn release_timer(&self, command: ReleaseTimer) -> Result<(), TapeError> {
        let request = pb::ReleaseRequest {
            lease: self.lease(DueKind::Timers, &command.run, command.id, &command.owner, 0),
            error: String::new(),
        };
        self.call(request, async |mut it, asked| it.release(asked).await)
            .await
            .map(drop)
    }
}

impl RemoteTape {
    fn claim_of(&self, kind: DueKind, run: &RunId, key: &str, ttl_ms: i64) -> pb::ClaimRequest {
        pb::ClaimRequest {
            work: Some(convert::work(kind, run, key.to_owned())),
            reactor_id: self.config.reactor_id.clone(),
            lease_ttl_ms: ttl_ms,
            ..pb::ClaimRequest::default()
        }
    }

    /// What there is to do, and the fence of its lease: for an effect, the number of the attempt that was claimed.
    async fn claim(&self, request: pb::ClaimRequest) -> Result<Option<(Task, u32)>, TapeError> {
        let answer = self.call(request, async |mut it, asked| it.claim(asked).await).await?;
        let fence = answer.lease.map_or(0, |lease| u32::try_from(lease.fence).unwrap_or(0));
        Ok(answer.task.filter(|_| answer.acquired).map(|task| (task, fence)))
    }

    fn lease(&self, kind: DueKind, run: &RunId, key: String, owner: &str, attempt: u32) -> Option<pb::WorkLease> {
        Some(pb::WorkLease {
            work: Some(convert::work(kind, run, key)),
            owner: owner.to_owned(),
            fence: attempt.into(),
        })
    }

    async fn settle(
        &self,
        lease: Option<pb::WorkLease>,
        outcome: Settled,
        evidence_json: String,
        (connector_version, connector_digest): (String, String),
    ) -> Result<(), TapeError> {
        let request = pb::SettleRequest {
            lease,
            evidence_json,
            connector_version,
            connector_digest,
            outcome: Some(outcome),
        };
        self.call(request, async |mut it, asked| it.settle(asked).await)
            .await
            .map(drop)
    }
}

/// The names that are both in what this process looks after and in what a reactor looks for; none stands for all.
fn both(ours: &[String], wanted: Option<&Vec<String>>) -> Vec<String> {
    match wanted {
        None => ours.to_vec(),
        Some(wanted) if ours.is_empty() => wanted.clone(),
        Some(wanted) => wanted.iter().filter(|name| ours.contains(name)).cloned().collect(),
    }
}
