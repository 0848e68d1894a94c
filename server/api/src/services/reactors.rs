//! `Reactors`: the port over gRPC, for reactors in processes of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tape_core::command::dispatch::{ClaimDispatch, MarkSent, Outcome, RenewDispatch, SettleDispatch};
use tape_core::command::obligation::SettleObligation;
use tape_core::command::observe::{ClaimCheck, IfAbsent, RecordObservation};
use tape_core::command::recovery::{ClaimRecovery, NoTaker};
use tape_core::command::timer::{ClaimTimer, FireTimer, ReleaseTimer};
use tape_core::connector::{CHUNK_BYTES, ConnectorName};
use tape_core::effect::EffectState;
use tape_core::json::{check_name, not_found};
use tape_core::{DueKind, EffectKey, Refusal, RunId, Time};
use tape_port::{ClaimCompensation, Deployments as _, DueWork, Tape, TapeError, WorkerError};
use tape_proto::v1 as pb;
use tonic::{Request, Response, Status};

use super::{Cx, Shared};
use crate::convert::work::{About, Work};
use crate::convert::{connector, limit, moment, signed, work};
use crate::feed::{self, Answers};
use crate::hub::ConnectorCall;
use crate::status;

/// Lines that a reactor tells at once.
const LINES_MAX: usize = 1_000;
/// How far ahead work is named.
const AHEAD_MS_MAX: i64 = 60_000;
/// How far ahead a timer can be claimed.
const CLAIM_AHEAD_MS_MAX: i64 = 1_000;
/// How long a worker is waited for.
const ANSWER_MS: i64 = 30_000;
const ANSWER_MS_MAX: i64 = 300_000;

pub(crate) struct ReactorsService {
    pub(crate) cx: Arc<Shared>,
}

impl ReactorsService {
    /// The surroundings of a request, which is for those alone who work for all tenants.
    fn of<T>(&self, request: Request<T>) -> Result<(Cx, T), Status> {
        let (metadata, extensions, asked) = request.into_parts();
        let cx = self.cx.of(&metadata, &extensions);
        cx.caller
            .all("A reactor")
            .map_err(|refusal| status::of(refusal.into()))?;
        Ok((cx, asked))
    }
}

macro_rules! answered {
    ($($rpc:ident($asked:ident) -> $answer:ident;)*) => {
        #[tonic::async_trait]
        impl pb::reactors_server::Reactors for ReactorsService {
            type WatchStream = Answers<pb::Wake>;
            type FollowConnectorsStream = Answers<pb::DeployedConnector>;
            type FetchComponentStream = Answers<pb::ComponentChunk>;

            $(
                async fn $rpc(&self, request: Request<pb::$asked>) -> Result<Response<pb::$answer>, Status> {
                    let (cx, asked) = self.of(request)?;
                    $rpc(&cx, asked).await.map(Response::new).map_err(status::of)
                }
            )*

            async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
                let (cx, asked) = self.of(request)?;
                watch(&cx, &asked).map(Response::new).map_err(status::of)
            }

            async fn follow_connectors(
                &self,
                request: Request<pb::FollowConnectorsRequest>,
            ) -> Result<Response<Self::FollowConnectorsStream>, Status> {
                let (cx, asked) = self.of(request)?;
                follow_connectors(&cx, asked).await.map(Response::new).map_err(status::of)
            }

            async fn fetch_component(
                &self,
                request: Request<pb::FetchComponentRequest>,
            ) -> Result<Response<Self::FetchComponentStream>, Status> {
                let (cx, asked) = self.of(request)?;
                fetch_component(&cx, asked).await.map(Response::new).map_err(status::of)
            }

            async fn call_worker(
                &self,
                request: Request<pb::CallWorkerRequest>,
            ) -> Result<Response<pb::CallWorkerResponse>, Status> {
                let (cx, asked) = self.of(request)?;
                call_worker(&cx, asked).await.map(Response::new)
            }
        }
    };
}

answered! {
    due(DueRequest) -> DueResponse;
    next_due(NextDueRequest) -> NextDueResponse;
    claim(ClaimRequest) -> ClaimResponse;
    renew(RenewRequest) -> RenewResponse;
    mark_sent(MarkSentRequest) -> MarkSentResponse;
    settle(SettleRequest) -> SettleResponse;
    release(ReleaseRequest) -> ReleaseResponse;
    acknowledge_timer(AcknowledgeTimerRequest) -> AcknowledgeTimerResponse;
    report_lines(ReportLinesRequest) -> ReportLinesResponse;
}

fn watch(cx: &Cx, asked: &pb::WatchRequest) -> Result<Answers<pb::Wake>, TapeError> {
    check_name("reactor_id", &asked.reactor_id)?;
    let kinds = asked.kinds.iter().map(|number| work::kind(*number));
    let kinds = kinds.collect::<Result<Vec<DueKind>, Refusal>>()?;
    if kinds.is_empty() {
        return Err(Refusal::invalid("kinds", "[]", "No kind of work is named.", "Name at least one.").into());
    }
    let due = kinds.into_iter().map(|kind| (kind, cx.engine.watch_due(kind)));
    let connectors = cx.engine.deployments();
    Ok(feed::wakes(
        due.collect(),
        connectors,
        cx.hub.clone(),
        cx.closing.clone(),
    ))
}

async fn follow_connectors(
    cx: &Cx,
    asked: pb::FollowConnectorsRequest,
) -> Result<Answers<pb::DeployedConnector>, TapeError> {
    let known = asked.known.into_iter();
    let known = known
        .map(|one| (ConnectorName::new(one.tenant_id, one.name), one.seq))
        .collect();
    let changed = cx.engine.deployed_since(&known).await?;
    Ok(stream::iter(changed.into_iter().map(|deployed| Ok(connector::deployed(deployed)))).boxed())
}

async fn report_lines(cx: &Cx, asked: pb::ReportLinesRequest) -> Result<pb::ReportLinesResponse, TapeError> {
    check_name("reactor_id", &asked.reactor_id)?;
    if asked.lines.len() > LINES_MAX {
        return Err(Refusal::invalid(
            "lines",
            &asked.lines.len().to_string(),
            format!("At most {LINES_MAX} lines are taken at once."),
            "Send fewer, more often.",
        )
        .into());
    }
    let Some(host) = cx.host.clone() else {
        return Ok(pb::ReportLinesResponse {});
    };
    let mut by_name = BTreeMap::<ConnectorName, Vec<pb::ConnectorLine>>::new();
    for reported in asked.lines {
        let name = ConnectorName::new(reported.tenant_id, reported.name);
        by_name.entry(name).or_default().extend(reported.line);
    }
    for (name, lines) in by_name {
        // What is not there has no logs: nobody can ask for them.
        if cx.engine.connector(&name).await.is_err() {
            continue;
        }
        for line in lines {
            host.told(&name, connector::reported(line, &asked.reactor_id));
        }
    }
    Ok(pb::ReportLinesResponse {})
}

async fn fetch_component(cx: &Cx, asked: pb::FetchComponentRequest) -> Result<Answers<pb::ComponentChunk>, TapeError> {
    let name = ConnectorName::new(asked.tenant_id, asked.name);
    let bytes = cx.engine.component_of(&name, &asked.version).await?;
    let chunks = (0..bytes.len()).step_by(CHUNK_BYTES).map(move |at| {
        let end = bytes.len().min(at + CHUNK_BYTES);
        Ok(pb::ComponentChunk {
            bytes: bytes[at..end].to_vec(),
        })
    });
    Ok(stream::iter(chunks).boxed())
}

async fn due(cx: &Cx, asked: pb::DueRequest) -> Result<pb::DueResponse, TapeError> {
    check_name("reactor_id", &asked.reactor_id)?;
    let kind = work::kind(asked.kind)?;
    let served = work::served(asked.served);
    let now = cx.engine.now();
    cx.remotes.asked(&asked.reactor_id, kind, served.clone(), now);
    let some = |names: Vec<String>| (!names.is_empty()).then_some(names);
    let wanted = DueWork {
        kind,
        tenants: some(asked.tenant_ids),
        apps: some(asked.app_names),
        served,
        ahead_ms: asked.ahead_ms.clamp(0, AHEAD_MS_MAX),
        limit: limit("limit", asked.limit.into(), 100, 1000)?,
    };
    let items = cx.engine.due_work(&wanted).await?;
    Ok(pb::DueResponse {
        items: items.into_iter().filter_map(|item| work::item(kind, item)).collect(),
        now_ms: now.0,
    })
}

async fn next_due(cx: &Cx, asked: pb::NextDueRequest) -> Result<pb::NextDueResponse, TapeError> {
    let next = Tape::next_due(&*cx.engine, work::kind(asked.kind)?).await?;
    Ok(pb::NextDueResponse {
        next_due_at_ms: moment(next),
        now_ms: cx.engine.now().0,
    })
}

async fn claim(cx: &Cx, asked: pb::ClaimRequest) -> Result<pb::ClaimResponse, TapeError> {
    use pb::claim_response::Task;
    check_name("reactor_id", &asked.reactor_id)?;
    let (owner, ttl_ms) = (asked.reactor_id, asked.lease_ttl_ms);
    let ahead_ms = asked.ahead_ms.clamp(0, CLAIM_AHEAD_MS_MAX);
    let Work { run, about } = work::work(asked.work)?;
    let (tape, o) = (&cx.engine, owner.clone());
    let task = match about {
        About::Recovery => {
            let command = ClaimRecovery {
                run: run.clone(),
                at_once: asked.at_once,
            };
            let task = tape.claim_recovery(command).await?;
            task.map(|task| {
                (
                    DueKind::Recovery,
                    String::new(),
                    0,
                    Task::Recovery(work::recovery(&task)),
                )
            })
        }
        About::Outbox(key) => {
            let command = ClaimDispatch {
                run: run.clone(),
                key: key.clone(),
                owner: o,
                ttl_ms,
                two_phase: true,
                connectors: asked.connectors.map(|connectors| connectors.names),
            };
            let task = tape.claim_dispatch(command).await?;
            task.map(|task| {
                (
                    DueKind::Outbox,
                    key.0,
                    task.attempt,
                    Task::Dispatch(work::dispatch(&task)),
                )
            })
        }
        About::Reconcile(key) => {
            let command = ClaimCheck {
                run: run.clone(),
                key: key.clone(),
                owner: o,
                ttl_ms,
            };
            let task = tape.claim_check(command).await?;
            task.map(|task| (DueKind::Reconcile, key.0, 0, Task::Reconcile(work::check(&task))))
        }
        About::Timer(id) => {
            let command = ClaimTimer {
                run: run.clone(),
                id: id.clone(),
                owner: o,
                ttl_ms,
                ahead_ms,
                at_once: asked.at_once,
            };
            let task = tape.claim_timer(command).await?;
            task.map(|task| (DueKind::Timers, id, 0, Task::Timer(work::timer(&task))))
        }
        About::Compensation(seq) => {
            let claim = ClaimCompensation {
                run: run.clone(),
                seq,
                owner: o,
                ttl_ms,
                at_once: asked.at_once,
            };
            let task = tape.claim_compensation(claim).await?;
            task.map(|task| {
                let seq = task.seq.to_string();
                (
                    DueKind::Compensation,
                    seq,
                    0,
                    Task::Compensation(work::compensation(&task)),
                )
            })
        }
    };
    let Some((kind, key, fence, task)) = task else {
        return Ok(pb::ClaimResponse::default());
    };
    Ok(pb::ClaimResponse {
        acquired: true,
        lease: Some(pb::WorkLease {
            work: Some(work::named(kind, &run, key)),
            owner,
            fence: signed(fence.into()),
        }),
        task: Some(task),
    })
}

async fn renew(cx: &Cx, asked: pb::RenewRequest) -> Result<pb::RenewResponse, TapeError> {
    let lease = Lease::read(asked.lease)?;
    let key = lease.outbox("Renew")?;
    let command = RenewDispatch {
        attempt: lease.attempt(cx, &key).await?,
        run: lease.run,
        key,
        owner: lease.owner,
        ttl_ms: asked.lease_ttl_ms,
    };
    cx.engine.renew_dispatch(command).await?;
    Ok(pb::RenewResponse {})
}

async fn mark_sent(cx: &Cx, asked: pb::MarkSentRequest) -> Result<pb::MarkSentResponse, TapeError> {
    let lease = Lease::read(asked.lease)?;
    let key = lease.outbox("MarkSent")?;
    let command = MarkSent {
        attempt: lease.attempt(cx, &key).await?,
        run: lease.run,
        key,
        owner: lease.owner,
        version: asked.connector_version,
        digest: asked.connector_digest,
    };
    cx.engine.mark_sent(command).await?;
    Ok(pb::MarkSentResponse {})
}

async fn settle(cx: &Cx, asked: pb::SettleRequest) -> Result<pb::SettleResponse, TapeError> {
    use pb::settle_request::Outcome as Said;
    let lease = Lease::read(asked.lease)?;
    let (tape, evidence_json) = (&cx.engine, asked.evidence_json);
    match (lease.about.clone(), asked.outcome) {
        (About::Recovery, Some(Said::Recovery(outcome))) => {
            let command = NoTaker {
                run: lease.run,
                error: outcome.error,
            };
            tape.no_taker(command).await?;
        }
        (About::Outbox(key), Some(Said::Dispatch(outcome))) => {
            let outcome = work::dispatched(outcome).ok_or_else(|| empty("dispatch"))?;
            let command = SettleDispatch {
                attempt: lease.attempt(cx, &key).await?,
                run: lease.run,
                key,
                owner: lease.owner,
                outcome,
                evidence_json,
                version: asked.connector_version,
                digest: asked.connector_digest,
            };
            tape.settle_dispatch(command).await?;
        }
        (About::Reconcile(key), Some(said @ (Said::Status(_) | Said::Observe(_)))) => {
            let observation = match said {
                Said::Status(answer) => work::checked(answer),
                Said::Observe(answer) => work::observed(answer),
                _ => None,
            };
            let command = RecordObservation {
                run: lease.run,
                key,
                owner: Some(lease.owner),
                observation: observation.ok_or_else(|| empty("observe"))?,
                if_absent: IfAbsent::default(),
                surplus: None,
                evidence_json,
            };
            tape.record_observation(command).await?;
        }
        (About::Compensation(Some(seq)), Some(Said::Compensate(outcome))) => {
            let command = SettleObligation {
                run: lease.run,
                seq,
                owner: Some(lease.owner),
                outcome: work::undone(outcome).ok_or_else(|| empty("compensate"))?,
                evidence_json,
            };
            tape.settle_obligation(command).await?;
        }
        (about, _) => return Err(unfit(&about, "outcome").into()),
    }
    Ok(pb::SettleResponse {})
}

async fn release(cx: &Cx, asked: pb::ReleaseRequest) -> Result<pb::ReleaseResponse, TapeError> {
    let lease = Lease::read(asked.lease)?;
    match lease.about.clone() {
        About::Outbox(key) => {
            let reason = if asked.error.is_empty() {
                "its reactor gave it back".to_owned()
            } else {
                asked.error
            };
            let effect = effect(cx, &lease.run, &key).await?;
            let outcome = if matches!(effect.state, EffectState::Sent(_)) {
                Outcome::Unknown { reason }
            } else {
                Outcome::NothingSent {
                    reason,
                    retry_after_ms: Some(0),
                }
            };
            let command = SettleDispatch {
                attempt: lease.attempt(cx, &key).await?,
                run: lease.run,
                key,
                owner: lease.owner,
                outcome,
                evidence_json: String::new(),
                version: String::new(),
                digest: String::new(),
            };
            cx.engine.settle_dispatch(command).await?;
        }
        About::Timer(id) => {
            let (run, owner) = (lease.run, lease.owner);
            cx.engine.release_timer(ReleaseTimer { run, id, owner }).await?;
        }
        about => return Err(unfit(&about, "lease.work.kind").into()),
    }
    Ok(pb::ReleaseResponse {})
}

async fn acknowledge_timer(
    cx: &Cx,
    asked: pb::AcknowledgeTimerRequest,
) -> Result<pb::AcknowledgeTimerResponse, TapeError> {
    let lease = Lease::read(asked.lease)?;
    let About::Timer(id) = lease.about else {
        return Err(unfit(&lease.about, "lease.work.kind").into());
    };
    let (run, owner) = (lease.run, lease.owner);
    cx.engine.fire_timer(FireTimer { run, id, owner }).await?;
    Ok(pb::AcknowledgeTimerResponse {})
}

async fn call_worker(cx: &Cx, asked: pb::CallWorkerRequest) -> Result<pb::CallWorkerResponse, Status> {
    use pb::worker_call::Call;
    check_name("app_name", &asked.app_name).map_err(|refusal| status::of(refusal.into()))?;
    let asked_call = asked.call.unwrap_or_default();
    let begin_by = Time(asked_call.begin_by_ms);
    let call = match asked_call.call {
        Some(
            call @ (Call::Redrive(_)
            | Call::StatusCheck(_)
            | Call::Compensate(_)
            | Call::Dispatch(_)
            | Call::Observe(_)
            | Call::Timer(_)),
        ) => call,
        _ => {
            let refusal = Refusal::invalid(
                "call",
                "",
                "The call is none that a reactor may put.",
                "Send redrive, status_check, compensate, dispatch, observe or timer.",
            );
            return Err(status::of(refusal.into()));
        }
    };
    let asked_ms = if asked.timeout_ms <= 0 {
        ANSWER_MS
    } else {
        asked.timeout_ms
    };
    let within = Duration::from_millis(asked_ms.min(ANSWER_MS_MAX).unsigned_abs());
    let put = match ConnectorCall::of(&asked.tenant_id, &asked.app_name, call, begin_by) {
        Ok(call) => cx.hub.ask_connector(call, Some(within)).await,
        Err(call) => cx.hub.put(&asked.tenant_id, &asked.app_name, *call, Some(within)).await,
    };
    let (worker_id, answer) = match put {
        Ok((worker, answer)) => (worker.id.clone(), answer),
        Err(WorkerError::Refused {
            worker,
            code,
            message,
            retryable,
        }) => {
            let refused = pb::Refused {
                code,
                message,
                retryable,
            };
            (worker, crate::hub::Answer::Refused(refused))
        }
        Err(error) => return Err(status::worker(&error)),
    };
    Ok(pb::CallWorkerResponse {
        worker_id,
        answer: Some(pb::WorkerAnswer {
            call_id: String::new(),
            answer: Some(answer),
        }),
    })
}

/// What a request says of its claim.
struct Lease {
    run: RunId,
    about: About,
    owner: String,
    fence: i64,
}

impl Lease {
    fn read(asked: Option<pb::WorkLease>) -> Result<Self, Refusal> {
        let asked = asked.unwrap_or_default();
        check_name("lease.owner", &asked.owner)?;
        let Work { run, about } = work::work(asked.work)?;
        Ok(Self {
            run,
            about,
            owner: asked.owner,
            fence: asked.fence,
        })
    }

    /// The effect that is dispatched under it.
    fn outbox(&self, what: &str) -> Result<EffectKey, Refusal> {
        match &self.about {
            About::Outbox(key) => Ok(key.clone()),
            about => Err(Refusal::invalid(
                "lease.work.kind",
                about.name(),
                format!("{what} is for OUTBOX."),
                "Settle the work before its lease runs out.",
            )),
        }
    }

    /// The attempt that was claimed. Dispatchers that claimed by the plain contract know no number: theirs is the last.
    async fn attempt(&self, cx: &Cx, key: &EffectKey) -> Result<u32, TapeError> {
        if self.fence == 0 {
            let effect = effect(cx, &self.run, key).await?;
            return Ok(effect.attempt().map_or(0, |attempt| attempt.number));
        }
        u32::try_from(self.fence).map_err(|_| {
            Refusal::invalid(
                "lease.fence",
                &self.fence.to_string(),
                "The fence is no attempt's number.",
                "Send the lease as Claim gave it.",
            )
            .into()
        })
    }
}

impl About {
    fn name(&self) -> &'static str {
        match self {
            Self::Recovery => "RECOVERY",
            Self::Outbox(_) => "OUTBOX",
            Self::Reconcile(_) => "RECONCILE",
            Self::Timer(_) => "TIMER",
            Self::Compensation(_) => "COMPENSATION",
        }
    }
}

async fn effect(cx: &Cx, run: &RunId, key: &EffectKey) -> Result<tape_core::effect::Effect, TapeError> {
    let effect = cx.engine.effect(run, key).await?;
    effect.ok_or_else(|| not_found("TAPE-E001", "effect", key.as_str()).into())
}

fn empty(field: &'static str) -> Refusal {
    Refusal::invalid(field, "", "The outcome says nothing.", "Set one of its fields.")
}

fn unfit(about: &About, field: &'static str) -> Refusal {
    Refusal::invalid(
        field,
        about.name(),
        format!("It does not fit work of kind {}.", about.name()),
        "See reactors.proto for what ends which kind of work.",
    )
}
