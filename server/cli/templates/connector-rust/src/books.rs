//! What the API's answers mean.

use serde::Deserialize;
use serde_json::json;
use tape_guest::{NoReceipt, ObserveAnswer, Receipt, Response};

#[derive(Deserialize)]
pub struct Item {
    pub id: String,
}

impl Item {
    /// What the agent's tool returns stands in `response`.
    pub fn receipt(&self) -> Receipt {
        Receipt {
            external_ref: self.id.clone(),
            response: json!({"id": self.id}).to_string(),
        }
    }
}

pub fn receipt(response: &Response) -> Result<Receipt, NoReceipt> {
    tape_guest::json(response).map(|item: Item| item.receipt())
}

pub fn items(response: &Response) -> Result<Vec<Item>, NoReceipt> {
    #[derive(Deserialize)]
    struct Page {
        items: Vec<Item>,
    }
    tape_guest::json(response).map(|page: Page| page.items)
}

pub fn observed(items: &[Item]) -> ObserveAnswer {
    match items {
        [] => ObserveAnswer::Absent,
        [one] => ObserveAnswer::Present(one.receipt()),
        several => ObserveAnswer::Duplicate(several.iter().map(Item::receipt).collect()),
    }
}

/// The item that the receipt names; without a receipt the only one.
pub fn meant<'a>(items: &'a [Item], receipt: Option<&Receipt>) -> Option<&'a Item> {
    match receipt {
        Some(receipt) => items.iter().find(|item| item.id == receipt.external_ref),
        None => items.first(),
    }
}

pub fn nothing(receipt: Option<Receipt>) -> Receipt {
    Receipt {
        external_ref: receipt.map(|receipt| receipt.external_ref).unwrap_or_default(),
        response: json!({"status": "nothing to undo"}).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tape_guest::testing::response;

    #[test]
    fn the_books_are_counted() {
        let read = |json| items(&response(200, &json)).map(|items| observed(&items));
        assert!(matches!(read(json!({"items": []})), Ok(ObserveAnswer::Absent)));
        assert!(matches!(read(json!({"items": [{"id": "i-1"}]})), Ok(ObserveAnswer::Present(_))));
        assert!(matches!(read(json!({"items": [{"id": "i-1"}, {"id": "i-2"}]})), Ok(ObserveAnswer::Duplicate(_))));
        assert!(read(json!({})).is_err());
    }
}
