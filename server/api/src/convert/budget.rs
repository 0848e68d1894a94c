//! Budgets. Dollars are doubles on the wire and whole micro-dollars everywhere else; this is the only place that knows both.

use tape_core::budget::Budget;
use tape_core::{Refusal, RunId};
use tape_proto::v1 as pb;

/// Micro-dollars in a dollar.
const MICROS: f64 = 1_000_000.0;
/// Most dollars that can be said: beyond, a double no longer holds every micro-dollar.
const USD_MAX: f64 = 1_000_000_000.0;

/// Dollars in micro-dollars, to the nearest.
#[allow(
    clippy::cast_possible_truncation,
    reason = "at most 10^15 in absolute value, checked before"
)]
pub(crate) fn micros(field: &'static str, usd: f64) -> Result<i64, Refusal> {
    // Not a number is not within.
    if !(-USD_MAX..=USD_MAX).contains(&usd) {
        return Err(Refusal::invalid(
            field,
            &usd.to_string(),
            format!("{field} must be within 0..={USD_MAX} dollars."),
            "Send an amount in US dollars; 0 = none.",
        ));
    }
    Ok((usd * MICROS).round() as i64)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53 micro-dollars, that is nine billion dollars"
)]
fn dollars(micros: i64) -> f64 {
    micros as f64 / MICROS
}

pub(crate) fn state(run: &RunId, budget: &Budget) -> pb::BudgetState {
    pb::BudgetState {
        run_id: run.0.clone(),
        usd_cap: dollars(budget.usd_cap_micros),
        token_cap: budget.token_cap,
        usd_spent: dollars(budget.usd_spent_micros),
        tokens_spent: budget.tokens_spent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_survive_the_wire() {
        for (usd, expected) in [(0.1 + 0.2, 300_000), (1.25, 1_250_000), (0.0, 0), (-0.5, -500_000)] {
            assert_eq!(micros("usd", usd).unwrap(), expected);
        }
        for usd in [f64::NAN, f64::INFINITY, 1e18] {
            assert_eq!(micros("usd", usd).unwrap_err().field, Some("usd"));
        }
    }
}
