//! Reopen an effect: where it has a business key, only with that key in hand.

use tape_core::command::operator::RetryEffect;
use tape_core::command::reserve::{BusinessKey, RESERVATION_REVOKED, Reserve};
use tape_core::effect::Effect;
use tape_core::journal::Trace;
use tape_core::json::not_found;
use tape_core::row::Reservation;
use tape_core::{Refusal, Status};
use tape_port::TapeError;

use crate::begin_effect::ROUNDS_MAX;
use crate::engine::Engine;

impl Engine {
    /// Opens a new attempt on a failed effect, or makes a waiting one due now.
    ///
    /// # Errors
    /// `TAPE-E014` if another run's effect has its business key by now: both would be carried out. The refusals of
    /// [`RetryEffect`].
    pub async fn retry_effect(&self, mut command: RetryEffect, trace: Option<Trace>) -> Result<Effect, TapeError> {
        let effect = self.effect(&command.run, &command.key).await?;
        let effect = effect.ok_or_else(|| not_found("TAPE-E001", "effect", command.key.as_str()))?;
        if effect.intent.business_key.is_empty() {
            return self.execute(&command, trace).await;
        }
        let key = BusinessKey {
            tenant: self.tenant(&command.run).await?,
            connector: effect.intent.connector.clone(),
            key: effect.intent.business_key.clone(),
        };
        let mut from = None;
        for _ in 0..ROUNDS_MAX {
            let reserve = Reserve {
                key: key.clone(),
                run: command.run.clone(),
                effect: command.key.clone(),
                from: from.take(),
            };
            let owner = self.execute(&reserve, None).await?;
            if owner.run != command.run || owner.effect != command.key {
                if let Some(effect) = self.owned(&key, &owner).await? {
                    return Err(taken(&command, &key, &owner, &effect).into());
                }
                from = Some(owner);
                continue;
            }
            command.reserved = Some((key.key.clone(), owner.number));
            match self.execute(&command, trace.clone()).await {
                // Reserve anew, against whoever revoked.
                Err(TapeError::Refused(refusal)) if refusal.code == RESERVATION_REVOKED => from = Some(owner),
                answer => return answer,
            }
        }
        Err(TapeError::Unavailable(format!(
            "Business key {:?} changes hands too fast.",
            key.key
        )))
    }
}

fn taken(command: &RetryEffect, key: &BusinessKey, owner: &Reservation, effect: &Effect) -> Refusal {
    Refusal::new(
        Status::FailedPrecondition,
        "TAPE-E014",
        format!(
            "Effect {:?} cannot be tried again: its business key {:?} is that of effect {:?} of run {:?} by now, which is {}.",
            command.key.as_str(),
            key.key,
            owner.effect.as_str(),
            owner.run.as_str(),
            effect.state.name(),
        ),
        "Look at that effect: what was wanted may have been done by it. If both are wanted, begin this one under a key of its own.",
    )
}
