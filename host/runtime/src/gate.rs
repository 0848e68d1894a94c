//! The mark before the byte: the first unsafe request of a call waits here until its caller has made "attempt started" durable.
//!
//! The caller's [`Mark`](tape_connector_port::Mark) is borrowed for the call and the sandbox is not, so the two meet over a channel: the guest's
//! side asks, the loop that drives the guest answers.

use std::sync::OnceLock;

use tape_connector_port::MarkRefused;
use tokio::sync::{OnceCell, mpsc, oneshot};

/// Where the driver of a call receives the one question.
pub type Asked = mpsc::Receiver<oneshot::Sender<Result<(), MarkRefused>>>;

/// The guest's side.
pub struct Gate {
    ask: mpsc::Sender<oneshot::Sender<Result<(), MarkRefused>>>,
    answer: OnceCell<Result<(), String>>,
    refused: std::sync::Arc<OnceLock<String>>,
}

/// What the driver keeps: whether the mark was refused.
pub type Refusal = std::sync::Arc<OnceLock<String>>;

/// A gate, the end at which it is answered, and where a refusal is left.
pub fn gate() -> (Gate, Asked, Refusal) {
    let (ask, asked) = mpsc::channel(1);
    let refused = Refusal::default();
    (
        Gate {
            ask,
            answer: OnceCell::new(),
            refused: std::sync::Arc::clone(&refused),
        },
        asked,
        refused,
    )
}

impl Gate {
    /// Returns once the attempt is marked. Later requests of the same call pass at once, or are refused at once.
    ///
    /// # Errors
    /// Why nothing may leave.
    pub async fn pass(&self) -> Result<(), String> {
        self.answer.get_or_init(|| self.question()).await.clone()
    }

    async fn question(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let asked = self.ask.send(reply).await.is_ok();
        // Whoever asks when the guest has answered already is late: nothing of it leaves, and the answer stands.
        let answer = if asked { answer.await.ok() } else { None };
        let Some(answer) = answer else {
            return Err("the call has ended".to_owned());
        };
        answer.map_err(|MarkRefused(why)| {
            // Set once: the cell above asks once.
            self.refused.get_or_init(|| why.clone());
            why
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_after_the_call_has_ended_is_let_nowhere_and_spoils_nothing() {
        let (gate, asked, refused) = gate();
        drop(asked);
        assert_eq!(gate.pass().await, Err("the call has ended".to_owned()));
        assert_eq!(refused.get(), None);
    }

    #[tokio::test]
    async fn a_refusal_of_the_caller_is_left_for_the_call() {
        let (gate, mut asked, refused) = gate();
        let answering = async {
            asked
                .recv()
                .await
                .unwrap()
                .send(Err(MarkRefused("not yours".to_owned())))
        };
        let (passed, sent) = tokio::join!(gate.pass(), answering);
        sent.unwrap();
        assert_eq!(passed, Err("not yours".to_owned()));
        assert_eq!(refused.get().map(String::as_str), Some("not yours"));
    }
}
