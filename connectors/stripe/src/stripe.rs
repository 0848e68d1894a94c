//! Stripe's API, as far as this connector speaks it.

use serde::Deserialize;
use serde_json::{Value, json};
use tape_guest::{
    Effect, Failure, HttpError, NoReceipt, Reading, Receipt, Request, Response, doubt, invalid, read_request,
};

const BASE_URL: &str = "https://api.stripe.com";
/// Answers keep their shape for as long as this does.
const API_VERSION: &str = "2024-06-20";

#[derive(Deserialize)]
pub struct Config {
    #[serde(default = "base_url")]
    base_url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payment {
    /// In the currency's smallest unit, as a decimal string: `2500` is 25.00 EUR.
    amount: String,
    currency: String,
    customer: Option<String>,
    payment_method: Option<String>,
    description: Option<String>,
    /// Take the money now. Needs `payment_method`.
    #[serde(default)]
    confirm: bool,
    #[serde(default)]
    off_session: bool,
}

#[derive(Deserialize)]
pub struct Intent {
    pub id: String,
    pub status: String,
    #[serde(default)]
    amount: u64,
    #[serde(default)]
    currency: String,
    #[serde(default)]
    pub metadata: Metadata,
}

#[derive(Default, Deserialize)]
pub struct Metadata {
    #[serde(default)]
    pub tape_key: String,
}

#[derive(Deserialize)]
pub struct Page {
    pub data: Vec<Intent>,
    pub has_more: bool,
}

impl Config {
    pub fn get(&self, path: &str) -> Request {
        self.authorized(Request::get(self.url(path)))
    }

    pub fn post(&self, path: &str, key: &str) -> Request {
        // Stripe's keys are at most 255 characters; ours differ at their end.
        let from = key.char_indices().rev().nth(254).map_or(0, |(at, _)| at);
        self.authorized(Request::post(self.url(path)))
            .header("idempotency-key", &key[from..])
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.trim_end_matches('/'))
    }

    fn authorized(&self, request: Request) -> Request {
        request
            .header("authorization", "Bearer {{secret:stripe-key}}")
            .header("stripe-version", API_VERSION)
    }
}

impl Payment {
    pub fn fields(&self, effect: &Effect) -> Result<Vec<(&'static str, String)>, Failure> {
        if self.amount.is_empty() || !self.amount.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!(
                "`amount` is {:?}: write the smallest unit as a decimal string, like \"2500\" for 25.00",
                self.amount
            );
            return Err(invalid("bad-payload", message));
        }
        let mut fields = vec![
            ("amount", self.amount.clone()),
            ("currency", self.currency.to_lowercase()),
            ("metadata[tape_key]", effect.idempotency_key.clone()),
        ];
        let optional = [
            ("customer", self.customer.clone()),
            ("payment_method", self.payment_method.clone()),
            ("description", self.description.clone()),
            ("metadata[business_key]", effect.business_key.clone()),
            ("confirm", self.confirm.then(|| "true".to_owned())),
            ("off_session", self.off_session.then(|| "true".to_owned())),
        ];
        fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        Ok(fields)
    }
}

/// The answer to a request that changes something. 409 means that a request with this key is under way.
pub fn changed<T>(
    answer: Result<Response, HttpError>,
    done: impl FnOnce(&Response) -> Result<T, NoReceipt>,
) -> Reading<T> {
    if let Ok(response) = &answer
        && response.status == 409
    {
        return Reading::Unknown(doubt("a request with the same idempotency key is under way at Stripe"));
    }
    read_request(answer, done)
}

/// The answer to a refund. One that was made before is as good.
pub fn refund(answer: Result<Response, HttpError>, intent: &Intent) -> Reading<Receipt> {
    match changed(answer, tape_guest::json::<Value>) {
        Reading::Failed(failure) if failure.code == "charge_already_refunded" => {
            Reading::Done(already_undone(&intent.id))
        }
        reading => reading.map(|refund| Receipt {
            external_ref: refund["id"].as_str().unwrap_or(&intent.id).to_owned(),
            response: json!({"refund": refund["id"], "payment_intent": intent.id, "status": refund["status"]})
                .to_string(),
        }),
    }
}

pub fn intent(response: &Response) -> Result<Intent, NoReceipt> {
    tape_guest::json(response)
}

pub fn intents(response: &Response) -> Result<Page, NoReceipt> {
    tape_guest::json(response)
}

pub fn receipt_of(intent: &Intent) -> Receipt {
    let response = json!({
        "id": intent.id, "status": intent.status, "amount": intent.amount.to_string(), "currency": intent.currency,
    });
    Receipt {
        external_ref: intent.id.clone(),
        response: response.to_string(),
    }
}

pub fn already_undone(id: &str) -> Receipt {
    Receipt {
        external_ref: id.to_owned(),
        response: json!({"status": "nothing left to undo"}).to_string(),
    }
}

fn base_url() -> String {
    BASE_URL.to_owned()
}

pub fn description() -> Value {
    let configured = tape_guest::config::<Value>().is_ok_and(|config| config["base_url"].is_string());
    json!({
        "name": "stripe",
        "version": env!("CARGO_PKG_VERSION"),
        "contract": "1.0.0",
        "summary": "Payments through Stripe",
        "operations": [{
            "name": "pay", "summary": "A payment intent, confirmed at once if so asked", "semantics": "IDEMPOTENT",
            "payload_schema": {
                "type": "object", "required": ["amount", "currency"], "additionalProperties": false,
                "properties": {
                    "amount": {"type": "string", "pattern": "^[0-9]+$", "description": "in the currency's smallest unit"},
                    "currency": {"type": "string", "minLength": 3, "maxLength": 3},
                    "customer": {"type": "string"}, "payment_method": {"type": "string"},
                    "description": {"type": "string"}, "confirm": {"type": "boolean"}, "off_session": {"type": "boolean"}
                }
            }
        }],
        "supports": {"observe": true, "status_check": true, "compensate": true},
        "config_schema": {
            "type": "object", "additionalProperties": false,
            "properties": {"base_url": {"type": "string", "description": "default https://api.stripe.com"}}
        },
        "asks": {
            "hosts": [{"host": if configured { "config:base_url" } else { BASE_URL }, "methods": ["GET", "POST"], "why": "Stripe's API"}],
            "secrets": [{"name": "stripe-key", "why": "a restricted key that may write payment intents and refunds"}]
        }
    })
}
