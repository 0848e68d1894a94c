//! `Tape`, RPC by RPC: which function of which area answers it.

use std::sync::Arc;

use tape_proto::v1 as pb;
use tonic::{Request, Response, Status};

use super::{
    Shared, budget, decision, effect, events, gate, obligation, outbox, reaction, retention, run, session, timer, value,
};
use crate::feed::Answers;
use crate::status;

pub(crate) struct TapeService {
    pub(crate) cx: Arc<Shared>,
}

/// The whole service: which area answers which RPC.
macro_rules! tape {
    ($($rpc:ident($asked:ident) -> $answer:ident = $area:ident;)*) => {
        #[tonic::async_trait]
        impl pb::tape_server::Tape for TapeService {
            type SubscribeRunStream = Answers<pb::JournalEntry>;
            type SubscribeEventsStream = Answers<pb::EventEntry>;
            type SubscribeBySubjectStream = Answers<pb::EventEntry>;
            type WatchValueStream = Answers<pb::ValueEvent>;

            $(
                async fn $rpc(&self, request: Request<pb::$asked>) -> Result<Response<pb::$answer>, Status> {
                    let (metadata, extensions, asked) = request.into_parts();
                    let cx = self.cx.of(&metadata, &extensions);
                    cx.admit(&asked).await.map_err(status::of)?;
                    let answer = $area::$rpc(&cx, &metadata, asked).await;
                    answer.map(Response::new).map_err(status::of)
                }
            )*

            async fn subscribe_run(
                &self,
                request: Request<pb::SubscribeRunRequest>,
            ) -> Result<Response<Self::SubscribeRunStream>, Status> {
                let (metadata, extensions, asked) = request.into_parts();
                let cx = self.cx.of(&metadata, &extensions);
                cx.admit(&asked).await.map_err(status::of)?;
                let entries = run::subscribe_run(&cx, asked).await;
                entries.map(Response::new).map_err(status::of)
            }

            async fn subscribe_events(
                &self,
                request: Request<pb::SubscribeEventsRequest>,
            ) -> Result<Response<Self::SubscribeEventsStream>, Status> {
                let (metadata, extensions, asked) = request.into_parts();
                let cx = self.cx.of(&metadata, &extensions);
                cx.admit(&asked).await.map_err(status::of)?;
                let events = events::subscribe_events(&cx, asked);
                events.map(Response::new).map_err(status::of)
            }

            async fn subscribe_by_subject(
                &self,
                request: Request<pb::SubscribeBySubjectRequest>,
            ) -> Result<Response<Self::SubscribeBySubjectStream>, Status> {
                let (metadata, extensions, asked) = request.into_parts();
                let cx = self.cx.of(&metadata, &extensions);
                cx.admit(&asked).await.map_err(status::of)?;
                let events = events::subscribe_by_subject(&cx, asked);
                events.map(Response::new).map_err(status::of)
            }

            async fn watch_value(
                &self,
                request: Request<pb::WatchValueRequest>,
            ) -> Result<Response<Self::WatchValueStream>, Status> {
                let (metadata, extensions, asked) = request.into_parts();
                let cx = self.cx.of(&metadata, &extensions);
                cx.admit(&asked).await.map_err(status::of)?;
                let changes = value::watch_value(&cx, asked);
                changes.map(Response::new).map_err(status::of)
            }
        }
    };
}

tape! {
    begin_run(BeginRunRequest) -> BeginRunResponse = run;
    resume_run(ResumeRunRequest) -> ResumeRunResponse = run;
    end_run(EndRunRequest) -> EndRunResponse = run;
    get_run(GetRunRequest) -> RunState = run;
    list_runs_to_recover(ListRunsToRecoverRequest) -> ListRunsToRecoverResponse = run;
    record_decision(RecordDecisionRequest) -> DecisionRecord = decision;
    get_decision(GetDecisionRequest) -> GetDecisionResponse = decision;
    begin_effect(BeginEffectRequest) -> BeginEffectResponse = effect;
    complete_effect(CompleteEffectRequest) -> EffectRecord = effect;
    get_effect(GetEffectRequest) -> GetEffectResponse = effect;
    reconcile_effect(ReconcileEffectRequest) -> EffectRecord = effect;
    list_pending_effects(ListPendingEffectsRequest) -> ListPendingEffectsResponse = effect;
    list_effects_to_dispatch(ListEffectsToDispatchRequest) -> ListEffectsToDispatchResponse = outbox;
    claim_effect_dispatch(ClaimEffectDispatchRequest) -> ClaimEffectDispatchResponse = outbox;
    record_dispatch_attempt(RecordDispatchAttemptRequest) -> EffectRecord = outbox;
    record_external_observation(RecordExternalObservationRequest) -> EffectRecord = outbox;
    register_compensation(RegisterCompensationRequest) -> ObligationRecord = obligation;
    list_obligations(ListObligationsRequest) -> ListObligationsResponse = obligation;
    list_unresolved_obligations(ListUnresolvedObligationsRequest) -> ListUnresolvedObligationsResponse = obligation;
    claim_obligation(ClaimObligationRequest) -> ClaimObligationResponse = obligation;
    record_obligation_attempt(RecordObligationAttemptRequest) -> ObligationRecord = obligation;
    resolve_obligation(ResolveObligationRequest) -> ObligationRecord = obligation;
    set_budget(SetBudgetRequest) -> BudgetState = budget;
    admit_budget(AdmitBudgetRequest) -> AdmitBudgetResponse = budget;
    charge_budget(ChargeBudgetRequest) -> BudgetState = budget;
    await_signal(AwaitSignalRequest) -> AwaitSignalResponse = gate;
    send_signal(SendSignalRequest) -> SendSignalResponse = gate;
    set_timer(SetTimerRequest) -> TimerRecord = timer;
    cancel_timer(CancelTimerRequest) -> CancelTimerResponse = timer;
    list_due_timers(ListDueTimersRequest) -> ListDueTimersResponse = timer;
    create_session(CreateSessionRequest) -> Session = session;
    get_session(GetSessionRequest) -> GetSessionResponse = session;
    list_sessions(ListSessionsRequest) -> ListSessionsResponse = session;
    delete_session(DeleteSessionRequest) -> DeleteSessionResponse = session;
    append_event(AppendEventRequest) -> AppendEventResponse = session;
    write_value(WriteValueRequest) -> ValueRecord = value;
    get_value(GetValueRequest) -> GetValueResponse = value;
    delete_value(DeleteValueRequest) -> DeleteValueResponse = value;
    list_compactable_runs(ListCompactableRunsRequest) -> ListCompactableRunsResponse = retention;
    compact_run(CompactRunRequest) -> CompactRunResponse = retention;
    register_reaction(Reaction) -> Reaction = reaction;
    deregister_reaction(DeregisterReactionRequest) -> DeregisterReactionResponse = reaction;
    list_reactions(ListReactionsRequest) -> ListReactionsResponse = reaction;
    claim_tasks(ClaimTasksRequest) -> ClaimTasksResponse = reaction;
    complete_task(CompleteTaskRequest) -> CompleteTaskResponse = reaction;
    nack_task(NackTaskRequest) -> NackTaskResponse = reaction;
    list_tasks(ListTasksRequest) -> ListTasksResponse = reaction;
}
