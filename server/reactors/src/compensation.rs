//! Compensation: undoes what was done, in reverse order of confirmation, once each.

use std::sync::Arc;

use async_trait::async_trait;
use tape_connector_port::{
    CompensateAnswer, CompensateOutcome, ConnectorError, Connectors, Mark, MarkRefused, ObligationCall, ObserveAnswer,
    Sender,
};
use tape_core::command::obligation::{SettleObligation, Undone};
use tape_core::{DueKind, RowKey, RunId};
use tape_port::{ClaimCompensation, CompensationTask, DueItem, DueWork, Tape, TapeError, WorkerError, Workers};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::holding::Holding;
use crate::newcomers::Newcomers;
use crate::reactor::{BATCH, Identity, Reactor, loaded_anew, ms, served};
use crate::trace;

/// Works off obligations.
pub struct Compensation {
    tape: Arc<dyn Tape>,
    connectors: Arc<dyn Connectors>,
    /// The apps' functions.
    workers: Arc<dyn Workers>,
    /// What rests because nobody could be asked is due when a worker attaches.
    newcomers: Newcomers,
    identity: Identity,
}

#[async_trait]
impl Reactor for Compensation {
    fn kind(&self) -> DueKind {
        DueKind::Compensation
    }

    fn work(&self) -> DueWork {
        DueWork {
            served: Some(served(self.connectors.as_ref())),
            ..DueWork::all(DueKind::Compensation, BATCH)
        }
    }

    fn newcomers(&self) -> Option<&Newcomers> {
        Some(&self.newcomers)
    }

    async fn woken(&self, looked: &DueWork) {
        tokio::select! {
            () = self.tape.woken(DueKind::Compensation) => {}
            () = loaded_anew(self.connectors.as_ref(), looked) => {}
        }
    }

    async fn handle(&self, item: &DueItem) -> Result<(), TapeError> {
        // Named before its time: a worker has just attached.
        let at_once = item.at > self.tape.now();
        match &item.key {
            RowKey::Obligation(seq) => self.undo(&item.run, Some(*seq), at_once).await.map(drop),
            // A run that is being compensated: one obligation after the other, until one has to wait. The worker that came
            // may have gone again: the next one does not come before its time.
            RowKey::Head => {
                let mut had = self.undo(&item.run, None, at_once).await?;
                while had {
                    had = self.undo(&item.run, None, false).await?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Compensation {
    /// The reactor.
    #[must_use]
    pub fn new(
        tape: Arc<dyn Tape>,
        connectors: Arc<dyn Connectors>,
        workers: Arc<dyn Workers>,
        identity: Identity,
    ) -> Self {
        Self {
            tape,
            connectors,
            newcomers: Newcomers::of(&workers),
            workers,
            identity,
        }
    }

    /// Works on one obligation, if it can be had. Returns whether it could.
    async fn undo(&self, run: &RunId, seq: Option<i64>, at_once: bool) -> Result<bool, TapeError> {
        let claim = ClaimCompensation {
            run: run.clone(),
            seq,
            owner: self.identity.owner.clone(),
            ttl_ms: self.identity.claim_ms,
            at_once,
        };
        let holding = Holding::since(Instant::now(), self.identity.claim_ttl());
        let Some(mut task) = self.tape.claim_compensation(claim).await? else {
            return Ok(false);
        };
        let span = trace::span("tape.compensate", &task.connector, &mut task.call.effect);
        let (outcome, evidence_json) = self.attempt(&task, &holding).instrument(span).await;
        let settle = SettleObligation {
            run: run.clone(),
            seq: task.seq,
            owner: Some(self.identity.owner.clone()),
            outcome,
            evidence_json,
        };
        self.tape.settle_obligation(settle).await.map(|()| true)
    }

    async fn attempt(&self, task: &CompensationTask, holding: &Holding) -> (Undone, String) {
        if !task.function.is_empty() {
            return (self.by_function(&task.function, &task.call).await, String::new());
        }
        let (name, version) = (&task.connector, task.version.as_deref());
        if task.in_doubt {
            // The attempt whose answer was lost may have done it.
            let seen = self.connectors.observe(name, version, &task.call.effect).await;
            match seen {
                Ok(called) => {
                    let evidence = serde_json::to_string(&called.evidence).unwrap_or_default();
                    match called.outcome {
                        ObserveAnswer::Absent => {
                            let result_json = r#"{"observed":"absent"}"#.to_owned();
                            return (Undone::Compensated { result_json }, evidence);
                        }
                        ObserveAnswer::Inconclusive(doubt) => return (unseen(doubt.reason), evidence),
                        ObserveAnswer::Present(_) | ObserveAnswer::Duplicate(_) => {}
                    }
                }
                // Nobody can look: the upstream recognises the repetition by its key, or takes it for another.
                Err(ConnectorError::Unsupported { .. }) => {}
                Err(error) if error.is_retryable() => {
                    let error = error.to_string();
                    return (Undone::Nobody { error }, String::new());
                }
                Err(error) => return (unseen(error.to_string()), String::new()),
            }
        }
        // The claim is durable and counts as the mark: an attempt that dies is in doubt.
        let mark = Held(holding);
        match self.connectors.compensate(name, version, &task.call, &mark).await {
            Ok(called) => (
                undone(called.outcome),
                serde_json::to_string(&called.evidence).unwrap_or_default(),
            ),
            Err(error) if error.is_retryable() => (
                Undone::Nobody {
                    error: error.to_string(),
                },
                String::new(),
            ),
            Err(error) => (
                Undone::TryAgain {
                    error: error.to_string(),
                    in_doubt: task.in_doubt,
                    next_ms: None,
                },
                String::new(),
            ),
        }
    }

    async fn by_function(&self, function: &str, call: &ObligationCall) -> Undone {
        match self.workers.compensate(function, call).await {
            Ok(CompensateAnswer::Resolved(receipt)) => Undone::Compensated {
                result_json: receipt.response_json,
            },
            Ok(CompensateAnswer::Failed(failure)) if !failure.retryable => Undone::Stuck { error: failure.message },
            Ok(CompensateAnswer::Failed(failure)) => Undone::TryAgain {
                error: failure.message,
                in_doubt: false,
                next_ms: failure.retry_after_ms.map(ms),
            },
            Ok(CompensateAnswer::Unknown(doubt)) => Undone::TryAgain {
                error: doubt.reason,
                in_doubt: true,
                next_ms: None,
            },
            Err(error @ WorkerError::Refused { retryable: false, .. }) => Undone::Stuck {
                error: error.to_string(),
            },
            Err(error @ WorkerError::NoWorker { .. }) => Undone::Nobody {
                error: error.to_string(),
            },
            Err(error) => {
                let in_doubt = matches!(error, WorkerError::Lost { .. });
                Undone::TryAgain {
                    error: error.to_string(),
                    in_doubt,
                    next_ms: None,
                }
            }
        }
    }
}

/// The claim was the mark: before the first byte leaves, it must still be held.
struct Held<'a>(&'a Holding);

#[async_trait]
impl Mark for Held<'_> {
    async fn sent(&self, _: Sender<'_>) -> Result<(), MarkRefused> {
        self.0.refusing()
    }
}

/// Whether the attempt before did it could not be seen: it is looked for again, and not repeated blindly.
fn unseen(error: String) -> Undone {
    Undone::TryAgain {
        error,
        in_doubt: true,
        next_ms: None,
    }
}

fn undone(outcome: CompensateOutcome) -> Undone {
    match outcome {
        CompensateOutcome::Resolved(receipt) => Undone::Compensated {
            result_json: receipt.response_json,
        },
        CompensateOutcome::Failed(failure) if !failure.retryable => Undone::Stuck { error: failure.message },
        CompensateOutcome::Failed(failure) => Undone::TryAgain {
            error: failure.message,
            in_doubt: false,
            next_ms: failure.retry_after_ms.map(ms),
        },
        CompensateOutcome::Retry { reason, retry_after_ms } => Undone::TryAgain {
            error: reason,
            in_doubt: false,
            next_ms: retry_after_ms.map(ms),
        },
        CompensateOutcome::Unknown(doubt) => Undone::TryAgain {
            error: doubt.reason,
            in_doubt: true,
            next_ms: None,
        },
    }
}
