//! The reconciler: asks the upstream about effects in doubt.
//!
//! First "did this very request commit?" (status check), then "what do your books say?" (observe). Only an answer
//! settles doubt.

use std::sync::Arc;

use async_trait::async_trait;
use tape_connector_port::{Connectors, EffectCall, Evidence, ObserveAnswer, Receipt, StatusAnswer};
use tape_core::command::observe::{Booking, ClaimCheck, IfAbsent, Observation, RecordObservation};
use tape_core::effect::Effect;
use tape_core::{DueKind, RowKey};
use tape_port::{DueItem, DueWork, Tape, TapeError, Workers};

use crate::call::{effect_call, ms, version};
use crate::reactor::{Identity, Reactor};

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
            kind: DueKind::Reconcile,
            apps: None,
            ahead_ms: 0,
            limit: 200,
        }
    }

    async fn woken(&self) {
        self.tape.woken(DueKind::Reconcile).await;
    }

    async fn handle(&self, item: &DueItem) -> Result<(), TapeError> {
        let RowKey::Effect(key) = &item.key else { return Ok(()) };
        let claim = ClaimCheck {
            run: item.run.clone(),
            key: key.clone(),
            owner: self.identity.owner.clone(),
            ttl_ms: self.identity.claim_ms,
        };
        let Some(effect) = self.tape.claim_check(claim).await? else {
            return Ok(());
        };
        let run = self.tape.run(&item.run).await?;
        let call = effect_call(&run, &effect);
        let (observation, evidence) = self.ask(&effect, &call).await;
        let record = RecordObservation {
            run: item.run.clone(),
            key: key.clone(),
            observation,
            if_absent: IfAbsent::default(),
            surplus: None,
            evidence_json: evidence.map_or_else(String::new, |e| serde_json::to_string(&e).unwrap_or_default()),
        };
        self.tape.record_observation(record).await.map(drop)
    }
}

impl Reconciler {
    /// Asks everybody who may know, until one does.
    async fn ask(&self, effect: &Effect, call: &EffectCall) -> (Observation, Option<Evidence>) {
        let mut reasons = Vec::new();
        let reference = if effect.external_ref.is_empty() {
            &call.idempotency_key
        } else {
            &effect.external_ref
        };
        if !effect.intent.status_check.is_empty() {
            match self
                .workers
                .status_check(&effect.intent.status_check, call, reference)
                .await
            {
                Ok(answer) => match status(answer) {
                    Observation::Inconclusive {
                        reason,
                        retry_after_ms: None,
                    } => reasons.push(reason),
                    settled => return (settled, None),
                },
                Err(error) => reasons.push(error.to_string()),
            }
        }
        let name = &effect.intent.connector;
        let supports = self
            .connectors
            .describe(&call.tenant, name)
            .map(|description| description.supports);
        if supports.as_ref().is_some_and(|supports| supports.status_check) {
            match self
                .connectors
                .status_check(name, version(effect), call, reference)
                .await
            {
                Ok(called) => match status(called.outcome) {
                    Observation::Inconclusive {
                        reason,
                        retry_after_ms: None,
                    } => reasons.push(reason),
                    settled => return (settled, Some(called.evidence)),
                },
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if supports.as_ref().is_some_and(|supports| supports.observe) {
            match self.connectors.observe(name, version(effect), call).await {
                Ok(called) => return (observed(called.outcome), Some(called.evidence)),
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
        (
            Observation::Inconclusive {
                reason: reasons.join("; "),
                retry_after_ms: None,
            },
            None,
        )
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
