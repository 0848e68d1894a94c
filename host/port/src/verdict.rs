//! The verdict is the host's: what the guest says, weighed against what was seen to leave.
//!
//! | guest says           | not-sent                              | sent    | answered                   |
//! |----------------------|---------------------------------------|---------|----------------------------|
//! | confirmed            | FAILED (breach), unless `offline`     | UNKNOWN | CONFIRMED                  |
//! | failed               | FAILED; retry if `retryable`          | UNKNOWN | FAILED, `retryable` stands |
//! | unknown              | retry: nothing happened               | UNKNOWN | UNKNOWN                    |
//! | trap, timeout, limit | retry: nothing happened               | UNKNOWN | UNKNOWN                    |
//!
//! The columns speak of unsafe requests only ([`Evidence::furthest`](crate::Evidence::furthest)). A compensation is a dispatch, with one
//! difference: "resolved" without an unsafe request is believed if the upstream's books were read, because finding the effect
//! already undone is the honest answer to a second attempt.
//!
//! Nothing here reads a clock, draws a random number or waits.

use serde::{Deserialize, Serialize};

use crate::{
    CompensateAnswer, DispatchAnswer, Doubt, Failure, FailureKind, ObserveAnswer, Progress, Receipt, StatusAnswer,
};

/// The code of a failure that a guest brought on itself by claiming what cannot be.
pub const BREACH_CODE: &str = "contract-breach";

/// How a guest's call ended: with an answer, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEnd<A> {
    Answer(A),
    Broke(Broke),
}

/// A call that ended without an answer, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broke {
    pub kind: BrokeKind,
    /// For people: the trap, the last lines that the guest wrote, the limit that was met.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokeKind {
    /// The guest crashed.
    Trap,
    /// The guest was still busy at its deadline.
    Timeout,
    /// The guest asked for more than its limits allow.
    Limit,
    /// The guest answered with something that its contract does not allow (a response that is not JSON).
    Breach,
}

/// What a dispatch came to. The caller journals it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It took hold.
    Confirmed(Receipt),
    /// It definitely did not. May be tried again if `retryable`.
    Failed(Failure),
    /// Nothing reached the upstream. Try again after a pause.
    Retry {
        reason: String,
        retry_after_ms: Option<u64>,
    },
    /// It may have happened. Observe before anything else, unless the effect is idempotent.
    Unknown(Doubt),
}

/// What a compensation came to; reads like [`Outcome`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompensateOutcome {
    Resolved(Receipt),
    Failed(Failure),
    Retry {
        reason: String,
        retry_after_ms: Option<u64>,
    },
    Unknown(Doubt),
}

/// The table above. `progress` is how far the call's unsafe requests got; `offline` is whether the connector declares that its
/// operations need no request at all.
#[must_use]
pub fn verdict(end: GuestEnd<DispatchAnswer>, progress: Progress, offline: bool) -> Outcome {
    use DispatchAnswer::{Confirmed, Failed, Unknown};
    use GuestEnd::{Answer, Broke};
    use Progress::{Answered, NotSent, Sent};

    match (end, progress) {
        (Answer(Confirmed(receipt)), Answered) => Outcome::Confirmed(receipt),
        (Answer(Confirmed(receipt)), NotSent) if offline => Outcome::Confirmed(receipt),
        (Answer(Confirmed(_)), NotSent) => {
            Outcome::Failed(breach("confirmed without a request that could have changed anything"))
        }
        (Answer(Confirmed(_)), Sent) => Outcome::Unknown(doubt(
            "the connector says confirmed, but a request of this call was never answered",
        )),

        (Answer(Failed(failure)), NotSent) if failure.retryable => Outcome::Retry {
            reason: format!("{}: {}", failure.code, failure.message),
            retry_after_ms: failure.retry_after_ms,
        },
        (Answer(Failed(failure)), NotSent | Answered) => Outcome::Failed(failure),
        (Answer(Failed(failure)), Sent) => Outcome::Unknown(doubt(format!(
            "the connector says failed ({}: {}), but a request left and was never answered",
            failure.code, failure.message
        ))),

        (Answer(Unknown(doubt)), NotSent) => Outcome::Retry {
            reason: doubt.reason,
            retry_after_ms: None,
        },
        (Answer(Unknown(doubt)), Sent | Answered) => Outcome::Unknown(doubt),

        (Broke(broke), NotSent) => Outcome::Retry {
            reason: broke.to_string(),
            retry_after_ms: None,
        },
        (Broke(broke), Sent | Answered) => Outcome::Unknown(doubt(broke.to_string())),
    }
}

/// The same table for `compensate`. `grounded` is whether "resolved" may be believed although nothing was sent: the connector is
/// offline, or it read the upstream's books in this call.
#[must_use]
pub fn compensation_verdict(end: GuestEnd<CompensateAnswer>, progress: Progress, grounded: bool) -> CompensateOutcome {
    let end = match end {
        GuestEnd::Answer(CompensateAnswer::Resolved(receipt)) => GuestEnd::Answer(DispatchAnswer::Confirmed(receipt)),
        GuestEnd::Answer(CompensateAnswer::Failed(failure)) => GuestEnd::Answer(DispatchAnswer::Failed(failure)),
        GuestEnd::Answer(CompensateAnswer::Unknown(doubt)) => GuestEnd::Answer(DispatchAnswer::Unknown(doubt)),
        GuestEnd::Broke(broke) => GuestEnd::Broke(broke),
    };
    match verdict(end, progress, grounded) {
        Outcome::Confirmed(receipt) => CompensateOutcome::Resolved(receipt),
        Outcome::Failed(failure) => CompensateOutcome::Failed(failure),
        Outcome::Retry { reason, retry_after_ms } => CompensateOutcome::Retry { reason, retry_after_ms },
        Outcome::Unknown(doubt) => CompensateOutcome::Unknown(doubt),
    }
}

/// What an observation is worth. A claim about the upstream's books needs a look into them: without an answered request
/// (`grounded`, or an offline connector), and without an answer of the guest, it is inconclusive.
#[must_use]
pub fn observation_verdict(end: GuestEnd<ObserveAnswer>, grounded: bool) -> ObserveAnswer {
    match end {
        GuestEnd::Answer(answer @ ObserveAnswer::Inconclusive(_)) => answer,
        GuestEnd::Answer(answer) if grounded => answer,
        GuestEnd::Answer(_) => ObserveAnswer::Inconclusive(doubt(UNGROUNDED)),
        GuestEnd::Broke(broke) => ObserveAnswer::Inconclusive(doubt(broke.to_string())),
    }
}

/// The same for a status check.
#[must_use]
pub fn status_verdict(end: GuestEnd<StatusAnswer>, grounded: bool) -> StatusAnswer {
    match end {
        GuestEnd::Answer(answer @ (StatusAnswer::Inconclusive(_) | StatusAnswer::InProgress { .. })) => answer,
        GuestEnd::Answer(answer) if grounded => answer,
        GuestEnd::Answer(_) => StatusAnswer::Inconclusive(doubt(UNGROUNDED)),
        GuestEnd::Broke(broke) => StatusAnswer::Inconclusive(doubt(broke.to_string())),
    }
}

const UNGROUNDED: &str = "the connector says what the upstream's books hold, but the upstream did not answer it";

impl Outcome {
    /// Its name in traces and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Confirmed(_) => "confirmed",
            Self::Failed(_) => "failed",
            Self::Retry { .. } => "retry",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl CompensateOutcome {
    /// Its name in traces and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Resolved(_) => "resolved",
            Self::Failed(_) => "failed",
            Self::Retry { .. } => "retry",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl std::fmt::Display for Broke {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            BrokeKind::Trap => "the connector crashed",
            BrokeKind::Timeout => "the connector did not answer in time",
            BrokeKind::Limit => "the connector met a limit",
            BrokeKind::Breach => "the connector broke its contract",
        };
        write!(f, "{what}: {}", self.message)
    }
}

fn breach(message: &str) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        code: BREACH_CODE.to_owned(),
        message: format!("the connector broke its contract: {message}"),
        retryable: false,
        retry_after_ms: None,
    }
}

fn doubt(reason: impl Into<String>) -> Doubt {
    Doubt {
        reason: reason.into(),
        sent: String::new(),
        hint: "ask the upstream: observe, or status-check".to_owned(),
    }
}

#[cfg(test)]
mod tests;
