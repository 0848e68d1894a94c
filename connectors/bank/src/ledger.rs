//! What the bank's answers mean.

use serde::{Deserialize, Serialize};
use tape_guest::{Failure, NoReceipt, ObserveAnswer, Receipt, Response, doubt, invalid, json};

/// A wire in the bank's books, as far as this connector looks at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    pub id: String,
    pub reference: String,
    pub status: Status,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Booked,
    Reversed,
}

/// What is left to do to undo a wire.
#[derive(Debug)]
pub enum Undo {
    /// It is reversed already, or the bank never knew it.
    Nothing(Receipt),
    /// The wire with this id.
    Reverse(String),
    /// Which one is meant cannot be told.
    Ambiguous(Failure),
}

/// The receipt in the bank's answer to an order or a reversal.
pub fn receipt(response: &Response) -> Result<Receipt, NoReceipt> {
    json::<Wire>(response).map(|wire| receipt_of(&wire))
}

/// The wires in the bank's answer to a question.
pub fn wires(response: &Response) -> Result<Vec<Wire>, NoReceipt> {
    #[derive(Deserialize)]
    struct Wires {
        wires: Vec<Wire>,
    }
    json::<Wires>(response).map(|answer| answer.wires)
}

/// What the wires of one reference say about the effect. A reversed one is not counted: it is the surplus of a former duplicate.
pub fn observed(wires: &[Wire]) -> ObserveAnswer {
    let booked: Vec<Receipt> = wires
        .iter()
        .filter(|wire| wire.status == Status::Booked)
        .map(receipt_of)
        .collect();
    match (booked.as_slice(), wires) {
        ([], []) => ObserveAnswer::Absent,
        ([], [..]) => ObserveAnswer::Inconclusive(doubt(
            "every wire of this reference was reversed: a person has to judge",
        )),
        ([one], _) => ObserveAnswer::Present(one.clone()),
        ([..], _) => ObserveAnswer::Duplicate(booked),
    }
}

/// What to do about the wire that `receipt` names among the `wires` of its reference; without a receipt, about the only booked one.
pub fn undo(wires: &[Wire], receipt: Option<&Receipt>) -> Undo {
    let named = receipt
        .map(|receipt| receipt.external_ref.as_str())
        .filter(|id| !id.is_empty());
    let meant: Vec<&Wire> = match named {
        Some(id) => wires.iter().filter(|wire| wire.id == id).collect(),
        None => wires.iter().filter(|wire| wire.status == Status::Booked).collect(),
    };
    match meant.as_slice() {
        [] => Undo::Nothing(nothing_to_undo(named)),
        [wire] if wire.status == Status::Reversed => Undo::Nothing(receipt_of(wire)),
        [wire] => Undo::Reverse(wire.id.clone()),
        several => Undo::Ambiguous(invalid(
            "ambiguous",
            format!(
                "{} wires are booked under this reference and no receipt says which one is meant",
                several.len()
            ),
        )),
    }
}

fn receipt_of(wire: &Wire) -> Receipt {
    let response = serde_json::json!({"id": wire.id, "reference": wire.reference, "status": wire.status});
    Receipt {
        external_ref: wire.id.clone(),
        response: response.to_string(),
    }
}

fn nothing_to_undo(named: Option<&str>) -> Receipt {
    let response = serde_json::json!({"id": named, "status": "unknown to the bank: nothing to reverse"});
    Receipt {
        external_ref: named.unwrap_or_default().to_owned(),
        response: response.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(id: &str, status: Status) -> Wire {
        Wire {
            id: id.to_owned(),
            reference: "inv-7".to_owned(),
            status,
        }
    }

    fn receipt(id: &str) -> Receipt {
        Receipt {
            external_ref: id.to_owned(),
            response: "{}".to_owned(),
        }
    }

    #[test]
    fn the_books_are_counted_without_what_was_reversed() {
        let [booked, other] = ["w-1", "w-2"].map(|id| wire(id, Status::Booked));
        let reversed = wire("w-3", Status::Reversed);
        assert!(matches!(observed(&[]), ObserveAnswer::Absent));
        assert!(
            matches!(observed(std::slice::from_ref(&booked)), ObserveAnswer::Present(r) if r.external_ref == "w-1")
        );
        assert!(
            matches!(observed(&[reversed.clone(), booked.clone()]), ObserveAnswer::Present(r) if r.external_ref == "w-1")
        );
        assert!(matches!(observed(&[booked, other]), ObserveAnswer::Duplicate(all) if all.len() == 2));
        assert!(matches!(observed(&[reversed]), ObserveAnswer::Inconclusive(_)));
    }

    #[test]
    fn a_wire_is_reversed_once() {
        assert!(
            matches!(undo(&[wire("w-1", Status::Booked)], Some(&receipt("w-1"))), Undo::Reverse(id) if id == "w-1")
        );
        assert!(matches!(
            undo(&[wire("w-1", Status::Reversed)], Some(&receipt("w-1"))),
            Undo::Nothing(_)
        ));
    }

    #[test]
    fn what_the_bank_does_not_know_needs_no_undoing() {
        assert!(matches!(undo(&[], Some(&receipt("w-1"))), Undo::Nothing(_)));
        assert!(matches!(
            undo(&[wire("w-2", Status::Booked)], Some(&receipt("w-1"))),
            Undo::Nothing(_)
        ));
    }

    #[test]
    fn without_a_receipt_only_a_single_wire_is_meant() {
        let [one, two] = ["w-1", "w-2"].map(|id| wire(id, Status::Booked));
        assert!(matches!(undo(std::slice::from_ref(&one), None), Undo::Reverse(id) if id == "w-1"));
        assert!(matches!(undo(&[one, two], None), Undo::Ambiguous(_)));
    }
}
