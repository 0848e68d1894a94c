//! The uniqueness of a business key over runs, with commits that change one entity each.
//!
//! A reservation is written first, in an entity of its own, then the effect in its run. A process may die in between:
//! whoever then wants the key finds a reservation whose effect is not there. Before it takes the key it writes
//! [`Revoke`] into the owner's run; that run's version moves on, so that an effect which was about to be written is
//! decided again, finds the revocation, and is not written. So the key has one effect at any time.
//!
//! A revocation names the reservation by its number: it holds for ever, and only a newer reservation is worth anything.
//! Whoever is revoked reserves anew, against the one who revoked: one of the two wins.

use super::{Command, Reads};
use crate::draft::Draft;
use crate::effect::EffectState;
use crate::entity::{EntityId, EntityKind};
use crate::id::{EffectKey, RunId};
use crate::refusal::{Refusal, Status};
use crate::row::{Reservation, Row, RowKey};

/// Names a business key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusinessKey {
    /// Tenant; empty in single-tenant mode.
    pub tenant: String,
    /// Connector, that is the upstream to which it is known.
    pub connector: String,
    /// The caller's own name for the effect.
    pub key: String,
}

impl BusinessKey {
    /// The entity that holds its reservation.
    #[must_use]
    pub fn entity(&self) -> EntityId {
        EntityId::named(EntityKind::BusinessKey, &[&self.tenant, &self.connector, &self.key])
    }
}

/// Reserves a business key, unless somebody else has it.
#[derive(Clone, Debug)]
pub struct Reserve {
    /// The key.
    pub key: BusinessKey,
    /// The run that wants it.
    pub run: RunId,
    /// Its effect.
    pub effect: EffectKey,
    /// The owner from whom it may be taken: its effect is known not to be written, or to have failed.
    pub from: Option<Reservation>,
}

/// Tells a run that a business key is not its own any more, unless its effect is written.
#[derive(Clone, Debug)]
pub struct Revoke {
    /// The run that loses it.
    pub run: RunId,
    /// The key.
    pub business_key: String,
    /// The effect for which it was reserved.
    pub effect: EffectKey,
    /// The reservation's number.
    pub number: u64,
}

impl Command for Reserve {
    /// Who owns it now.
    type Reply = Reservation;

    fn entity(&self) -> EntityId {
        self.key.entity()
    }

    fn reads(&self) -> Reads {
        Reads::head()
    }

    fn decide(&self, draft: &mut Draft) -> Result<Reservation, Refusal> {
        let owner = match draft.row(&RowKey::Head) {
            Some(Row::Reservation(owner)) => Some(owner.clone()),
            _ => None,
        };
        match owner {
            Some(owner) if self.from.as_ref() != Some(&owner) => Ok(owner),
            owner => {
                let ours = Reservation {
                    run: self.run.clone(),
                    effect: self.effect.clone(),
                    at: draft.now(),
                    number: owner.map_or(0, |owner| owner.number) + 1,
                };
                draft.put(RowKey::Head, Row::Reservation(ours.clone()));
                Ok(ours)
            }
        }
    }
}

impl Command for Revoke {
    /// The effect, if it was written after all: the key stays with it unless it failed.
    type Reply = Option<crate::effect::Effect>;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([
            RowKey::Effect(self.effect.clone()),
            RowKey::Revoked(self.business_key.clone()),
        ])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Option<crate::effect::Effect>, Refusal> {
        let effect = draft.effect(&self.effect).ok().cloned();
        if effect
            .as_ref()
            .is_some_and(|effect| effect.state != EffectState::Failed)
        {
            return Ok(effect);
        }
        // One that failed lets go of its key, but could be reopened: then it must reserve anew.
        let key = RowKey::Revoked(self.business_key.clone());
        let known = matches!(draft.row(&key), Some(Row::Revoked(number)) if *number >= self.number);
        if draft.exists() && !known {
            draft.put(key, Row::Revoked(self.number));
        }
        Ok(effect)
    }
}

/// A reservation that somebody else took away: reserve anew.
pub const RESERVATION_REVOKED: &str = "TAPE-E009";

/// Refuses what stands on the run's reservation `number` of a business key, if that was taken away.
pub(crate) fn refuse_revoked(draft: &Draft, business_key: &str, number: u64) -> Result<(), Refusal> {
    match draft.row(&RowKey::Revoked(business_key.to_owned())) {
        Some(Row::Revoked(revoked)) if *revoked >= number => Err(Refusal::new(
            Status::Aborted,
            RESERVATION_REVOKED,
            format!("Business key {business_key:?} was taken by another run."),
            "Begin the effect again: it will get that run's effect.",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::{Context, Snapshot};

    fn reserve(snapshot: Snapshot, run: &str, from: Option<Reservation>) -> (Reservation, Snapshot) {
        let key = BusinessKey {
            tenant: String::new(),
            connector: "bank".into(),
            key: "invoice".into(),
        };
        let command = Reserve {
            key,
            run: RunId(run.into()),
            effect: EffectKey(format!("{run}/e")),
            from,
        };
        let mut draft = Draft::new(snapshot, Context::default());
        let owner = command.decide(&mut draft).unwrap();
        (owner, draft.finish().1)
    }

    #[test]
    fn only_one_of_two_who_take_from_the_same_owner_gets_the_key() {
        let (first, at_first) = reserve(Snapshot::default(), "a", None);
        assert_eq!((first.run.as_str(), first.number), ("a", 1));
        // b found the effect of a missing; a was revoked and reserves anew. Whoever commits second sees the other.
        let (taken, after_b) = reserve(at_first.clone(), "b", Some(first.clone()));
        assert_eq!((taken.run.as_str(), taken.number), ("b", 2));
        let (seen, _) = reserve(after_b, "a", Some(first.clone()));
        assert_eq!(seen, taken);
        let (again, after_a) = reserve(at_first, "a", Some(first.clone()));
        assert_eq!((again.run.as_str(), again.number), ("a", 2));
        let (seen, _) = reserve(after_a, "b", Some(first));
        assert_eq!(seen, again);
    }
}
