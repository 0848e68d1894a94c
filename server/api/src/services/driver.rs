//! `Driver`: the calls of one app process on one stream.
//!
//! ```text
//! requests, numbered ─▶ so many side by side ─▶ the area that answers its RPC ─▶ answers, in any order
//! ```

use std::sync::Arc;

use futures_util::future::ready;
use futures_util::{Stream, StreamExt as _};
use prost::Message as _;
use tape_port::TapeError;
use tape_proto::ERROR_DETAIL_TRAILER;
use tape_proto::v1 as pb;
use tape_proto::v1::driver_answer::Answer;
use tape_proto::v1::driver_request::Request as Asked;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::{Cx, Shared, budget, decision, effect, gate, obligation, run, session, timer, value};
use crate::feed::Answers;
use crate::observe::Call;
use crate::status;

/// Requests of one stream that are worked on at the same time. A request has 16 MiB at most.
const AT_ONCE: usize = 256;
/// Bytes of them: large ones are fewer. One fits always.
const BYTES_AT_ONCE: u32 = 64 << 20;
/// Headers that speak of one request: on a stream they would speak of all.
const OF_ONE_REQUEST: [&str; 3] = ["tape-fence", "tape-lease-owner", "tape-request-id"];
const TRACE: &str = "traceparent";

pub(crate) struct DriverService {
    pub(crate) cx: Arc<Shared>,
}

#[tonic::async_trait]
impl pb::driver_server::Driver for DriverService {
    type DriveStream = Answers<pb::DriverAnswer>;

    async fn drive(
        &self,
        request: Request<Streaming<pb::DriverRequest>>,
    ) -> Result<Response<Self::DriveStream>, Status> {
        let (mut metadata, extensions, requests) = request.into_parts();
        let cx = Arc::new(self.cx.of(&metadata, &extensions));
        for header in OF_ONE_REQUEST {
            metadata.remove(header);
        }
        let metadata = Arc::new(metadata);
        let closing = self.cx.closing.clone();
        let answers = until_unreadable(requests)
            .take_until(async move { closing.cancelled().await })
            .map(|request| (request.as_ref().map_or(0, pb::DriverRequest::encoded_len), request));
        let answers = within(BYTES_AT_ONCE, answers)
            .map(move |(room, request)| {
                let answered = answer(cx.clone(), metadata.clone(), request);
                async move {
                    let answer = answered.await;
                    drop(room);
                    answer
                }
            })
            .buffer_unordered(AT_ONCE);
        Ok(Response::new(answers.boxed()))
    }
}

/// Items of so many bytes each, with the room that they take: the next one comes when there is room for it, beside those whose
/// room was not given back yet.
fn within<T: Send + 'static>(
    bytes_max: u32,
    items: impl Stream<Item = (usize, T)> + Send + 'static,
) -> impl Stream<Item = (Option<OwnedSemaphorePermit>, T)> + Send + 'static {
    let room = Arc::new(Semaphore::new(bytes_max as usize));
    items.then(move |(bytes, item)| {
        let (room, bytes) = (room.clone(), u32::try_from(bytes).unwrap_or(u32::MAX).min(bytes_max));
        // It is never closed.
        async move { (room.acquire_many_owned(bytes).await.ok(), item) }
    })
}

/// The requests, up to and with the first that cannot be read: nothing that follows can.
fn until_unreadable<T: Send + 'static>(
    requests: impl Stream<Item = Result<T, Status>> + Send + 'static,
) -> impl Stream<Item = Result<T, Status>> + Send + 'static {
    requests.scan(false, |over, request| {
        let request = (!*over).then_some(request);
        *over = request.as_ref().is_none_or(Result::is_err);
        ready(request)
    })
}

/// The answer to one request. Only a stream that cannot be read any further ends with an error.
async fn answer(
    cx: Arc<Cx>,
    metadata: Arc<MetadataMap>,
    request: Result<pb::DriverRequest, Status>,
) -> Result<pb::DriverAnswer, Status> {
    let pb::DriverRequest {
        id,
        traceparent,
        request,
    } = request?;
    let metadata = match traceparent.parse() {
        Ok(trace) if !traceparent.is_empty() => {
            let mut own = MetadataMap::clone(&metadata);
            own.insert(TRACE, trace);
            Arc::new(own)
        }
        // A trace that is malformed is ignored, as the standard asks.
        _ => metadata,
    };
    let answer = match request {
        Some(asked) => {
            let mut call = Call::begin(path(&asked), MetadataMap::as_ref(&metadata));
            let answer = dispatch(&cx, &metadata, asked).instrument(call.span()).await;
            call.end(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
            answer
        }
        None => Err(status::of(nothing_asked(id).into())),
    };
    let answer = answer.unwrap_or_else(|status| Answer::Error(error(&status)));
    Ok(pb::DriverAnswer {
        id,
        answer: Some(answer),
    })
}

/// Which area answers which request.
macro_rules! driver {
    ($($variant:ident: $rpc:ident = $area:ident;)*) => {
        async fn dispatch(cx: &Cx, metadata: &MetadataMap, asked: Asked) -> Result<Answer, Status> {
            match asked {
                $(Asked::$variant(asked) => {
                    cx.admit(&asked).await.map_err(status::of)?;
                    let answer: Result<_, TapeError> = $area::$rpc(cx, metadata, asked).await;
                    answer.map(Answer::$variant).map_err(status::of)
                })*
            }
        }

        /// The RPC of which it is the request, as metrics and traces name it.
        const fn path(asked: &Asked) -> &'static str {
            match asked {
                $(Asked::$variant(_) => concat!("/tape.v1.Tape/", stringify!($variant)),)*
            }
        }
    };
}

driver! {
    BeginRun: begin_run = run;
    ResumeRun: resume_run = run;
    EndRun: end_run = run;
    GetRun: get_run = run;
    RecordDecision: record_decision = decision;
    GetDecision: get_decision = decision;
    BeginEffect: begin_effect = effect;
    CompleteEffect: complete_effect = effect;
    GetEffect: get_effect = effect;
    ReconcileEffect: reconcile_effect = effect;
    RegisterCompensation: register_compensation = obligation;
    ListObligations: list_obligations = obligation;
    SetBudget: set_budget = budget;
    AdmitBudget: admit_budget = budget;
    ChargeBudget: charge_budget = budget;
    AwaitSignal: await_signal = gate;
    SendSignal: send_signal = gate;
    SetTimer: set_timer = timer;
    CancelTimer: cancel_timer = timer;
    WriteValue: write_value = value;
    GetValue: get_value = value;
    DeleteValue: delete_value = value;
    CreateSession: create_session = session;
    GetSession: get_session = session;
    AppendEvent: append_event = session;
}

fn nothing_asked(id: u64) -> tape_core::Refusal {
    tape_core::Refusal::invalid(
        "request",
        "",
        format!("Request {id} of the stream asks nothing that this server knows."),
        "Set one of the requests of DriverRequest; send what is not among them as an RPC of its own.",
    )
}

/// A status as a message: what its trailer says is a field.
fn error(status: &Status) -> pb::DriverError {
    let detail = status.metadata().get_bin(ERROR_DETAIL_TRAILER);
    let detail = detail.and_then(|detail| detail.to_bytes().ok());
    pb::DriverError {
        status: status.code().into(),
        message: status.message().to_owned(),
        detail: detail.and_then(|detail| pb::ErrorDetail::decode(detail).ok()),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::stream::iter;

    use super::*;

    #[tokio::test]
    async fn requests_are_taken_as_long_as_there_is_room_for_their_bytes() {
        let mut items = within(100, iter([(40, 'a'), (40, 'b'), (40, 'c'), (500, 'd'), (0, 'e')])).boxed();
        let first = items.next().await.unwrap();
        let second = items.next().await.unwrap();
        assert_eq!((first.1, second.1), ('a', 'b'));
        assert!(items.next().now_or_never().is_none(), "no room for a third");
        drop(second);
        let third = items.next().await.unwrap();
        assert_eq!(third.1, 'c');
        drop(third);
        // One that is larger than all there is has it for itself.
        assert!(items.next().now_or_never().is_none());
        drop(first);
        let large = items.next().await.unwrap();
        assert_eq!(large.1, 'd');
        assert_eq!(
            items.next().await.map(|(_, item)| item),
            Some('e'),
            "nothing takes no room"
        );
        drop(large);
    }
}
