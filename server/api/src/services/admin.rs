//! `Admin`: what operators and tools do.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tape_core::command::begin_run::StartRun;
use tape_core::command::compensate::{CompensateRun, StepCompensation};
use tape_core::command::end_run::CancelRun;
use tape_core::command::operator::{Redrive, ResolveEffect, ResolveObligation, RetryEffect};
use tape_core::effect::EffectState;
use tape_core::json::{check_name, not_found};
use tape_core::run::Caller;
use tape_core::{EffectKey, Refusal, RunId, RunIdentity, Time};
use tape_engine::{DumpPart, Position, RunFilter};
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::{Cx, Shared, stats};
use crate::convert::run::{labels, policy, state, status_number};
use crate::convert::{effect, effect_key, limit, obligation, run_id, unknown_number};
use crate::feed::Answers;
use crate::{origin, status};

pub(crate) struct AdminService {
    pub(crate) cx: Arc<Shared>,
}

macro_rules! admin {
    ($($rpc:ident($asked:ident) -> $answer:ident = $function:path;)*) => {
        #[tonic::async_trait]
        impl pb::admin_server::Admin for AdminService {
            type DumpRunStream = Answers<pb::DumpRunPart>;

            $(
                async fn $rpc(&self, request: Request<pb::$asked>) -> Result<Response<pb::$answer>, Status> {
                    let (metadata, extensions, asked) = request.into_parts();
                    let cx = self.cx.of(&metadata, &extensions);
                    cx.admit(&asked).await.map_err(status::of)?;
                    let answer = $function(&cx, &metadata, asked).await;
                    answer.map(Response::new).map_err(status::of)
                }
            )*

            async fn dump_run(
                &self,
                request: Request<pb::DumpRunRequest>,
            ) -> Result<Response<Self::DumpRunStream>, Status> {
                let (metadata, extensions, asked) = request.into_parts();
                let cx = self.cx.of(&metadata, &extensions);
                cx.admit(&asked).await.map_err(status::of)?;
                let parts = dump_run(&cx, asked).await;
                parts.map(Response::new).map_err(status::of)
            }
        }
    };
}

admin! {
    start_run(StartRunRequest) -> StartRunResponse = start_run;
    list_runs(ListRunsRequest) -> ListRunsResponse = list_runs;
    cancel_run(CancelRunRequest) -> CancelRunResponse = cancel_run;
    compensate_run(CompensateRunRequest) -> CompensateRunResponse = compensate_run;
    redrive(RedriveRequest) -> RedriveResponse = redrive;
    resolve_effect(ResolveEffectRequest) -> EffectRecord = resolve_effect;
    resolve_obligation(AdminResolveObligationRequest) -> ObligationRecord = resolve_obligation;
    retry_effect(RetryEffectRequest) -> EffectRecord = retry_effect;
    retry_task(RetryTaskRequest) -> Task = super::reaction::retry_task;
    stats(StatsRequest) -> StatsResponse = stats::stats;
}

async fn start_run(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::StartRunRequest,
) -> Result<pb::StartRunResponse, TapeError> {
    let invocation = if asked.invocation_id.is_empty() {
        cx.engine.fresh()
    } else {
        asked.invocation_id
    };
    let command = StartRun {
        identity: RunIdentity {
            tenant: cx.caller.tenant("tenant_id", &asked.tenant_id)?,
            app: asked.app_name,
            user: asked.user_id,
            session: asked.session_id,
            invocation,
        },
        caller: Caller {
            labels: labels(asked.labels)?,
            ..Caller::default()
        },
        input_json: asked.input_json,
    };
    let begun = cx.engine.execute(&command, origin::trace(metadata)).await?;
    Ok(pb::StartRunResponse {
        run_id: begun.run.id.0.clone(),
        created: !begun.resumed,
        run: Some(state(begun.run)),
    })
}

async fn list_runs(cx: &Cx, _: &MetadataMap, asked: pb::ListRunsRequest) -> Result<pb::ListRunsResponse, TapeError> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    let statuses = asked.statuses.iter().map(|number| status_number("statuses", *number));
    let filter = RunFilter {
        tenant: cx.caller.narrowed("tenant_id", &asked.tenant_id)?,
        app: some(asked.app_name),
        user: some(asked.user_id),
        statuses: statuses.collect::<Result<_, _>>()?,
        created_until: (asked.older_than_ms > 0).then(|| cx.engine.now().after(-asked.older_than_ms)),
        labels: asked.attributes.into_iter().collect(),
        after: read_token(&asked.page_token)?,
        limit: limit("page_size", asked.page_size.into(), 100, 1000)?,
    };
    let page = cx.engine.list_runs(&filter).await?;
    Ok(pb::ListRunsResponse {
        runs: page.items.into_iter().map(state).collect(),
        next_page_token: page.next.as_ref().map(token).unwrap_or_default(),
    })
}

/// A place in a listing as a token that says nothing to its holder.
fn token(position: &Position) -> String {
    BASE64URL_NOPAD.encode(format!("{} {}", position.created.0, position.id).as_bytes())
}

fn read_token(token: &str) -> Result<Option<Position>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let position = || {
        let bytes = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (created, id) = text.split_once(' ')?;
        Some(Position {
            created: Time(created.parse().ok()?),
            id: id.to_owned(),
        })
    };
    position().map(Some).ok_or_else(|| {
        Refusal::invalid(
            "page_token",
            token,
            "page_token is not one of this server's.",
            "Send next_page_token of the page before, or nothing for the first page.",
        )
    })
}

/// Rows first, then the journal chunk by chunk as the caller takes it.
async fn dump_run(cx: &Cx, asked: pb::DumpRunRequest) -> Result<Answers<pb::DumpRunPart>, TapeError> {
    let run = run_id(&asked.run_id)?;
    let rows = cx.engine.dump_rows(&run).await?;
    let engine = cx.engine.clone();
    let journal = stream::try_unfold(Some(1), move |from| {
        let (engine, run) = (engine.clone(), run.clone());
        async move {
            let Some(from) = from else {
                return Ok::<_, Status>(None);
            };
            let (parts, next) = engine.dump_journal(&run, from).await.map_err(status::of)?;
            Ok(Some((stream::iter(parts.into_iter().map(part).map(Ok)), next)))
        }
    });
    let rows = stream::iter(rows.into_iter().map(part).map(Ok));
    Ok(rows.chain(journal.try_flatten()).boxed())
}

fn part(part: DumpPart) -> pb::DumpRunPart {
    pb::DumpRunPart {
        section: part.section.to_owned(),
        json: part.json,
    }
}

async fn cancel_run(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::CancelRunRequest,
) -> Result<pb::CancelRunResponse, TapeError> {
    let run = run_id(&asked.run_id)?;
    let command = CancelRun {
        run: run.clone(),
        reason: asked.reason.clone(),
    };
    let cancelled = cx.engine.execute(&command, origin::trace(metadata)).await?;
    cx.hub.cancel(&run, &asked.reason);
    Ok(pb::CancelRunResponse {
        run: Some(state(cancelled)),
    })
}

async fn compensate_run(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::CompensateRunRequest,
) -> Result<pb::CompensateRunResponse, TapeError> {
    let run = run_id(&asked.run_id)?;
    let command = CompensateRun {
        run: run.clone(),
        reason: asked.reason,
        policy: policy(asked.policy)?,
    };
    cx.engine.execute(&command, origin::trace(metadata)).await?;
    // The first step says what there is to undo. It is the reactor's own, and may be taken by anybody.
    let step = StepCompensation {
        run: run.clone(),
        at_once: false,
    };
    cx.engine.execute(&step, None).await?;
    let mut obligations = cx.engine.obligations(&run).await?;
    obligations.retain(|obligation| obligation.order.is_some());
    obligations.sort_by_key(|obligation| std::cmp::Reverse(obligation.order));
    Ok(pb::CompensateRunResponse {
        run: Some(state(cx.engine.run(&run).await?)),
        obligations: obligations
            .into_iter()
            .map(|found| obligation::record(&run, found))
            .collect(),
    })
}

async fn redrive(cx: &Cx, metadata: &MetadataMap, asked: pb::RedriveRequest) -> Result<pb::RedriveResponse, TapeError> {
    let run = run_id(&asked.run_id)?;
    if !cx.engine.run(&run).await?.state.live() {
        check_name("reason", &asked.reason)?;
    }
    let command = Redrive {
        run,
        reason: asked.reason,
    };
    let run = cx.engine.execute(&command, origin::trace(metadata)).await?;
    Ok(pb::RedriveResponse { run: Some(state(run)) })
}

async fn resolve_effect(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::ResolveEffectRequest,
) -> Result<pb::EffectRecord, TapeError> {
    let confirmed = match pb::EffectStatus::try_from(asked.status) {
        Ok(pb::EffectStatus::Confirmed) => true,
        Ok(pb::EffectStatus::Failed) => false,
        _ => return Err(unknown_number("status", asked.status, "CONFIRMED (2), FAILED (3)").into()),
    };
    signed_by(&asked.reason, &asked.who)?;
    let run = run_id(&asked.run_id)?;
    let key = effect_key("idempotency_key", &asked.idempotency_key)?;
    let settled = existing(cx, &run, &key).await?;
    let as_asked = match settled.state {
        EffectState::Confirmed => confirmed,
        EffectState::Failed => !confirmed,
        _ => false,
    };
    if as_asked {
        return Ok(effect::record(&run, settled));
    }
    let command = ResolveEffect {
        run: run.clone(),
        key,
        confirmed,
        external_ref: asked.external_ref,
        response_json: asked.response_json,
        reason: asked.reason,
        who: asked.who,
    };
    let resolved = cx.engine.execute(&command, origin::trace(metadata)).await?;
    Ok(effect::record(&run, resolved))
}

async fn existing(cx: &Cx, run: &RunId, key: &EffectKey) -> Result<tape_core::effect::Effect, TapeError> {
    let effect = cx.engine.effect(run, key).await?;
    effect.ok_or_else(|| not_found("TAPE-E001", "effect", key.as_str()).into())
}

async fn resolve_obligation(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::AdminResolveObligationRequest,
) -> Result<pb::ObligationRecord, TapeError> {
    let compensated = match pb::ObligationStatus::try_from(asked.status) {
        Ok(pb::ObligationStatus::Compensated) => true,
        Ok(pb::ObligationStatus::Stuck) => false,
        _ => return Err(unknown_number("status", asked.status, "COMPENSATED (3), STUCK (4)").into()),
    };
    signed_by(&asked.reason, &asked.who)?;
    let run = run_id(&asked.run_id)?;
    let command = ResolveObligation {
        run: run.clone(),
        seq: asked.obligation_seq,
        compensated,
        result_json: String::new(),
        reason: asked.reason,
        who: asked.who,
    };
    let resolved = cx.engine.execute(&command, origin::trace(metadata)).await?;
    Ok(obligation::record(&run, resolved))
}

async fn retry_effect(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::RetryEffectRequest,
) -> Result<pb::EffectRecord, TapeError> {
    signed_by(&asked.reason, &asked.who)?;
    let run = run_id(&asked.run_id)?;
    let command = RetryEffect {
        run: run.clone(),
        key: effect_key("idempotency_key", &asked.idempotency_key)?,
        reserved: None,
        reason: asked.reason,
        who: asked.who,
    };
    let retried = cx.engine.retry_effect(command, origin::trace(metadata)).await?;
    Ok(effect::record(&run, retried))
}

/// What a person settles goes into the journal with why and by whom.
fn signed_by(reason: &str, who: &str) -> Result<(), Refusal> {
    check_name("reason", reason)?;
    check_name("who", who)
}
