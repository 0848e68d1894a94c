//! The outbox: dispatches effects through connectors, at most once where the upstream would do it again.
//!
//! claim -> (host: mark before the first byte) -> dispatch -> settle. Dying before the mark leaves the effect free; dying
//! after it leaves it in doubt, and the reconciler asks the upstream.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tape_connector_port::{Called, ConnectorError, Connectors, Mark, MarkRefused, Outcome as Verdict};
use tape_core::command::dispatch::{ClaimDispatch, MarkSent, Outcome, RenewDispatch, SettleDispatch};
use tape_core::effect::{Effect, EffectState};
use tape_core::{DueKind, EffectKey, RowKey, RunId};
use tape_port::{DueItem, DueWork, Tape, TapeError};

use crate::call::{effect_call, ms};
use crate::reactor::{Identity, Reactor};

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
            kind: DueKind::Outbox,
            apps: None,
            ahead_ms: 0,
            limit: 200,
        }
    }

    async fn woken(&self) {
        self.tape.woken(DueKind::Outbox).await;
    }

    async fn handle(&self, item: &DueItem) -> Result<(), TapeError> {
        let RowKey::Effect(key) = &item.key else { return Ok(()) };
        let effect = self.tape.effect(&item.run, key).await?;
        let loaded = self
            .connectors
            .describe(&item.tenant, &effect.intent.connector)
            .is_some();
        if !loaded && matches!(effect.state, EffectState::Pending { .. }) {
            // A dispatcher outside may serve it: leave it to it, and look again later.
            return Err(TapeError::Unavailable(format!(
                "No connector {:?} is loaded here.",
                effect.intent.connector
            )));
        }
        let claim = ClaimDispatch {
            run: item.run.clone(),
            key: key.clone(),
            owner: self.identity.owner.clone(),
            ttl_ms: self.identity.claim_ms,
            two_phase: true,
        };
        let claimed = self.tape.claim_dispatch(claim).await?;
        if claimed.acquired {
            self.dispatch(&item.run, &claimed.effect).await
        } else {
            Ok(())
        }
    }
}

impl Outbox {
    async fn dispatch(&self, run: &RunId, effect: &Effect) -> Result<(), TapeError> {
        let head = self.tape.run(run).await?;
        let attempt = effect.attempt().map_or(0, |attempt| attempt.number);
        let call = effect_call(&head, effect);
        let mark = DurableMark {
            outbox: self,
            run,
            key: &effect.intent.key,
            attempt,
        };
        let called = {
            let dispatch = self.connectors.dispatch(&effect.intent.connector, None, &call, &mark);
            tokio::pin!(dispatch);
            loop {
                tokio::select! {
                    called = &mut dispatch => break called,
                    () = tokio::time::sleep(self.renewal()) => self.renew(run, &effect.intent.key, attempt).await,
                }
            }
        };
        let (outcome, evidence_json, version) = match called {
            Ok(Called {
                outcome,
                evidence,
                version,
                ..
            }) => (
                verdict(outcome),
                serde_json::to_string(&evidence).unwrap_or_default(),
                version,
            ),
            // The claim is somebody else's by now: theirs is the outcome.
            Err(ConnectorError::MarkRefused { .. }) => return Ok(()),
            Err(error) => (
                Outcome::NothingSent {
                    reason: error.to_string(),
                    retry_after_ms: None,
                },
                String::new(),
                String::new(),
            ),
        };
        self.settle(SettleDispatch {
            run: run.clone(),
            key: effect.intent.key.clone(),
            owner: self.identity.owner.clone(),
            attempt,
            outcome,
            evidence_json,
            version,
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
                answer => return answer.map(drop),
            }
        }
    }

    async fn renew(&self, run: &RunId, key: &EffectKey, attempt: u32) {
        let command = RenewDispatch {
            run: run.clone(),
            key: key.clone(),
            owner: self.identity.owner.clone(),
            attempt,
            ttl_ms: self.identity.claim_ms,
        };
        if let Err(error) = self.tape.renew_dispatch(command).await {
            // The dispatch cannot be called back. If the claim runs out, its outcome is settled by observation.
            tracing::warn!(effect = %key, %error, "the claim could not be renewed");
        }
    }

    fn renewal(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.identity.claim_ms / 3).unwrap_or(1).max(1))
    }
}

/// Makes "attempt started" durable before the host lets the first byte leave.
struct DurableMark<'a> {
    outbox: &'a Outbox,
    run: &'a RunId,
    key: &'a EffectKey,
    attempt: u32,
}

#[async_trait]
impl Mark for DurableMark<'_> {
    async fn sent(&self) -> Result<(), MarkRefused> {
        let command = MarkSent {
            run: self.run.clone(),
            key: self.key.clone(),
            owner: self.outbox.identity.owner.clone(),
            attempt: self.attempt,
        };
        self.outbox
            .tape
            .mark_sent(command)
            .await
            .map_err(|error| MarkRefused(error.to_string()))
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
