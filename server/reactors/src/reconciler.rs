//! The reconciler: asks the upstream about effects in doubt.
//!
//! First "did this very request commit?" (status check), then "what do your books say?" (observe). Only an answer
//! settles doubt.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tape_connector_port::{ConnectorError, Connectors, Evidence, ObserveAnswer, Receipt, StatusAnswer};
use tape_core::command::observe::{Booking, ClaimCheck, IfAbsent, Observation, RecordObservation};
use tape_core::{DueKind, RowKey};
use tape_port::{CheckTask, DueItem, DueWork, Tape, TapeError, Workers};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::reactor::{BATCH, Identity, Reactor, loaded_anew, ms, served};
use crate::{measure, trace};

/// Settles doubt.
pub struct Reconciler {
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
impl Reactor for Reconciler {
    fn kind(&self) -> DueKind {
        DueKind::Reconcile
    }

    fn work(&self) -> DueWork {
        DueWork {
            served: Some(served(self.connectors.as_ref())),
            ..DueWork::all(DueKind::Reconcile, BATCH)
        }
    }

    async fn woken(&self, looked: &DueWork) {
        tokio::select! {
            () = self.tape.woken(DueKind::Reconcile) => {}
            () = loaded_anew(self.connectors.as_ref(), looked) => {}
        }
    }

    async fn handle(&self, item: &DueItem) -> Result<(), TapeError> {
        let RowKey::Effect(key) = &item.key else { return Ok(()) };
        let claim = ClaimCheck {
            run: item.run.clone(),
            key: key.clone(),
            owner: self.identity.owner.clone(),
            ttl_ms: self.identity.claim_ms,
        };
        let Some(mut task) = self.tape.claim_check(claim).await? else {
            measure::conflict(DueKind::Reconcile);
            return Ok(());
        };
        let span = trace::span("tape.reconcile_effect", &task.connector, &mut task.call);
        let (observation, evidence) = self.ask(&task).instrument(span).await?;
        let record = RecordObservation {
            run: item.run.clone(),
            key: key.clone(),
            owner: Some(self.identity.owner.clone()),
            observation,
            if_absent: IfAbsent::default(),
            surplus: None,
            evidence_json: evidence.map_or_else(String::new, |e| serde_json::to_string(&e).unwrap_or_default()),
        };
        self.tape.record_observation(record).await
    }
}

impl Reconciler {
    /// Asks everybody who may know, until one does.
    ///
    /// # Errors
    /// The connector rests, or a limit gives it no turn: it was not asked, which is no answer. The claim runs out, and it is asked then.
    async fn ask(&self, task: &CheckTask) -> Result<(Observation, Option<Evidence>), TapeError> {
        let mut reasons = Vec::new();
        let (call, version) = (&task.call, task.version.as_deref());
        let reference = if task.external_ref.is_empty() {
            &call.idempotency_key
        } else {
            &task.external_ref
        };
        if !task.function.is_empty() {
            match self.workers.status_check(&task.function, call, reference).await {
                Ok(answer) => match status(answer) {
                    Observation::Inconclusive {
                        reason,
                        retry_after_ms: None,
                    } => reasons.push(reason),
                    settled => return Ok((settled, None)),
                },
                Err(error) => reasons.push(error.to_string()),
            }
        }
        let name = &task.connector;
        // The version that dispatched it answers, which may support what the active one does not.
        if !name.is_empty() {
            let ask = || self.connectors.status_check(name, version, call, reference);
            match self.patiently(ask).await? {
                Ok(called) => match status(called.outcome) {
                    Observation::Inconclusive {
                        reason,
                        retry_after_ms: None,
                    } => reasons.push(reason),
                    settled => return Ok((settled, Some(called.evidence))),
                },
                Err(ConnectorError::Unsupported { .. } | ConnectorError::Unknown { .. }) => {}
                Err(error) => reasons.push(error.to_string()),
            }
            match self.patiently(|| self.connectors.observe(name, version, call)).await? {
                Ok(called) => return Ok((observed(called.outcome), Some(called.evidence))),
                Err(ConnectorError::Unsupported { .. } | ConnectorError::Unknown { .. }) => {}
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if reasons.is_empty() {
            let connector = if name.is_empty() {
                "no connector".to_owned()
            } else {
                format!("connector {name:?}")
            };
            reasons.push(format!(
                "{connector} that can observe is loaded, and no status check is declared"
            ));
        }
        let inconclusive = Observation::Inconclusive {
            reason: reasons.join("; "),
            retry_after_ms: None,
        };
        Ok((inconclusive, None))
    }

    /// Asks, and asks again after the pause that it is told to make, for half of the claim's time.
    async fn patiently<T, F>(&self, ask: impl Fn() -> F) -> Result<Result<T, ConnectorError>, TapeError>
    where
        F: Future<Output = Result<T, ConnectorError>>,
    {
        let patience = Duration::from_millis(u64::try_from(self.identity.claim_ms / 2).unwrap_or_default());
        let until = Instant::now() + patience;
        loop {
            let answer = ask().await;
            let Some(pause_ms) = answer.as_ref().err().and_then(ConnectorError::retry_after_ms) else {
                return Ok(answer);
            };
            let again = Instant::now() + Duration::from_millis(pause_ms);
            if again > until {
                return match answer {
                    Err(error) => Err(TapeError::Unavailable(error.to_string())),
                    answer => Ok(answer),
                };
            }
            tokio::select! {
                () = tokio::time::sleep_until(again) => {}
                () = self.identity.abandon.cancelled() => {
                    return Err(TapeError::Unavailable("the reactor was stopped before it could ask.".to_owned()));
                }
            }
        }
    }
}

fn status(answer: StatusAnswer) -> Observation {
    match answer {
        StatusAnswer::Committed(receipt) => Observation::Present(booking(receipt)),
        StatusAnswer::NotCommitted => Observation::Absent,
        StatusAnswer::InProgress { retry_after_ms } => {
            // The upstream itself asks for patience: that is an answer, and settles nothing.
            let wait = Some(ms(retry_after_ms));
            Observation::Inconclusive {
                reason: "the upstream is still at work on it".to_owned(),
                retry_after_ms: wait,
            }
        }
        StatusAnswer::Inconclusive(doubt) => Observation::Inconclusive {
            reason: doubt.reason,
            retry_after_ms: None,
        },
    }
}

pub(crate) fn observed(answer: ObserveAnswer) -> Observation {
    match answer {
        ObserveAnswer::Present(receipt) => Observation::Present(booking(receipt)),
        ObserveAnswer::Absent => Observation::Absent,
        ObserveAnswer::Duplicate(receipts) => Observation::Duplicate(receipts.into_iter().map(booking).collect()),
        ObserveAnswer::Inconclusive(doubt) => Observation::Inconclusive {
            reason: doubt.reason,
            retry_after_ms: None,
        },
    }
}

fn booking(receipt: Receipt) -> Booking {
    Booking {
        external_ref: receipt.external_ref,
        response_json: receipt.response_json,
    }
}
