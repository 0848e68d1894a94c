//! Tasks in Google Cloud Tasks: an HTTP request that Google makes later, and repeats until it is answered.
//!
//! A task is named after its idempotency key, and Cloud Tasks takes a name once: creating it again is harmless, and settles every doubt.
//! A task that has run is gone, so that a task that is not there says nothing.

use data_encoding::{BASE64, HEXLOWER};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Effect, Failure, NoReceipt, Obligation, ObserveAnswer, Reading,
    Receipt, Request, Response, StatusAnswer, doubt, invalid, read_lookup, read_request, segment,
};

const BASE_URL: &str = "https://cloudtasks.googleapis.com";

struct CloudTasks;

tape_guest::export!(CloudTasks);

#[derive(Deserialize)]
struct Config {
    project: String,
    location: String,
    #[serde(default = "base_url")]
    base_url: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Task {
    queue: String,
    url: String,
    #[serde(default = "post")]
    method: String,
    #[serde(default)]
    headers: Map<String, Value>,
    /// A text as it is, anything else as JSON.
    #[serde(default)]
    body: Value,
    /// RFC 3339; now if it is missing.
    schedule_time: Option<String>,
    /// As whom Google calls the URL.
    service_account: Option<String>,
}

impl Connector for CloudTasks {
    fn describe() -> Result<String, String> {
        Ok(description().to_string())
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        let (request, name) = match create(&effect) {
            Ok(planned) => planned,
            Err(failure) => return DispatchAnswer::Failed(failure),
        };
        let answer = request.send();
        // The name is taken: by a former attempt at this very effect.
        if answer.as_ref().is_ok_and(|response| response.status == 409) {
            return DispatchAnswer::Confirmed(receipt_of(&name));
        }
        let reading: Reading<Receipt> = read_request(answer, receipt);
        reading.into()
    }

    fn status_check(effect: Effect, _: String) -> StatusAnswer {
        let asked = plan(&effect).map(|(config, _, name)| config.ask(&name));
        match asked.map(|request| read_lookup(request.send(), receipt)) {
            Ok(Ok(Some(receipt))) => StatusAnswer::Committed(receipt),
            Ok(Ok(None)) => StatusAnswer::Inconclusive(doubt("there is no such task: it has run, or never was")),
            Ok(Err(doubt)) => StatusAnswer::Inconclusive(doubt),
            Err(failure) => StatusAnswer::Inconclusive(doubt(failure.message)),
        }
    }

    fn observe(_: Effect) -> ObserveAnswer {
        ObserveAnswer::Inconclusive(doubt("tasks are known by their names alone: use status-check"))
    }

    fn compensate(_: Obligation) -> CompensateAnswer {
        let message = "whether a task that is gone has run cannot be told, so deleting it proves nothing";
        CompensateAnswer::Failed(invalid("unsupported", message))
    }
}

impl Config {
    fn ask(&self, name: &str) -> Request {
        self.authorized(Request::get(format!("{}/v2/{name}", self.base())))
    }

    fn base(&self) -> &str {
        self.base_url.trim_end_matches('/')
    }

    fn authorized(&self, request: Request) -> Request {
        request.header("authorization", "Bearer {{secret:gcp-token}}")
    }
}

fn create(effect: &Effect) -> Result<(Request, String), Failure> {
    if effect.operation != "create" {
        return Err(invalid(
            "unknown-operation",
            format!("there is no operation `{}`, only `create`", effect.operation),
        ));
    }
    let (config, task, name) = plan(effect)?;
    if !task.url.starts_with("https://") && !task.url.starts_with("http://") {
        return Err(invalid(
            "bad-payload",
            format!("`url` is {:?}: write https://...", task.url),
        ));
    }
    let body = match task.body {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    let mut request = json!({"url": task.url, "httpMethod": task.method, "headers": task.headers});
    if !body.is_empty() {
        request["body"] = BASE64.encode(body.as_bytes()).into();
    }
    if let Some(account) = task.service_account {
        request["oidcToken"] = json!({"serviceAccountEmail": account});
    }
    let mut created = json!({"name": name, "httpRequest": request});
    if let Some(time) = task.schedule_time {
        created["scheduleTime"] = time.into();
    }
    let (parent, _) = name.rsplit_once("/tasks/").unwrap_or_default();
    let post = config.authorized(Request::post(format!("{}/v2/{parent}/tasks", config.base())));
    Ok((post.json(&json!({"task": created})), name))
}

/// The configuration, the task, and the name that Cloud Tasks takes once.
fn plan(effect: &Effect) -> Result<(Config, Task, String), Failure> {
    let config: Config = tape_guest::config()?;
    let task: Task = tape_guest::payload(&effect.payload)?;
    // Names have 500 characters and few kinds of them; a key has more of both.
    let digest = HEXLOWER.encode(&Sha256::digest(effect.idempotency_key.as_bytes()));
    let [project, location, queue] = [&config.project, &config.location, &task.queue].map(|part| segment(part));
    let name = format!("projects/{project}/locations/{location}/queues/{queue}/tasks/tape-{digest}");
    Ok((config, task, name))
}

fn receipt(response: &Response) -> Result<Receipt, NoReceipt> {
    #[derive(Deserialize)]
    struct Created {
        name: String,
    }
    tape_guest::json(response).map(|created: Created| receipt_of(&created.name))
}

fn receipt_of(name: &str) -> Receipt {
    Receipt {
        external_ref: name.to_owned(),
        response: json!({"name": name}).to_string(),
    }
}

fn base_url() -> String {
    BASE_URL.to_owned()
}

fn post() -> String {
    "POST".to_owned()
}

fn description() -> Value {
    let configured = tape_guest::config::<Value>().is_ok_and(|config| config["base_url"].is_string());
    json!({
        "name": "cloud-tasks",
        "version": env!("CARGO_PKG_VERSION"),
        "contract": "1.0.0",
        "summary": "Tasks in Google Cloud Tasks",
        "operations": [{
            "name": "create", "summary": "One task, named after its key", "semantics": "IDEMPOTENT",
            "payload_schema": {
                "type": "object", "required": ["queue", "url"], "additionalProperties": false,
                "properties": {
                    "queue": {"type": "string"}, "url": {"type": "string"}, "method": {"type": "string"},
                    "headers": {"type": "object"}, "body": {"description": "a text as it is, anything else as JSON"},
                    "schedule_time": {"type": "string", "format": "date-time"}, "service_account": {"type": "string"}
                }
            }
        }],
        "supports": {"observe": false, "status_check": true, "compensate": false},
        "config_schema": {
            "type": "object", "required": ["project", "location"], "additionalProperties": false,
            "properties": {
                "project": {"type": "string"}, "location": {"type": "string"},
                "base_url": {"type": "string", "description": "default https://cloudtasks.googleapis.com"}
            }
        },
        "asks": {
            "hosts": [{"host": if configured { "config:base_url" } else { BASE_URL }, "methods": ["GET", "POST"], "why": "Cloud Tasks' API"}],
            "secrets": [{"name": "gcp-token", "why": "an access token of a service account with roles/cloudtasks.enqueuer and cloudtasks.tasks.get"}]
        }
    })
}
