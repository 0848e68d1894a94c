//! The bank's books, and what is to happen to the next answer.

use serde::{Deserialize, Serialize};

/// One booked wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// `w-1`, `w-2` ... in the order of booking.
    pub id: String,
    pub to: String,
    /// A decimal number as a string: money is never a float.
    pub amount: String,
    pub currency: String,
    /// The sender's reference. Not unique: the bank does not look at it.
    pub reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<String>,
    pub status: WireStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WireStatus {
    Booked,
    Reversed,
}

/// A wire as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub to: String,
    pub amount: String,
    pub currency: String,
    pub reference: String,
    #[serde(default)]
    pub memo: Option<String>,
}

/// What happens to the answer of the next wire. The wire itself is booked either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NextAnswer {
    #[default]
    Give,
    /// The connection is closed without a byte.
    Lose,
    /// The answer comes after this many milliseconds.
    Hold { hold_ms: u64 },
}

/// A refusal: an HTTP status, a code to match on, words for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
}

#[derive(Debug, Default)]
pub struct Ledger {
    wires: Vec<Wire>,
    next_answer: NextAnswer,
}

impl Ledger {
    /// Books `order`, whatever was booked before, and says what is to happen to the answer.
    pub fn book(&mut self, order: Order) -> Result<(Wire, NextAnswer), Refusal> {
        check(&order)?;
        let Order {
            to,
            amount,
            currency,
            reference,
            memo,
        } = order;
        let id = format!("w-{}", self.wires.len() + 1);
        let wire = Wire {
            id,
            to,
            amount,
            currency,
            reference,
            memo,
            status: WireStatus::Booked,
        };
        self.wires.push(wire.clone());
        Ok((wire, std::mem::take(&mut self.next_answer)))
    }

    /// The wires of `reference`, or all, in the order of booking.
    pub fn wires(&self, reference: Option<&str>) -> Vec<Wire> {
        let wanted = |wire: &&Wire| reference.is_none_or(|reference| wire.reference == reference);
        self.wires.iter().filter(wanted).cloned().collect()
    }

    pub fn reverse(&mut self, id: &str) -> Result<Wire, Refusal> {
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.id == id) else {
            return Err(refusal(404, "no-such-wire", format!("there is no wire `{id}`")));
        };
        if wire.status == WireStatus::Reversed {
            return Err(refusal(
                409,
                "already-reversed",
                format!("wire `{id}` is reversed already"),
            ));
        }
        wire.status = WireStatus::Reversed;
        Ok(wire.clone())
    }

    pub fn set_next_answer(&mut self, next_answer: NextAnswer) {
        self.next_answer = next_answer;
    }
}

fn check(order: &Order) -> Result<(), Refusal> {
    let texts = [
        ("to", &order.to),
        ("currency", &order.currency),
        ("reference", &order.reference),
    ];
    for (field, text) in texts {
        if text.trim().is_empty() {
            return Err(refusal(400, "missing-field", format!("`{field}` must not be empty")));
        }
    }
    if !is_positive_decimal(&order.amount) {
        return Err(refusal(
            400,
            "bad-amount",
            format!(
                "`amount` must be a positive decimal number like \"250.00\", not \"{}\"",
                order.amount
            ),
        ));
    }
    Ok(())
}

fn is_positive_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction) && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

fn refusal(status: u16, code: &'static str, message: String) -> Refusal {
    Refusal { status, code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(reference: &str, amount: &str) -> Order {
        let [to, currency] = ["acme", "EUR"].map(str::to_owned);
        Order {
            to,
            amount: amount.to_owned(),
            currency,
            reference: reference.to_owned(),
            memo: None,
        }
    }

    #[test]
    fn the_same_reference_twice_is_two_wires() {
        let mut ledger = Ledger::default();
        ledger.book(order("r-1", "10.00")).unwrap();
        ledger.book(order("r-1", "10.00")).unwrap();
        ledger.book(order("r-2", "10")).unwrap();
        let ids: Vec<_> = ledger.wires(Some("r-1")).into_iter().map(|wire| wire.id).collect();
        assert_eq!(ids, ["w-1", "w-2"]);
        assert_eq!(ledger.wires(None).len(), 3);
    }

    #[test]
    fn a_wire_is_reversed_once() {
        let mut ledger = Ledger::default();
        ledger.book(order("r-1", "10.00")).unwrap();
        assert_eq!(ledger.reverse("w-1").unwrap().status, WireStatus::Reversed);
        assert_eq!(ledger.reverse("w-1").unwrap_err().code, "already-reversed");
        assert_eq!(ledger.reverse("w-9").unwrap_err().code, "no-such-wire");
    }

    #[test]
    fn only_positive_decimals_are_money() {
        for amount in ["1", "0.01", "250.00"] {
            assert!(is_positive_decimal(amount), "{amount}");
        }
        for amount in ["", "0", "0.00", "-1", "1e3", "1.", ".5", "1,00", "ten"] {
            assert!(!is_positive_decimal(amount), "{amount}");
        }
    }

    #[test]
    fn a_fault_is_for_one_wire_only() {
        let mut ledger = Ledger::default();
        ledger.set_next_answer(NextAnswer::Lose);
        assert_eq!(ledger.book(order("r-1", "nothing")).unwrap_err().code, "bad-amount");
        assert_eq!(ledger.book(order("r-1", "1")).unwrap().1, NextAnswer::Lose);
        assert_eq!(ledger.book(order("r-1", "1")).unwrap().1, NextAnswer::Give);
    }
}
