//! Begin an effect that has a business key: its reservation first, then the effect.

use tape_core::command::begin_effect::{BeginEffect, Known};
use tape_core::command::reserve::{BusinessKey, RESERVATION_REVOKED, Reserve, Revoke};
use tape_core::effect::{Effect, EffectState};
use tape_core::journal::Trace;
use tape_core::row::Reservation;
use tape_core::{Command, Context, Draft, EntityId};
use tape_port::TapeError;

use crate::engine::Engine;

/// How often two runs may take a business key from each other before the caller is told to try again.
pub(crate) const ROUNDS_MAX: u32 = 16;

/// What BeginEffect answers.
#[derive(Clone, Debug)]
pub struct EffectBegun {
    /// The effect: the run's own, or that of the run which owns the business key.
    pub effect: Effect,
    /// The run that owns the effect.
    pub owner: tape_core::RunId,
    /// It belongs to another run: nothing is dispatched again.
    pub deduplicated: bool,
}

impl Engine {
    /// Begins an effect, or returns the one that stands for it.
    ///
    /// # Errors
    /// The refusals of [`BeginEffect`].
    pub async fn begin_effect(&self, mut command: BeginEffect, trace: Option<Trace>) -> Result<EffectBegun, TapeError> {
        if command.connector.is_empty() {
            // A business key without a connector is refused; there is nothing to reserve.
            return self.begun(&command, trace).await;
        }
        let (tenant, app) = self.tenant_and_app(&command.run).await?;
        command.known = self.known(&tenant, &app, &command.connector);
        if command.business_key.is_empty() {
            return self.begun(&command, trace).await;
        }
        // Refusals and replays need no reservation.
        if let Some(begun) = self.replayed(&command).await? {
            return Ok(begun);
        }
        let key = BusinessKey {
            tenant,
            connector: command.connector.clone(),
            key: command.business_key.clone(),
        };
        let mut from = None;
        for _ in 0..ROUNDS_MAX {
            let reserve = Reserve {
                key: key.clone(),
                run: command.run.clone(),
                effect: command.key(),
                from: from.take(),
            };
            let owner = self.execute(&reserve, None).await?;
            if owner.run == command.run && owner.effect == command.key() {
                command.known.reservation = owner.number;
                match self.begun(&command, trace.clone()).await {
                    Err(TapeError::Refused(refusal)) if refusal.code == RESERVATION_REVOKED => {
                        // Reserve anew, against whoever revoked.
                        from = Some(owner);
                        continue;
                    }
                    answer => return answer,
                }
            }
            match self.owned(&key, &owner).await? {
                Some(effect) => {
                    return Ok(EffectBegun {
                        effect,
                        owner: owner.run,
                        deduplicated: true,
                    });
                }
                None => from = Some(owner),
            }
        }
        Err(TapeError::Unavailable(format!(
            "Business key {:?} changes hands too fast.",
            command.business_key
        )))
    }

    async fn begun(&self, command: &BeginEffect, trace: Option<Trace>) -> Result<EffectBegun, TapeError> {
        let begun = self.execute(command, trace).await?;
        Ok(EffectBegun {
            effect: begun.effect,
            owner: command.run.clone(),
            deduplicated: false,
        })
    }

    /// The effect, if it was begun before. Refusals come out as from the command itself; nothing is written.
    async fn replayed(&self, command: &BeginEffect) -> Result<Option<EffectBegun>, TapeError> {
        let snapshot = self.load(&EntityId::run(&command.run), &command.reads()).await?;
        let mut draft = Draft::new(
            snapshot,
            Context {
                now: self.now(),
                ..Context::default()
            },
        );
        match command.decide(&mut draft) {
            Ok(begun) if !begun.created => Ok(Some(EffectBegun {
                effect: begun.effect,
                owner: command.run.clone(),
                deduplicated: false,
            })),
            Ok(_) => Ok(None),
            Err(refusal) if refusal.code == RESERVATION_REVOKED => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The effect of another owner, if it stands in the way; none if the key may be taken from it.
    pub(crate) async fn owned(&self, key: &BusinessKey, owner: &Reservation) -> Result<Option<Effect>, TapeError> {
        let revoke = Revoke {
            run: owner.run.clone(),
            business_key: key.key.clone(),
            effect: owner.effect.clone(),
            number: owner.number,
        };
        let effect = self.execute(&revoke, None).await?;
        Ok(effect.filter(|effect| effect.state != EffectState::Failed))
    }

    /// What is known here about a connector.
    fn known(&self, tenant: &str, app: &str, connector: &str) -> Known {
        let description = self.connectors.describe(tenant, app, connector);
        let nearest = || {
            let loaded = self.connectors.list();
            let best = loaded.into_iter().max_by(|a, b| {
                strsim::jaro_winkler(&a.name, connector).total_cmp(&strsim::jaro_winkler(&b.name, connector))
            });
            best.map(|info| info.name)
        };
        Known {
            loaded: description.is_some(),
            observes: description
                .as_ref()
                .is_some_and(|d| d.supports.observe || d.supports.status_check),
            strict: self.config.strict_connectors
                && !self.config.connectors_in_workers.iter().any(|name| name == connector),
            nearest: if description.is_none() { nearest() } else { None },
            reservation: 0,
        }
    }
}
