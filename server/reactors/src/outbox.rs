//! The outbox: dispatches effects through connectors, at most once where the upstream would do it again.
//!
//! claim -> (host: mark before the first byte) -> dispatch -> settle. Dying before the mark leaves the effect free; dying
//! after it leaves it in doubt, and the reconciler asks the upstream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tape_connector_port::{
    Called, ConnectorError, ConnectorInfo, Connectors, Mark, MarkRefused, Outcome as Verdict, Sender,
};
use tape_core::command::dispatch::{ClaimDispatch, MarkSent, Outcome, RenewDispatch, SettleDispatch};
use tape_core::{DueKind, RowKey};
use tape_port::{DispatchTask, DueItem, DueWork, Tape, TapeError};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::holding::Holding;
use crate::reactor::{BATCH, Identity, Reactor, loaded_anew, ms, served};
use crate::{measure, trace};

/// Dispatches outbox effects.
pub struct Outbox {
    /// The server.
    pub tape: Arc<dyn Tape>,
    /// The connectors.
    pub connectors: Arc<dyn Connectors>,
    /// Who claims.
    pub identity: Identity,
}

/// How often an outcome is offered to a store that does not answer. After that the claim runs out, and the effect is
/// in doubt: safe, but slower.
const RECORD_TRIES: u32 = 20;

#[async_trait]
impl Reactor for Outbox {
    fn kind(&self) -> DueKind {
        DueKind::Outbox
    }

    fn work(&self) -> DueWork {
        DueWork {
            served: Some(served(self.connectors.as_ref())),
            ..DueWork::all(DueKind::Outbox, BATCH)
        }
    }

    async fn woken(&self, looked: &DueWork) {
        tokio::select! {
            () = self.tape.woken(DueKind::Outbox) => {}
            () = loaded_anew(self.connectors.as_ref(), looked) => {}
        }
    }

    async fn handle(&self, item: &DueItem) -> Result<(), TapeError> {
        let RowKey::Effect(key) = &item.key else { return Ok(()) };
        let claim = ClaimDispatch {
            run: item.run.clone(),
            key: key.clone(),
            owner: self.identity.owner.clone(),
            ttl_ms: self.identity.claim_ms,
            two_phase: true,
            // The others are left to whoever serves them.
            connectors: Some(self.served(item)),
        };
        let holding = Holding::since(Instant::now(), self.identity.claim_ttl());
        match self.tape.claim_dispatch(claim).await? {
            Some(mut task) => {
                let span = trace::span("tape.dispatch_effect", &task.connector, &mut task.call);
                self.dispatch(&task, &holding).instrument(span).await
            }
            None => {
                measure::conflict(DueKind::Outbox);
                Ok(())
            }
        }
    }
}

impl Outbox {
    /// The connectors that can be called here for the tenant and the app of what is due.
    fn served(&self, item: &DueItem) -> Vec<String> {
        let its = |connector: &ConnectorInfo| {
            connector.tenant == item.tenant && connector.app.as_ref().is_none_or(|app| *app == item.app)
        };
        let loaded = self.connectors.list().into_iter();
        loaded.filter(its).map(|connector| connector.name).collect()
    }

    async fn dispatch(&self, task: &DispatchTask, holding: &Holding) -> Result<(), TapeError> {
        let began = Instant::now();
        let mark = DurableMark {
            outbox: self,
            task,
            holding,
            begun: AtomicBool::new(false),
        };
        let called = {
            let dispatch = self.connectors.dispatch(&task.connector, None, &task.call, &mark);
            tokio::pin!(dispatch);
            loop {
                tokio::select! {
                    called = &mut dispatch => break Some(called),
                    () = self.identity.abandon.cancelled() => break None,
                    () = tokio::time::sleep(self.renewal()) => self.renew(task, holding).await,
                }
            }
        };
        let (outcome, evidence_json, version, digest) = match called {
            None => (
                given_back(mark.begun.load(Ordering::Relaxed)),
                String::new(),
                String::new(),
                String::new(),
            ),
            Some(Ok(Called {
                outcome,
                evidence,
                version,
                digest,
            })) => (
                verdict(outcome),
                serde_json::to_string(&evidence).unwrap_or_default(),
                version,
                digest,
            ),
            // The claim is somebody else's by now: theirs is the outcome.
            Some(Err(ConnectorError::MarkRefused { .. })) => {
                measure::dispatched(&task.connector, None, began.elapsed());
                return Ok(());
            }
            // The circuit is open, a limit gave no turn, the connector has just been taken away: it waits, however long.
            Some(Err(error)) if error.is_retryable() => (
                Outcome::Nobody {
                    reason: error.to_string(),
                    retry_after_ms: error.retry_after_ms().map(ms),
                },
                String::new(),
                String::new(),
                String::new(),
            ),
            Some(Err(error)) => (
                Outcome::NothingSent {
                    reason: error.to_string(),
                    retry_after_ms: None,
                },
                String::new(),
                String::new(),
                String::new(),
            ),
        };
        measure::dispatched(&task.connector, Some(&outcome), began.elapsed());
        self.settle(SettleDispatch {
            run: task.run.clone(),
            key: task.key.clone(),
            owner: self.identity.owner.clone(),
            attempt: task.attempt,
            outcome,
            evidence_json,
            version,
            digest,
        })
        .await
    }

    /// Records the outcome. The world has changed already: a store that does not answer is asked again for a while.
    async fn settle(&self, command: SettleDispatch) -> Result<(), TapeError> {
        let mut tries = 0;
        loop {
            match self.tape.settle_dispatch(command.clone()).await {
                Err(TapeError::Unavailable(reason)) if tries < RECORD_TRIES => {
                    tries += 1;
                    tracing::warn!(effect = %command.key, %reason, tries, "the outcome is not recorded yet");
                    tokio::time::sleep(Duration::from_millis(100 * u64::from(tries))).await;
                }
                answer => return answer,
            }
        }
    }

    async fn renew(&self, task: &DispatchTask, holding: &Holding) {
        let asked = Instant::now();
        let command = RenewDispatch {
            run: task.run.clone(),
            key: task.key.clone(),
            owner: self.identity.owner.clone(),
            attempt: task.attempt,
            ttl_ms: self.identity.claim_ms,
        };
        match self.tape.renew_dispatch(command).await {
            Ok(()) => holding.renewed(asked),
            // What has left cannot be called back. If the claim runs out, its outcome is settled by observation.
            Err(error) => tracing::warn!(effect = %task.key, %error, "the claim could not be renewed"),
        }
    }

    fn renewal(&self) -> Duration {
        self.identity.claim_ttl() / 3
    }
}

/// Makes "attempt started" durable before the host lets the first byte leave.
struct DurableMark<'a> {
    outbox: &'a Outbox,
    task: &'a DispatchTask,
    holding: &'a Holding,
    /// It was asked for: from here on the mark may be durable, and the request may leave.
    begun: AtomicBool,
}

#[async_trait]
impl Mark for DurableMark<'_> {
    async fn sent(&self, sender: Sender<'_>) -> Result<(), MarkRefused> {
        self.begun.store(true, Ordering::Relaxed);
        let command = MarkSent {
            run: self.task.run.clone(),
            key: self.task.key.clone(),
            owner: self.outbox.identity.owner.clone(),
            attempt: self.task.attempt,
            version: sender.version.to_owned(),
            digest: sender.digest.to_owned(),
        };
        self.outbox
            .tape
            .mark_sent(command)
            .await
            .map_err(|error| MarkRefused(error.to_string()))?;
        self.holding.refusing()
    }
}

/// The process stops before an answer came.
fn given_back(may_have_left: bool) -> Outcome {
    let reason = "its reactor was stopped before an answer came".to_owned();
    if may_have_left {
        Outcome::Unknown { reason }
    } else {
        Outcome::NothingSent {
            reason,
            retry_after_ms: Some(0),
        }
    }
}

fn verdict(outcome: Verdict) -> Outcome {
    match outcome {
        Verdict::Confirmed(receipt) => Outcome::Confirmed {
            external_ref: receipt.external_ref,
            response_json: receipt.response_json,
        },
        Verdict::Failed(failure) => Outcome::Failed {
            error_json: serde_json::json!({
                "kind": failure.kind, "code": failure.code, "message": failure.message,
            })
            .to_string(),
            retryable: failure.retryable,
            retry_after_ms: failure.retry_after_ms.map(ms),
        },
        Verdict::Retry { reason, retry_after_ms } => Outcome::NothingSent {
            reason,
            retry_after_ms: retry_after_ms.map(ms),
        },
        Verdict::Unknown(doubt) => Outcome::Unknown { reason: doubt.reason },
    }
}
