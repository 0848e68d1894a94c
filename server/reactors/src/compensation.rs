//! Compensation: undoes what was done, in reverse order of confirmation, once each.

use std::sync::Arc;

use async_trait::async_trait;
use tape_connector_port::{
    Called, CompensateAnswer, CompensateOutcome, Connectors, ObligationCall, ObserveAnswer, Unmarked,
};
use tape_core::command::compensate::{Step, StepCompensation};
use tape_core::command::obligation::{ClaimObligation, SettleObligation, Undone};
use tape_core::effect::Effect;
use tape_core::obligation::Obligation;
use tape_core::run::Run;
use tape_core::{DueKind, RowKey, RunId};
use tape_port::{DueItem, DueWork, Tape, TapeError, WorkerError, Workers};

use crate::call::{ms, obligation_call, version};
use crate::reactor::{Identity, Reactor};

/// Works off obligations.
pub struct Compensation {
    /// The server.
    pub tape: Arc<dyn Tape>,
    /// The connectors.
    pub connectors: Arc<dyn Connectors>,
    /// The apps' functions.
    pub workers: Arc<dyn Workers>,
    /// Who claims.
    pub identity: Identity,
}

#[async_trait]
impl Reactor for Compensation {
    fn kind(&self) -> DueKind {
        DueKind::Compensation
    }

    fn work(&self) -> DueWork {
        DueWork {
            kind: DueKind::Compensation,
            apps: None,
            ahead_ms: 0,
            limit: 200,
        }
    }

    async fn woken(&self) {
        self.tape.woken(DueKind::Compensation).await;
    }

    async fn handle(&self, item: &DueItem) -> Result<(), TapeError> {
        match &item.key {
            RowKey::Obligation(seq) => self.undo(&item.run, *seq).await,
            RowKey::Head => self.run(&item.run).await,
            _ => Ok(()),
        }
    }
}

impl Compensation {
    /// A run that is being compensated: one obligation after the other, until one has to wait.
    async fn run(&self, run: &RunId) -> Result<(), TapeError> {
        loop {
            match self
                .tape
                .step_compensation(StepCompensation { run: run.clone() })
                .await?
            {
                Step::Work(obligation) => self.undo(run, obligation.seq).await?,
                Step::Wait(_) | Step::Done => return Ok(()),
            }
        }
    }

    async fn undo(&self, run: &RunId, seq: i64) -> Result<(), TapeError> {
        let claim = ClaimObligation {
            run: run.clone(),
            seq,
            owner: self.identity.owner.clone(),
            ttl_ms: self.identity.claim_ms,
        };
        let claimed = self.tape.claim_obligation(claim).await?;
        if !claimed.acquired {
            return Ok(());
        }
        let head = self.tape.run(run).await?;
        let effect = self.tape.effect(run, &claimed.obligation.effect).await?;
        let (outcome, evidence_json) = self.attempt(&head, &effect, &claimed.obligation).await;
        let settle = SettleObligation {
            run: run.clone(),
            seq,
            owner: Some(self.identity.owner.clone()),
            outcome,
            evidence_json,
        };
        self.tape.settle_obligation(settle).await.map(drop)
    }

    async fn attempt(&self, run: &Run, effect: &Effect, obligation: &Obligation) -> (Undone, String) {
        let call = obligation_call(run, effect, obligation);
        if !obligation.handle.function.is_empty() {
            return (
                self.by_function(&obligation.handle.function, &call).await,
                String::new(),
            );
        }
        let name = if obligation.handle.connector.is_empty() {
            &effect.intent.connector
        } else {
            &obligation.handle.connector
        };
        if obligation.in_doubt
            && let Ok(Called {
                outcome: ObserveAnswer::Absent,
                evidence,
                ..
            }) = self.connectors.observe(name, version(effect), &call.effect).await
        {
            // The attempt whose answer was lost did it.
            let undone = Undone::Compensated {
                result_json: r#"{"observed":"absent"}"#.to_owned(),
            };
            return (undone, serde_json::to_string(&evidence).unwrap_or_default());
        }
        // The claim is durable and counts as the mark: an attempt that dies is in doubt.
        match self
            .connectors
            .compensate(name, version(effect), &call, &Unmarked)
            .await
        {
            Ok(called) => (
                undone(called.outcome),
                serde_json::to_string(&called.evidence).unwrap_or_default(),
            ),
            Err(error) => (
                Undone::TryAgain {
                    error: error.to_string(),
                    in_doubt: obligation.in_doubt,
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
