//! GitHub's API, as far as this connector speaks it.

use serde::Deserialize;
use serde_json::{Value, json};
use tape_guest::{
    Failure, FailureKind, HttpError, NoReceipt, Reading, Receipt, Request, Response, failure, invalid, read_request,
    segment,
};

const BASE_URL: &str = "https://api.github.com";

#[derive(Deserialize)]
pub struct Config {
    #[serde(default = "base_url")]
    base_url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewIssue {
    /// `owner/name`.
    pub repository: String,
    pub title: String,
    #[serde(default)]
    pub body: String,
    #[serde(default)]
    pub labels: Vec<String>,
    #[serde(default)]
    pub assignees: Vec<String>,
}

#[derive(Deserialize)]
pub struct Issue {
    number: u64,
    state: String,
    #[serde(default)]
    state_reason: Option<String>,
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    html_url: String,
}

/// `owner/name#7`.
pub struct Reference {
    pub repository: String,
    pub number: u64,
}

impl Config {
    pub fn send(&self, method: &str, path: &str) -> Request {
        Request::new(method, format!("{}{path}", self.base_url.trim_end_matches('/')))
            .header("authorization", "Bearer {{secret:github-token}}")
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            .header("user-agent", "tape-connector-github-issues")
    }
}

impl Issue {
    /// Closed as an undoing closes it.
    pub fn is_undone(&self) -> bool {
        self.state == "closed" && self.state_reason.as_deref() == Some("not_planned")
    }
}

impl Reference {
    pub fn read(text: &str) -> Result<Self, Failure> {
        let parts = text
            .split_once('#')
            .and_then(|(repository, number)| Some((repository, number.parse().ok()?)));
        let (repository, number) = parts.ok_or_else(|| {
            invalid(
                "bad-reference",
                format!("`{text}` is no reference of an issue: it would be OWNER/NAME#7"),
            )
        })?;
        Ok(Self {
            repository: repository.to_owned(),
            number,
        })
    }
}

/// `/repos/owner/name`.
pub fn path(repository: &str) -> Result<String, Failure> {
    match repository.split_once('/') {
        Some((owner, name)) if !owner.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(format!("/repos/{}/{}", segment(owner), segment(name)))
        }
        _ => Err(invalid(
            "bad-payload",
            format!("`repository` is {repository:?}: write OWNER/NAME"),
        )),
    }
}

/// What nobody sees in an issue, and finds it again.
pub fn mark(key: &str) -> String {
    // `--` would end the comment.
    format!("<!-- tape:{} -->", key.replace("--", "-%2D"))
}

/// The answer to a request that changes an issue. GitHub limits with 403, too.
pub fn changed(answer: Result<Response, HttpError>) -> Reading<Issue> {
    if let Ok(response) = &answer
        && response.status == 403
        && is_limited(response)
    {
        return Reading::Failed(failure(FailureKind::RateLimited, response, true));
    }
    read_request(answer, tape_guest::json)
}

pub fn issues(response: &Response) -> Result<Vec<Issue>, NoReceipt> {
    tape_guest::json(response)
}

pub fn receipt_of(repository: &str, issue: &Issue) -> Receipt {
    Receipt {
        external_ref: format!("{repository}#{}", issue.number),
        response: json!({"number": issue.number, "url": issue.html_url, "state": issue.state}).to_string(),
    }
}

pub fn nothing() -> Receipt {
    Receipt {
        external_ref: String::new(),
        response: json!({"status": "there is no such issue: nothing to close"}).to_string(),
    }
}

fn is_limited(response: &Response) -> bool {
    let header = |wanted: &str| {
        response
            .headers
            .iter()
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value.as_str())
    };
    header("x-ratelimit-remaining") == Some("0")
}

fn base_url() -> String {
    BASE_URL.to_owned()
}

pub fn description() -> Value {
    let configured = tape_guest::config::<Value>().is_ok_and(|config| config["base_url"].is_string());
    json!({
        "name": "github-issues",
        "version": env!("CARGO_PKG_VERSION"),
        "contract": "1.0.0",
        "summary": "Issues on GitHub",
        "operations": [{
            "name": "create", "summary": "One issue", "semantics": "NON_IDEMPOTENT",
            "payload_schema": {
                "type": "object", "required": ["repository", "title"], "additionalProperties": false,
                "properties": {
                    "repository": {"type": "string", "description": "OWNER/NAME"}, "title": {"type": "string"},
                    "body": {"type": "string"},
                    "labels": {"type": "array", "items": {"type": "string"}},
                    "assignees": {"type": "array", "items": {"type": "string"}}
                }
            }
        }],
        "supports": {"observe": true, "status_check": false, "compensate": true},
        "config_schema": {
            "type": "object", "additionalProperties": false,
            "properties": {"base_url": {"type": "string", "description": "default https://api.github.com"}}
        },
        "asks": {
            "hosts": [{"host": if configured { "config:base_url" } else { BASE_URL }, "methods": ["GET", "PATCH", "POST"], "why": "GitHub's API"}],
            "secrets": [{"name": "github-token", "why": "a fine-grained token that may write issues"}]
        }
    })
}
