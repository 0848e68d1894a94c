//! What people and plain clients look for over all runs: effects without an outcome, obligations that are not undone.
//!
//! They are found by their hints, also those that wait for a person: these are due never. Only an inline effect that its
//! driver has begun has no hint, because nobody but the driver has work with it: for those all live runs are looked into.
//!
//! Either everything is looked at, or nothing is answered: who asks what is in doubt must not be told a part of it.

use std::collections::BTreeMap;

use tape_core::command::Reads;
use tape_core::effect::{Effect, EffectState, Mode};
use tape_core::obligation::{Obligation, ObligationState};
use tape_core::refusal::{Refusal, Status};
use tape_core::row::RowKind;
use tape_core::{DueKind, EffectKey, EntityId, Row, RowKey, RunId, Time};
use tape_port::{DueItem, DueWork, TapeError};

use crate::engine::Engine;
use crate::read::RunFilter;

/// Most hints that are looked at.
const HINTS_MAX: u32 = 100_000;
/// Runs listed at once.
const PAGE: u32 = 500;
/// RUNNABLE, RUNNING, WAITING: what has inline effects under way.
const LIVE: [u8; 3] = [1, 2, 3];

/// Which effects without an outcome.
#[derive(Clone, Copy, Debug)]
pub struct OpenEffects<'a> {
    /// Of this tenant; none = of all.
    pub tenant: Option<&'a str>,
    /// Those that are not carried out yet, or are under way.
    pub pending: bool,
    /// Those in doubt or stuck.
    pub unknown: bool,
    /// Begun at this time or before.
    pub begun_until: Time,
    /// The oldest so many.
    pub most: usize,
}

impl OpenEffects<'_> {
    fn wants(&self, effect: &Effect) -> bool {
        let in_doubt = matches!(effect.state, EffectState::Unknown(_) | EffectState::Stuck { .. });
        let kind = if in_doubt { self.unknown } else { self.pending };
        kind && !effect.state.settled() && effect.begun <= self.begun_until
    }
}

/// The oldest that were found so far.
struct Oldest {
    most: usize,
    found: BTreeMap<(Time, EffectKey, RunId), Effect>,
}

impl Oldest {
    fn add(&mut self, run: &RunId, effect: Effect) {
        let place = (effect.begun, effect.intent.key.clone(), run.clone());
        self.found.insert(place, effect);
        if self.found.len() > self.most {
            self.found.pop_last();
        }
    }
}

impl Engine {
    /// Effects without an outcome, oldest first, with their runs. Cost: grows with all effects that wait, and with `pending` with
    /// all live runs.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED if more wait than can be looked at; [`TapeError::Unavailable`].
    pub async fn open_effects(&self, wanted: OpenEffects<'_>) -> Result<Vec<(RunId, Effect)>, TapeError> {
        let mut kinds = vec![DueKind::Reconcile];
        if wanted.pending {
            kinds.push(DueKind::Outbox);
        }
        let mut oldest = Oldest {
            most: wanted.most,
            found: BTreeMap::new(),
        };
        for kind in kinds {
            for hint in self.hints(kind, wanted.tenant).await? {
                let RowKey::Effect(key) = &hint.key else { continue };
                if let Some(effect) = self.effect(&hint.run, key).await?
                    && wanted.wants(&effect)
                {
                    oldest.add(&hint.run, effect);
                }
            }
        }
        if wanted.pending {
            self.add_under_way(&wanted, &mut oldest).await?;
        }
        let found = oldest.found.into_iter();
        Ok(found.map(|((_, _, run), effect)| (run, effect)).collect())
    }

    /// Inline effects that their drivers have begun. A run that was created later than that has none.
    async fn add_under_way(&self, wanted: &OpenEffects<'_>, oldest: &mut Oldest) -> Result<(), TapeError> {
        let mut filter = RunFilter {
            tenant: wanted.tenant.map(str::to_owned),
            statuses: LIVE.to_vec(),
            created_until: Some(wanted.begun_until),
            limit: PAGE,
            ..RunFilter::default()
        };
        loop {
            let page = self.list_runs(&filter).await?;
            for run in page.items {
                for row in self.rows(&run.id, RowKind::Effect).await? {
                    let effect = under_way(row).filter(|effect| wanted.wants(effect));
                    if let Some(effect) = effect {
                        oldest.add(&run.id, effect);
                    }
                }
            }
            filter.after = page.next;
            if filter.after.is_none() {
                return Ok(());
            }
        }
    }

    /// Of one tenant, or of all: obligations that are not undone, oldest first, with their runs.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn open_obligations(&self, tenant: Option<&str>) -> Result<Vec<(RunId, Obligation)>, TapeError> {
        let mut found = Vec::new();
        for hint in self.hints(DueKind::Compensation, tenant).await? {
            match &hint.key {
                RowKey::Obligation(seq) => {
                    let obligation = self.obligation(&hint.run, *seq).await?;
                    found.extend(obligation.map(|obligation| (hint.run.clone(), obligation)));
                }
                // A run that is compensated has the hint of all its obligations.
                _ => found.extend(
                    self.obligations(&hint.run)
                        .await?
                        .into_iter()
                        .map(|obligation| (hint.run.clone(), obligation)),
                ),
            }
        }
        found.retain(|(_, obligation)| obligation.state != ObligationState::Compensated);
        found.sort_by(|(run_a, a), (run_b, b)| (a.at, run_a, a.seq).cmp(&(b.at, run_b, b.seq)));
        found.dedup_by(|(run_a, a), (run_b, b)| run_a == run_b && a.seq == b.seq);
        Ok(found)
    }

    /// Everything that waits for a kind of reactor, whenever it is due.
    async fn hints(&self, kind: DueKind, tenant: Option<&str>) -> Result<Vec<DueItem>, TapeError> {
        let work = DueWork {
            ahead_ms: Time::NEVER.since(self.now()),
            tenants: tenant.map(|tenant| vec![tenant.to_owned()]),
            ..DueWork::all(kind, HINTS_MAX)
        };
        let hints = self.due_work(&work).await?;
        if hints.len() >= HINTS_MAX as usize {
            return Err(Refusal::new(
                Status::ResourceExhausted,
                "TAPE-A009",
                format!("More than {HINTS_MAX} effects or obligations wait, which is more than one answer looks at."),
                "Look at single runs (GetEffect, ListObligations with run_id), or ask again when fewer wait; Admin.Stats and the metric tape_effects count them.",
            )
            .into());
        }
        Ok(hints)
    }

    async fn rows(&self, run: &RunId, kind: RowKind) -> Result<Vec<Row>, TapeError> {
        let snapshot = self.load(&EntityId::run(run), &Reads::head().all(kind)).await?;
        Ok(snapshot.rows.into_values().collect())
    }
}

/// An inline effect whose driver has begun it and not said how it ended.
fn under_way(row: Row) -> Option<Effect> {
    let Row::Effect(effect) = row else { return None };
    let pending = matches!(effect.state, EffectState::Pending { .. });
    // One with a hint was found by it.
    (pending && effect.intent.mode == Mode::Inline && effect.due().is_none()).then_some(*effect)
}
