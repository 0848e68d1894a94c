//! Who this connector is.

use serde_json::{Value, json};

pub fn description() -> Value {
    json!({
        "name": "bank",
        "version": env!("CARGO_PKG_VERSION"),
        "contract": "1.0.0",
        "summary": "Wires through a bank that knows no idempotency keys",
        "operations": [{
            "name": "wire",
            "summary": "Send money; the business key is the wire's reference",
            "semantics": "NON_IDEMPOTENT",
            "payload_schema": {
                "type": "object",
                "required": ["to", "amount", "currency"],
                "additionalProperties": false,
                "properties": {
                    "to": {"type": "string", "minLength": 1},
                    "amount": {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$"},
                    "currency": {"type": "string", "minLength": 3, "maxLength": 3},
                    "memo": {"type": "string"}
                }
            }
        }],
        "supports": {"observe": true, "status_check": false, "compensate": true},
        "config_schema": {
            "type": "object",
            "required": ["base_url"],
            "properties": {"base_url": {"type": "string", "description": "where the bank is, without a slash at the end"}}
        },
        "asks": {"hosts": [{"host": "config:base_url", "methods": ["GET", "POST"], "why": "the bank"}], "secrets": []}
    })
}
