//! Slack's API, as far as this connector speaks it.

use serde::Deserialize;
use serde_json::{Value, json};
use tape_guest::{
    Failure, FailureKind, HttpError, NoReceipt, Reading, Receipt, Request, Response, doubt, failure, invalid,
    read_request,
};

pub const METADATA_EVENT: &str = "tape_effect";
const BASE_URL: &str = "https://slack.com/api";

#[derive(Deserialize)]
pub struct Config {
    #[serde(default = "base_url")]
    base_url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Post {
    /// The channel's id: Slack looks messages up by id alone.
    pub channel: String,
    pub text: String,
    pub thread_ts: Option<String>,
    #[serde(default)]
    pub blocks: Value,
}

#[derive(Deserialize)]
pub struct Message {
    pub ts: String,
    #[serde(default)]
    metadata: Value,
}

pub struct Page {
    pub messages: Vec<Message>,
    pub next_cursor: String,
}

/// `C024BE91L/1355517523.000005`: what finds a message again.
pub struct Reference {
    pub channel: String,
    pub ts: String,
}

impl Config {
    /// A method that changes something.
    pub fn call(&self, method: &str) -> Request {
        self.authorized(Request::post(self.url(method)))
    }

    /// A method that reads.
    pub fn ask(&self, method: &str) -> Request {
        self.authorized(Request::get(self.url(method)))
    }

    fn url(&self, method: &str) -> String {
        format!("{}/{method}", self.base_url.trim_end_matches('/'))
    }

    fn authorized(&self, request: Request) -> Request {
        request.header("authorization", "Bearer {{secret:slack-token}}")
    }
}

impl Message {
    pub fn key(&self) -> Option<&str> {
        (self.metadata["event_type"] == METADATA_EVENT).then(|| self.metadata["event_payload"]["key"].as_str())?
    }

    pub fn receipt(&self, channel: &str) -> Receipt {
        receipt_of(channel, &self.ts)
    }
}

impl Reference {
    pub fn read(text: &str) -> Result<Self, Failure> {
        let (channel, ts) = text.split_once('/').ok_or_else(|| {
            invalid(
                "bad-reference",
                format!("`{text}` is no reference of a message: it would be CHANNEL/TS"),
            )
        })?;
        Ok(Self {
            channel: channel.to_owned(),
            ts: ts.to_owned(),
        })
    }
}

/// The answer of a method that changes something. Slack refuses with status 200 and `ok: false`; the errors of `done` mean that it
/// is as it should be.
pub fn changed(answer: Result<Response, HttpError>, done: &[&str]) -> Reading<Receipt> {
    if let Ok(response) = &answer
        && let Some(error) = error(response)
    {
        return match error.as_str() {
            error if done.contains(&error) => Reading::Done(receipt_of("", "")),
            "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
                Reading::Unknown(doubt(format!("Slack says {error}: it may have been done")))
            }
            error => Reading::Failed(Failure {
                code: error.to_owned(),
                ..failure(kind(error), response, error == "ratelimited" || error == "rate_limited")
            }),
        };
    }
    read_request(answer, receipt)
}

/// One page of messages.
pub fn page(response: &Response) -> Result<Page, NoReceipt> {
    let body: Value = tape_guest::json(response)?;
    if body["ok"] != true {
        return Err(format!("Slack says {}", body["error"]));
    }
    let messages = serde_json::from_value(body["messages"].clone()).map_err(|error| format!("messages: {error}"))?;
    let next_cursor = body["response_metadata"]["next_cursor"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    Ok(Page { messages, next_cursor })
}

fn error(response: &Response) -> Option<String> {
    let body: Value = serde_json::from_slice(&response.body).ok()?;
    (response.status == 200 && body["ok"] == false).then(|| body["error"].as_str().unwrap_or("unnamed").to_owned())
}

fn kind(error: &str) -> FailureKind {
    match error {
        "ratelimited" | "rate_limited" => FailureKind::RateLimited,
        "invalid_auth" | "not_authed" | "account_inactive" | "token_revoked" | "token_expired" | "missing_scope"
        | "no_permission" => FailureKind::Unauthorized,
        _ => FailureKind::Rejected,
    }
}

fn receipt(response: &Response) -> Result<Receipt, NoReceipt> {
    let body: Value = tape_guest::json(response)?;
    match (body["ok"] == true, body["channel"].as_str(), body["ts"].as_str()) {
        (true, Some(channel), Some(ts)) => Ok(receipt_of(channel, ts)),
        _ => Err("it does not name channel and ts".to_owned()),
    }
}

fn receipt_of(channel: &str, ts: &str) -> Receipt {
    Receipt {
        external_ref: format!("{channel}/{ts}"),
        response: json!({"channel": channel, "ts": ts}).to_string(),
    }
}

fn base_url() -> String {
    BASE_URL.to_owned()
}

pub fn description() -> Value {
    let host = if tape_guest::config::<Value>().is_ok_and(|config| config["base_url"].is_string()) {
        "config:base_url"
    } else {
        "https://slack.com"
    };
    json!({
        "name": "slack",
        "version": env!("CARGO_PKG_VERSION"),
        "contract": "1.0.0",
        "summary": "Messages to Slack channels",
        "operations": [{
            "name": "post", "summary": "One message", "semantics": "NON_IDEMPOTENT",
            "payload_schema": {
                "type": "object", "required": ["channel", "text"], "additionalProperties": false,
                "properties": {
                    "channel": {"type": "string", "description": "the channel's id, like C024BE91L"},
                    "text": {"type": "string"}, "thread_ts": {"type": "string"}, "blocks": {"type": "array"}
                }
            }
        }],
        "supports": {"observe": true, "status_check": false, "compensate": true},
        "config_schema": {
            "type": "object", "additionalProperties": false,
            "properties": {"base_url": {"type": "string", "description": "default https://slack.com/api"}}
        },
        "asks": {
            "hosts": [{"host": host, "methods": ["GET", "POST"], "why": "Slack's API"}],
            "secrets": [{"name": "slack-token", "why": "a bot token with chat:write and channels:history"}]
        }
    })
}
