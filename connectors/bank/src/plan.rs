//! What is asked of the bank.

use serde::{Deserialize, Serialize};
use tape_guest::{Effect, Failure, Request, invalid, payload, segment};

#[derive(Debug, Deserialize)]
pub struct Config {
    pub base_url: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    to: String,
    amount: String,
    currency: String,
    memo: Option<String>,
}

#[derive(Serialize)]
struct Order<'a> {
    to: &'a str,
    amount: &'a str,
    currency: &'a str,
    reference: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    memo: Option<&'a str>,
}

/// The order for `effect`.
pub fn wire(config: &Config, effect: &Effect) -> Result<Request, Failure> {
    if effect.operation != "wire" {
        return Err(invalid(
            "unknown-operation",
            format!("there is no operation `{}`, only `wire`", effect.operation),
        ));
    }
    let Wire {
        to,
        amount,
        currency,
        memo,
    } = payload(&effect.payload)?;
    let order = Order {
        to: &to,
        amount: &amount,
        currency: &currency,
        reference: reference(effect),
        memo: memo.as_deref(),
    };
    Ok(Request::post(url(config, "/wires")).json(&order))
}

/// The question which wires carry the effect's reference.
pub fn lookup(config: &Config, effect: &Effect) -> Request {
    Request::get(url(config, "/wires")).query("reference", reference(effect))
}

pub fn reverse(config: &Config, id: &str) -> Request {
    Request::post(url(config, &format!("/wires/{}/reverse", segment(id))))
}

/// What the bank's ledger knows the effect by.
fn reference(effect: &Effect) -> &str {
    effect.business_key.as_deref().unwrap_or(&effect.idempotency_key)
}

fn url(config: &Config, path: &str) -> String {
    format!("{}{path}", config.base_url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(business_key: Option<&str>, payload: &str) -> Effect {
        Effect {
            tenant: "default".to_owned(),
            app: "treasury".to_owned(),
            run_id: "r-1".to_owned(),
            idempotency_key: "r-1/d-0/wire_money/0".to_owned(),
            decision_index: 0,
            tool: "wire_money".to_owned(),
            operation: "wire".to_owned(),
            business_key: business_key.map(str::to_owned),
            attempt: 1,
            payload: payload.to_owned(),
            deadline_ms: 0,
            trace_parent: None,
            context: Vec::new(),
        }
    }

    fn config() -> Config {
        Config {
            base_url: "http://bank:7900/".to_owned(),
        }
    }

    #[test]
    fn a_wire_carries_the_business_key_as_its_reference() {
        let request = wire(
            &config(),
            &effect(Some("inv-7"), r#"{"to":"acme","amount":"250.00","currency":"EUR"}"#),
        )
        .unwrap();
        assert_eq!(
            (request.method.as_str(), request.url.as_str()),
            ("POST", "http://bank:7900/wires")
        );
        let body = String::from_utf8(request.body.unwrap()).unwrap();
        assert_eq!(
            body,
            r#"{"to":"acme","amount":"250.00","currency":"EUR","reference":"inv-7"}"#
        );
    }

    #[test]
    fn a_wire_without_a_business_key_is_found_by_its_idempotency_key() {
        let request = lookup(&config(), &effect(None, "{}"));
        assert_eq!(
            request.url,
            "http://bank:7900/wires?reference=r-1%2Fd-0%2Fwire_money%2F0"
        );
    }

    #[test]
    fn a_payload_that_makes_no_sense_is_named() {
        for payload in [
            "{}",
            r#"{"to":"acme","amount":250,"currency":"EUR"}"#,
            r#"{"to":"a","amount":"1","currency":"EUR","x":1}"#,
        ] {
            assert_eq!(wire(&config(), &effect(None, payload)).unwrap_err().code, "bad-payload");
        }
        let other = Effect {
            operation: "loan".to_owned(),
            ..effect(None, "{}")
        };
        assert_eq!(wire(&config(), &other).unwrap_err().code, "unknown-operation");
    }
}
