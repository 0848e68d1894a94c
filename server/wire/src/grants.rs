//! What a connector is granted, as a message and as the documents that the store, the host and people read. The one place where either
//! becomes the other.

use serde_json::{Map, Value, json};
use tape_proto::v1 as pb;

/// Grants and limits as documents, always spelt alike, because the store compares them: `{"hosts": [{"host", "methods", ...}], "methods": [...], "secrets": [{"name", "hosts"}]}`, and
/// `{"timeout_ms": ...}` with the limits that were named.
#[must_use]
pub fn documents(grants: &pb::ConnectorGrants) -> (Value, Value) {
    let secret = |secret: &pb::SecretGrant| json!({ "name": secret.name, "hosts": secret.hosts });
    let mut granted = json!({
        "hosts": grants.hosts.iter().map(host_document).collect::<Vec<_>>(),
        "methods": grants.methods,
        "secrets": grants.secrets.iter().map(secret).collect::<Vec<_>>(),
    });
    if grants.reuse_calls > 0 {
        granted["reuse_calls"] = grants.reuse_calls.into();
    }
    let mut limits = Map::new();
    for (key, number) in limits_named(grants) {
        if number > 0 {
            limits.insert(key.to_owned(), number.into());
        }
    }
    (granted, Value::Object(limits))
}

/// The limits by the names that they have in documents; 0 = not named.
#[must_use]
pub fn limits_named(grants: &pb::ConnectorGrants) -> [(&'static str, i64); 7] {
    let limits = grants.limits.unwrap_or_default();
    [
        ("timeout_ms", limits.call_ms),
        ("memory_bytes", limits.memory_bytes),
        ("body_bytes", limits.body_bytes),
        ("requests_per_call", limits.requests_per_call.into()),
        ("log_bytes", limits.log_bytes),
        ("concurrent_calls", limits.concurrent_calls.into()),
        ("calls_per_s", limits.calls_per_s.into()),
    ]
}

/// Documents as they go over the wire. What is no grant is not one there either: the server says what is missing.
#[must_use]
pub fn message(grants: &Value, limits: &Value) -> pb::ConnectorGrants {
    let number = |key: &str| limits[key].as_i64().unwrap_or_default();
    let small = |key: &str| i32::try_from(number(key)).unwrap_or(i32::MAX);
    let secret = |value: &Value| pb::SecretGrant {
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        hosts: texts(&value["hosts"]),
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    pb::ConnectorGrants {
        hosts: list(&grants["hosts"]).iter().map(host_message).collect(),
        methods: texts(&grants["methods"]),
        secrets: list(&grants["secrets"]).iter().map(secret).collect(),
        limits: limits.is_object().then(|| pb::ConnectorLimits {
            call_ms: number("timeout_ms"),
            memory_bytes: number("memory_bytes"),
            body_bytes: number("body_bytes"),
            requests_per_call: small("requests_per_call"),
            log_bytes: number("log_bytes"),
            concurrent_calls: small("concurrent_calls"),
            calls_per_s: small("calls_per_s"),
        }),
        reuse_calls: grants["reuse_calls"]
            .as_i64()
            .map_or(0, |calls| i32::try_from(calls).unwrap_or(i32::MAX)),
    }
}

fn host_document(host: &pb::HostGrant) -> Value {
    let scheme = if host.scheme.is_empty() { "https" } else { &host.scheme };
    let port = if host.port == 0 {
        String::new()
    } else {
        format!(":{}", host.port)
    };
    json!({
        "host": format!("{scheme}://{}{port}", host.host),
        "methods": host.methods,
        "private": host.private_addresses,
        "read_only_paths": host.read_only_paths,
    })
}

/// `{"host": ...}`, or the text alone.
fn host_message(value: &Value) -> pb::HostGrant {
    let written = value.as_str().or(value["host"].as_str()).unwrap_or_default();
    let (scheme, rest) = written.split_once("://").unwrap_or(("https", written));
    let (host, port) = match rest.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(port))) => (host, port),
        _ => (rest, 0),
    };
    pb::HostGrant {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port: port.into(),
        private_addresses: value["private"].as_bool().unwrap_or_default(),
        methods: texts(&value["methods"]),
        read_only_paths: texts(&value["read_only_paths"]),
    }
}

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_survive_the_wire() {
        let document = json!({
            "hosts": [
                {"host": "http://127.0.0.1:7900", "methods": ["POST"], "private": true, "read_only_paths": ["/search"]},
                {"host": "https://api.example.com", "methods": [], "private": false, "read_only_paths": []},
            ],
            "methods": ["GET"],
            "secrets": [{"name": "token", "hosts": ["https://api.example.com"]}],
            "reuse_calls": 2,
        });
        let limits = json!({"timeout_ms": 5});
        assert_eq!(documents(&message(&document, &limits)), (document, limits));
    }

    #[test]
    fn a_host_may_be_written_as_its_text_alone() {
        let message = message(&json!({"hosts": ["api.example.com:8443"]}), &Value::Null);
        let host = &message.hosts[0];
        assert_eq!(
            (host.scheme.as_str(), host.host.as_str(), host.port),
            ("https", "api.example.com", 8443)
        );
        assert_eq!(message.limits, None);
    }
}
