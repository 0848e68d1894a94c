//! Messages to Google Cloud Pub/Sub.
//!
//! Pub/Sub delivers at least once and cannot be asked what was published. A message carries its idempotency key in the attribute `tape-key`,
//! by which subscribers deduplicate as they have to anyway: publishing again with the same key is therefore harmless, and settles every doubt.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tape_guest::{
    CompensateAnswer, Connector, DispatchAnswer, Effect, Failure, NoReceipt, Obligation, ObserveAnswer, Receipt,
    Request, Response, StatusAnswer, doubt, invalid, read_request, segment,
};

const BASE_URL: &str = "https://pubsub.googleapis.com";

struct PubSub;

tape_guest::export!(PubSub);

#[derive(Deserialize)]
struct Config {
    project: String,
    #[serde(default = "base_url")]
    base_url: String,
    /// The emulator takes no token.
    #[serde(default)]
    emulator: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    topic: String,
    /// A text as it is, anything else as JSON.
    data: Value,
    #[serde(default)]
    attributes: Map<String, Value>,
    ordering_key: Option<String>,
}

impl Connector for PubSub {
    fn describe() -> Result<String, String> {
        Ok(description().to_string())
    }

    fn dispatch(effect: Effect) -> DispatchAnswer {
        match publish(&effect) {
            Ok(request) => read_request(request.send(), receipt).into(),
            Err(failure) => DispatchAnswer::Failed(failure),
        }
    }

    fn status_check(_: Effect, _: String) -> StatusAnswer {
        StatusAnswer::Inconclusive(doubt("Pub/Sub cannot be asked what was published"))
    }

    fn observe(_: Effect) -> ObserveAnswer {
        ObserveAnswer::Inconclusive(doubt("Pub/Sub cannot be asked what was published"))
    }

    fn compensate(_: Obligation) -> CompensateAnswer {
        CompensateAnswer::Failed(invalid(
            "unsupported",
            "what was published cannot be taken back: publish a message that says so",
        ))
    }
}

fn publish(effect: &Effect) -> Result<Request, Failure> {
    if effect.operation != "publish" {
        let message = format!("there is no operation `{}`, only `publish`", effect.operation);
        return Err(invalid("unknown-operation", message));
    }
    let config: Config = tape_guest::config()?;
    let message: Message = tape_guest::payload(&effect.payload)?;
    let mut attributes = message.attributes;
    if let Some((name, value)) = attributes.iter().find(|(_, value)| !value.is_string()) {
        return Err(invalid(
            "bad-payload",
            format!("attribute `{name}` is {value}: attributes are texts"),
        ));
    }
    attributes.insert("tape-key".to_owned(), effect.idempotency_key.as_str().into());
    if let Some(key) = &effect.business_key {
        attributes
            .entry("tape-business-key")
            .or_insert_with(|| key.as_str().into());
    }
    let data = match message.data {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let mut published = json!({"data": BASE64.encode(data.as_bytes()), "attributes": attributes});
    if let Some(key) = message.ordering_key {
        published["orderingKey"] = key.into();
    }
    let (base, project, topic) = (
        config.base_url.trim_end_matches('/'),
        segment(&config.project),
        segment(&message.topic),
    );
    let request = Request::post(format!("{base}/v1/projects/{project}/topics/{topic}:publish"));
    let request = if config.emulator {
        request
    } else {
        request.header("authorization", "Bearer {{secret:gcp-token}}")
    };
    Ok(request.json(&json!({"messages": [published]})))
}

fn receipt(response: &Response) -> Result<Receipt, NoReceipt> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Published {
        message_ids: Vec<String>,
    }
    let Published { message_ids } = tape_guest::json(response)?;
    let [id] = message_ids.as_slice() else {
        return Err(format!("it names {} messages instead of one", message_ids.len()));
    };
    Ok(Receipt {
        external_ref: id.clone(),
        response: json!({"message_id": id}).to_string(),
    })
}

fn base_url() -> String {
    BASE_URL.to_owned()
}

fn description() -> Value {
    let config = tape_guest::config::<Value>().unwrap_or_default();
    let secrets = if config["emulator"] == true {
        json!([])
    } else {
        json!([{"name": "gcp-token", "why": "an access token of a service account with roles/pubsub.publisher"}])
    };
    json!({
        "name": "pubsub",
        "version": env!("CARGO_PKG_VERSION"),
        "contract": "1.0.0",
        "summary": "Messages to Google Cloud Pub/Sub",
        "operations": [{
            "name": "publish", "semantics": "IDEMPOTENT",
            "summary": "One message; subscribers deduplicate by its attribute tape-key",
            "payload_schema": {
                "type": "object", "required": ["topic", "data"], "additionalProperties": false,
                "properties": {
                    "topic": {"type": "string"}, "data": {"description": "a text as it is, anything else as JSON"},
                    "attributes": {"type": "object", "additionalProperties": {"type": "string"}},
                    "ordering_key": {"type": "string"}
                }
            }
        }],
        "supports": {"observe": false, "status_check": false, "compensate": false},
        "config_schema": {
            "type": "object", "required": ["project"], "additionalProperties": false,
            "properties": {
                "project": {"type": "string"},
                "base_url": {"type": "string", "description": "default https://pubsub.googleapis.com; the emulator's origin"},
                "emulator": {"type": "boolean", "description": "send no token"}
            }
        },
        "asks": {
            "hosts": [{"host": if config["base_url"].is_string() { "config:base_url" } else { BASE_URL }, "methods": ["POST"], "why": "Pub/Sub's API"}],
            "secrets": secrets
        }
    })
}
