//! A run's budget: dollars and tokens, spent and reserved, never admitted past the cap.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Caps and counters. Dollars are whole micro-dollars inside; floating point exists only on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Cap in micro-dollars; 0 = none.
    pub usd_cap_micros: i64,
    /// Cap in tokens; 0 = none.
    pub token_cap: i64,
    /// Spent micro-dollars.
    pub usd_spent_micros: i64,
    /// Spent tokens.
    pub tokens_spent: i64,
    /// Reserved and not yet charged, by request id.
    pub reserved: BTreeMap<String, Reservation>,
    /// Why requests were refused last, by request id: the same refusal again is no news. Of the newest drivers' requests
    /// only, so many at most.
    #[serde(default)]
    pub refused: BTreeMap<String, String>,
}

/// Refusals that are remembered. One that is forgotten is journalled once more, no more than that.
const REFUSED_MAX: usize = 32;

/// What one admitted and not yet charged request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Micro-dollars.
    pub usd_micros: i64,
    /// Tokens.
    pub tokens: i64,
    /// The fence under which it was made: it lapses with it.
    pub fence: u64,
}

impl Budget {
    /// Why an estimate does not fit, if it does not.
    #[must_use]
    pub fn refuse(&self, usd_micros: i64, tokens: i64) -> Option<String> {
        let held = self.reserved.values().fold((0_i64, 0_i64), |(usd, tok), r| {
            (usd.saturating_add(r.usd_micros), tok.saturating_add(r.tokens))
        });
        let usd = self.usd_spent_micros.saturating_add(held.0).saturating_add(usd_micros);
        let tok = self.tokens_spent.saturating_add(held.1).saturating_add(tokens);
        if self.usd_cap_micros > 0 && usd > self.usd_cap_micros {
            return Some(format!(
                "usd: {usd} of {} micro-dollars would be spent or reserved",
                self.usd_cap_micros
            ));
        }
        if self.token_cap > 0 && tok > self.token_cap {
            return Some(format!(
                "tokens: {tok} of {} would be spent or reserved",
                self.token_cap
            ));
        }
        None
    }

    /// Remembers why a request was refused. False if that is known already. A request without identity is always news.
    pub fn remember_refused(&mut self, request_id: &str, reason: &str) -> bool {
        if request_id.is_empty() {
            return true;
        }
        if self.refused.get(request_id).is_some_and(|known| known == reason) {
            return false;
        }
        if self.refused.len() >= REFUSED_MAX {
            self.refused.pop_first();
        }
        self.refused.insert(request_id.to_owned(), reason.to_owned());
        true
    }

    /// Lets go of what drivers before `fence` reserved and never charged.
    pub fn lapse(&mut self, fence: u64) {
        self.reserved.retain(|_, r| r.fence >= fence);
    }
}
