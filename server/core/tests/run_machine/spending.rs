//! Steps of the budget.

use tape_core::RowKey;
use tape_core::command::budget::{AdmitBudget, ChargeBudget, SetBudget};

use crate::kept::{Again, Kept, id};
use crate::names::{either, request, same};
use crate::steps::Step;

impl Kept {
    pub(crate) fn spend(&mut self, step: &Step) {
        let run = id();
        match step.clone() {
            Step::SetBudget(cap) => {
                let command = SetBudget {
                    run,
                    usd_cap_micros: cap,
                    token_cap: cap * 2,
                };
                either(self.ask(&command, &same()));
            }
            Step::Admit(r, amount, fence) => {
                let command = AdmitBudget {
                    run,
                    driver: self.driver(fence),
                    request_id: request(r),
                    usd_micros: amount,
                    tokens: amount,
                };
                let before = self.rows.get(&RowKey::Budget).cloned();
                // Refused or granted: the same request is no news. One without identity is another each time.
                let again = if r.is_none() { Again::Counts } else { same() };
                let admitted = self.drive(fence, &command, &again).is_some_and(|reply| reply.admitted);
                if !admitted || before.as_ref() == self.rows.get(&RowKey::Budget) {
                    return;
                }
                let after = self.budget();
                let (usd, tokens) = after.reserved.values().fold((0, 0), |(usd, tokens), held| {
                    (usd + held.usd_micros, tokens + held.tokens)
                });
                let fits = |cap: i64, sum: i64| cap == 0 || sum <= cap;
                assert!(fits(after.usd_cap_micros, after.usd_spent_micros + usd), "{after:?}");
                assert!(fits(after.token_cap, after.tokens_spent + tokens), "{after:?}");
            }
            Step::Charge(r, amount, fence) => {
                let command = ChargeBudget {
                    run,
                    driver: self.driver(fence),
                    request_id: request(r),
                    usd_micros: amount,
                    tokens: amount,
                };
                let again = if r.is_none() { Again::Counts } else { same() };
                self.drive(fence, &command, &again);
            }
            other => unreachable!("{other:?} is no step of a budget"),
        }
    }
}
