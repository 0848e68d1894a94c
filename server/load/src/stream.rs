//! The calls of a driver on the one stream of its process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tape_proto::v1::driver_answer::Answer;
use tape_proto::v1::driver_client::DriverClient;
use tape_proto::v1::driver_request::Request;
use tape_proto::v1::{DriverAnswer, DriverRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// Requests that wait for the connection.
const WAITING_MAX: usize = 64;

/// Who waits for an answer, by the request's number.
type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

/// One stream, shared by whoever drives runs in this process.
#[derive(Clone)]
pub struct DriverStream {
    requests: mpsc::Sender<DriverRequest>,
    waiting: Waiting,
    last: Arc<AtomicU64>,
    /// Ends with the last who shares the stream.
    _receiving: Arc<JoinSet<()>>,
}

impl DriverStream {
    /// Opens the stream.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn open(channel: Channel) -> Result<Self, Status> {
        let (requests, taken) = mpsc::channel(WAITING_MAX);
        let answers = DriverClient::new(channel).drive(ReceiverStream::new(taken)).await?;
        let waiting = Waiting::default();
        let mut receiving = JoinSet::new();
        receiving.spawn(deliver(answers.into_inner(), waiting.clone()));
        Ok(Self {
            _receiving: Arc::new(receiving),
            requests,
            waiting,
            last: Arc::default(),
        })
    }

    /// Sends one request, and waits for its answer.
    ///
    /// # Errors
    /// What the server answered; UNAVAILABLE if the stream ended first: then it may have been carried out or not.
    pub async fn call(&self, request: Request) -> Result<Answer, Status> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (tell, told) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, tell);
        let request = DriverRequest {
            id,
            request: Some(request),
            ..DriverRequest::default()
        };
        let ended = || Status::unavailable("the stream of calls ended");
        self.requests.send(request).await.map_err(|_| ended())?;
        match told.await.map_err(|_| ended())? {
            Answer::Error(error) => Err(Status::new(Code::from(error.status), error.message)),
            answer => Ok(answer),
        }
    }
}

/// Hands answers to those who wait, until there are none; then nobody waits any longer.
async fn deliver(mut answers: Streaming<DriverAnswer>, waiting: Waiting) {
    while let Ok(Some(DriverAnswer { id, answer })) = answers.message().await {
        let waits = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let (Some(waits), Some(answer)) = (waits, answer) {
            waits.send(answer).ok();
        }
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
