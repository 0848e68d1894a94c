//! Budgets: set a cap, ask before spending, say what was spent.

use serde_json::json;

use super::{Command, Reads};
use crate::budget::{Budget, Reservation};
use crate::draft::{Draft, Note};
use crate::entity::EntityId;
use crate::id::RunId;
use crate::journal::Kind;
use crate::lease::Driver;
use crate::refusal::Refusal;
use crate::row::{Row, RowKey};

/// What is remembered of a charge: the operation that its request id stands for.
const CHARGE: &str = "ChargeBudget";

/// Sets the caps. Spent counters stay.
#[derive(Clone, Debug)]
pub struct SetBudget {
    /// Run.
    pub run: RunId,
    /// Cap in micro-dollars; 0 = none.
    pub usd_cap_micros: i64,
    /// Cap in tokens; 0 = none.
    pub token_cap: i64,
}

/// Asks whether an estimate fits, and reserves it under the request id.
#[derive(Clone, Debug)]
pub struct AdmitBudget {
    /// Run.
    pub run: RunId,
    /// Who drives.
    pub driver: Driver,
    /// Identity of the request; empty from plain clients, for whom nothing is reserved.
    pub request_id: String,
    /// Estimate in micro-dollars.
    pub usd_micros: i64,
    /// Estimate in tokens.
    pub tokens: i64,
}

/// Says what was spent; settles the reservation of the same request id.
#[derive(Clone, Debug)]
pub struct ChargeBudget {
    /// Run.
    pub run: RunId,
    /// Who drives.
    pub driver: Driver,
    /// Identity of the request.
    pub request_id: String,
    /// Micro-dollars.
    pub usd_micros: i64,
    /// Tokens.
    pub tokens: i64,
}

/// An answer to [`AdmitBudget`].
#[derive(Clone, Debug)]
pub struct Admitted {
    /// Whether it fits.
    pub admitted: bool,
    /// Why not.
    pub reason: String,
    /// The budget as it stands.
    pub budget: Budget,
}

impl Command for SetBudget {
    type Reply = Budget;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Budget])
    }

    fn decide(&self, draft: &mut Draft) -> Result<Budget, Refusal> {
        not_negative("usd_cap", self.usd_cap_micros)?;
        not_negative("token_cap", self.token_cap)?;
        draft.run(&self.run)?.check_live()?;
        let budget = budget(draft);
        if budget.usd_cap_micros == self.usd_cap_micros && budget.token_cap == self.token_cap {
            return Ok(budget);
        }
        let budget = Budget {
            usd_cap_micros: self.usd_cap_micros,
            token_cap: self.token_cap,
            ..budget
        };
        draft.put(RowKey::Budget, Row::Budget(budget.clone()));
        let payload = json!({ "usd_cap_micros": self.usd_cap_micros, "token_cap": self.token_cap });
        draft.journal(&self.run, Note::run(Kind::BudgetSet, &payload))?;
        Ok(budget)
    }
}

impl Command for AdmitBudget {
    type Reply = Admitted;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Budget]).request(&self.request_id)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Admitted, Refusal> {
        not_negative("usd_estimate", self.usd_micros)?;
        not_negative("token_estimate", self.tokens)?;
        let run = draft.run(&self.run)?;
        run.check_driver(&self.driver)?;
        let fence = run.fence;
        let mut budget = budget(draft);
        let holds = budget.reserved.get(&self.request_id);
        // A request that comes late, after its charge, must not hold money that nobody will ever give back.
        if holds.is_some_and(|held| held.fence == fence) || draft.answered(&self.request_id, CHARGE)?.is_some() {
            return Ok(Admitted {
                admitted: true,
                reason: String::new(),
                budget,
            });
        }
        // What former drivers reserved and never charged is free again.
        budget.lapse(fence);
        let refused = budget.refuse(self.usd_micros, self.tokens);
        if let Some(reason) = &refused
            && !budget.remember_refused(&self.request_id, reason)
        {
            return Ok(Admitted {
                admitted: false,
                reason: reason.clone(),
                budget,
            });
        }
        let reserves = refused.is_none() && !self.request_id.is_empty();
        if reserves {
            let held = Reservation {
                usd_micros: self.usd_micros,
                tokens: self.tokens,
                fence,
            };
            budget.reserved.insert(self.request_id.clone(), held);
            budget.refused.remove(&self.request_id);
        }
        draft.put(RowKey::Budget, Row::Budget(budget.clone()));
        let kind = if refused.is_none() {
            Kind::BudgetAdmitted
        } else {
            Kind::BudgetRefused
        };
        let payload = json!({
            "usd_micros": self.usd_micros, "tokens": self.tokens, "request_id": self.request_id, "reason": refused,
        });
        draft.journal(&self.run, Note::run(kind, &payload))?;
        Ok(Admitted {
            admitted: refused.is_none(),
            reason: refused.unwrap_or_default(),
            budget,
        })
    }

    fn repeatable(&self) -> bool {
        !self.request_id.is_empty()
    }
}

impl Command for ChargeBudget {
    type Reply = Budget;

    fn entity(&self) -> EntityId {
        EntityId::run(&self.run)
    }

    fn reads(&self) -> Reads {
        Reads::rows([RowKey::Budget]).request(&self.request_id)
    }

    fn decide(&self, draft: &mut Draft) -> Result<Budget, Refusal> {
        not_negative("usd", self.usd_micros)?;
        not_negative("tokens", self.tokens)?;
        draft.run(&self.run)?.check_driver(&self.driver)?;
        let mut budget = budget(draft);
        if draft.answered(&self.request_id, CHARGE)?.is_some() {
            return Ok(budget);
        }
        let held = budget.reserved.remove(&self.request_id);
        budget.usd_spent_micros = budget.usd_spent_micros.saturating_add(self.usd_micros);
        budget.tokens_spent = budget.tokens_spent.saturating_add(self.tokens);
        draft.put(RowKey::Budget, Row::Budget(budget.clone()));
        let overrun = held.map_or(0, |held| (self.usd_micros - held.usd_micros).max(0));
        let payload = json!({
            "usd_micros": self.usd_micros, "tokens": self.tokens, "request_id": self.request_id, "overrun_usd_micros": overrun,
        });
        draft.journal(&self.run, Note::run(Kind::BudgetCharged, &payload))?;
        draft.remember(&self.request_id, CHARGE, String::new());
        Ok(budget)
    }

    fn repeatable(&self) -> bool {
        !self.request_id.is_empty()
    }
}

fn budget(draft: &Draft) -> Budget {
    match draft.row(&RowKey::Budget) {
        Some(Row::Budget(budget)) => budget.clone(),
        _ => Budget::default(),
    }
}

fn not_negative(field: &'static str, amount: i64) -> Result<(), Refusal> {
    if amount >= 0 {
        return Ok(());
    }
    Err(Refusal::invalid(
        field,
        &amount.to_string(),
        format!("{field} is negative."),
        "Use 0 for none.",
    ))
}
