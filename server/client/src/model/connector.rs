//! Deployed connectors.

use serde::Serialize;
use serde_json::{Map, Value, json};
use tape_proto::v1 as pb;

/// One version of a deployed connector.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectorVersion {
    /// Tenant.
    #[serde(rename = "tenant_id")]
    pub tenant: String,
    /// What runs call it.
    pub name: String,
    /// Its name among the connector's versions.
    pub version: String,
    /// `sha256:<hex>`.
    pub digest: String,
    /// Bytes of the component.
    pub size_bytes: i64,
    /// The contract that it was built against.
    pub contract: String,
    /// What it says of itself.
    pub describe: Value,
    /// Its configuration.
    pub config: Value,
    /// What it may reach: `{"hosts": [...], "methods": [...], "secrets": [...]}`.
    pub grants: Value,
    /// What one call may use, as far as it is not the default.
    pub limits: Value,
    /// Percent of the calls; 0 = not active.
    pub weight: i32,
    /// When it was put.
    pub put_at_ms: i64,
    /// Who put it.
    pub put_by: String,
    /// The key whose signature was verified; empty = unsigned.
    pub signed_by: String,
    /// How it does in the server's process; none if it is not loaded there.
    pub health: Option<ConnectorHealth>,
}

/// One version in one server's process.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectorHealth {
    /// That have ended.
    pub calls: i64,
    /// Among them those that broke.
    pub failures: i64,
    /// The last of those.
    pub last_error: String,
    /// "closed", "open", "half-open"; empty = not known.
    pub circuit: String,
    /// Calls under way.
    pub running: i64,
    /// Calls at the same time; 0 = not known.
    pub running_max: i64,
    /// Calls begun in the last second.
    pub rate_used: i64,
    /// Calls per second; 0 = no limit.
    pub rate_max: i64,
}

/// Names a version.
#[derive(Clone, Debug, Default)]
pub struct VersionName {
    /// Empty = the caller's own.
    pub tenant: String,
    /// Of which connector.
    pub name: String,
    /// Which; where it may be empty, the operation says what that means.
    pub version: String,
}

/// Who asks for a change, and why.
#[derive(Clone, Debug, Default)]
pub struct By {
    /// Who, where nobody has credentials.
    pub who: String,
    /// Why.
    pub reason: String,
}

/// A component to put.
#[derive(Clone, Debug, Default)]
pub struct PutConnector {
    /// Under which name; an empty version = what the component calls itself.
    pub at: VersionName,
    /// Its bytes.
    pub component: Vec<u8>,
    /// JSON; empty = as in the version that is active.
    pub config_json: String,
    /// As in `tape.yaml`: `{"hosts": [...], "methods": [...], "secrets": [{"name", "hosts"}]}`, with `{"limits": {...}}`;
    /// none = as in the version that is active.
    pub grants: Option<Value>,
    /// Who vouches for it, as `tape connector sign` writes it; empty = nobody.
    pub signature: String,
    /// Direct all calls to it at once.
    pub activate: bool,
    /// Name it after its digest if the version exists with other bytes.
    pub rename: bool,
    /// By whom.
    pub by: By,
}

/// What came of a put.
#[derive(Clone, Debug, Serialize)]
pub struct PutDone {
    /// The version.
    pub version: ConnectorVersion,
    /// It was not there before.
    pub created: bool,
    /// What it asks for and cannot have, each with its cure.
    pub missing_grants: Vec<String>,
}

/// What came of a grant.
#[derive(Clone, Debug, Serialize)]
pub struct Granted {
    /// The version.
    pub version: ConnectorVersion,
    /// What it asks for and cannot have, each with its cure.
    pub missing_grants: Vec<String>,
}

/// An entry of a connector's journal.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectorChange {
    /// 1, 2, 3 ...
    pub seq: i64,
    /// When.
    pub at_ms: i64,
    /// `connector.put` ...
    pub kind: String,
    /// Who.
    pub who: String,
    /// Why.
    pub reason: String,
    /// What.
    pub details: Value,
}

/// What a connector said, or how a call of it ended.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectorLine {
    /// When.
    pub at_ms: i64,
    /// The version that was called.
    pub version: String,
    /// "trace" to "error" for what the connector said; "call" for how a call ended.
    pub level: String,
    /// The line.
    pub message: String,
    /// For which run.
    pub run_id: String,
    /// For which effect.
    pub effect_key: String,
    /// "dispatch", "observe", "status-check", "compensate".
    pub question: String,
    /// Lines that were lost before this one.
    pub lost: i64,
    /// The process of reactors in which it was said; empty = the server's own.
    pub reactor_id: String,
}

impl From<pb::ConnectorLine> for ConnectorLine {
    fn from(line: pb::ConnectorLine) -> Self {
        Self {
            at_ms: line.at_ms,
            version: line.version,
            level: line.level,
            message: line.message,
            run_id: line.run_id,
            effect_key: line.effect_key,
            question: line.question,
            lost: line.lost,
            reactor_id: line.reactor_id,
        }
    }
}

/// A call by hand.
#[derive(Clone, Debug, Default)]
pub struct ConnectorCall {
    /// Of which version; empty = the active one.
    pub of: VersionName,
    /// What is asked.
    pub question: Question,
    /// The operation; empty = its only or default one.
    pub operation: String,
    /// JSON.
    pub payload_json: String,
    /// The idempotency key.
    pub key: String,
    /// What the upstream's books know it by; may be empty.
    pub business_key: String,
    /// The upstream's own name for it, for a status check or a compensation; may be empty.
    pub reference: String,
}

/// What a connector can be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Question {
    /// Do it.
    #[default]
    Dispatch,
    /// Did this very request commit?
    StatusCheck,
    /// What do your books say?
    Observe,
    /// Undo it.
    Compensate,
}

/// How a call by hand ended.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectorCalled {
    /// What the host makes of it.
    pub verdict: String,
    /// Why it did not take place; empty if it did.
    pub error: String,
    /// Receipt, failure or doubt.
    pub answer: Value,
    /// What the host saw leave and come back.
    pub evidence: Value,
    /// What the connector logged.
    pub logs: Vec<String>,
    /// How long it took.
    pub duration_ms: i64,
    /// Who answered.
    pub version: String,
    /// And its digest.
    pub digest: String,
}

impl From<pb::ConnectorVersion> for ConnectorVersion {
    fn from(version: pb::ConnectorVersion) -> Self {
        let (grants, limits) = version.grants.map(grants_document).unwrap_or_default();
        Self {
            tenant: version.tenant_id,
            name: version.name,
            version: version.version,
            digest: version.digest,
            size_bytes: version.size_bytes,
            contract: version.contract,
            describe: read(&version.describe_json),
            config: read(&version.config_json),
            grants,
            limits,
            weight: version.weight,
            put_at_ms: version.put_at_ms,
            put_by: version.put_by,
            signed_by: version.signed_by,
            health: version.health.map(|health| ConnectorHealth {
                calls: health.calls,
                failures: health.failures,
                last_error: health.last_error,
                circuit: health.circuit,
                running: health.running,
                running_max: health.running_max,
                rate_used: health.rate_used,
                rate_max: health.rate_max,
            }),
        }
    }
}

impl From<pb::ConnectorChange> for ConnectorChange {
    fn from(change: pb::ConnectorChange) -> Self {
        Self {
            seq: change.seq,
            at_ms: change.at_ms,
            kind: change.kind,
            who: change.who,
            reason: change.reason,
            details: read(&change.details_json),
        }
    }
}

impl From<pb::CallConnectorResponse> for ConnectorCalled {
    fn from(called: pb::CallConnectorResponse) -> Self {
        Self {
            verdict: called.verdict,
            error: called.error,
            answer: read(&called.answer_json),
            evidence: read(&called.evidence_json),
            logs: called.logs,
            duration_ms: called.duration_ms,
            version: called.version,
            digest: called.digest,
        }
    }
}

pub(crate) fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

/// Grants and limits as documents, from the wire.
fn grants_document(grants: pb::ConnectorGrants) -> (Value, Value) {
    let host = |host: pb::HostGrant| {
        let port = if host.port == 0 {
            String::new()
        } else {
            format!(":{}", host.port)
        };
        let mut document = json!({ "host": format!("{}://{}{port}", host.scheme, host.host) });
        if !host.methods.is_empty() {
            document["methods"] = json!(host.methods);
        }
        if host.private_addresses {
            document["private"] = json!(true);
        }
        if !host.read_only_paths.is_empty() {
            document["read_only_paths"] = json!(host.read_only_paths);
        }
        document
    };
    let limits = grants.limits.unwrap_or_default();
    let mut document = Map::new();
    for (key, number) in [
        ("timeout_ms", limits.call_ms),
        ("memory_bytes", limits.memory_bytes),
        ("body_bytes", limits.body_bytes),
        ("requests_per_call", limits.requests_per_call.into()),
        ("log_bytes", limits.log_bytes),
        ("concurrent_calls", limits.concurrent_calls.into()),
        ("calls_per_s", limits.calls_per_s.into()),
    ] {
        if number != 0 {
            document.insert(key.to_owned(), number.into());
        }
    }
    let secret = |secret: pb::SecretGrant| json!({ "name": secret.name, "hosts": secret.hosts });
    let mut granted = json!({
        "hosts": grants.hosts.into_iter().map(host).collect::<Vec<_>>(),
        "methods": grants.methods,
        "secrets": grants.secrets.into_iter().map(secret).collect::<Vec<_>>(),
    });
    if grants.reuse_calls > 0 {
        granted["reuse_calls"] = grants.reuse_calls.into();
    }
    (granted, Value::Object(document))
}

/// The same from two texts.
pub(crate) fn grants_message(grants_json: &str, limits_json: &str) -> pb::ConnectorGrants {
    let mut grants = read(grants_json);
    if let Value::Object(grants) = &mut grants {
        grants.insert("limits".to_owned(), read(limits_json));
    }
    grants_of(&grants)
}

/// Documents as they go over the wire. What is no grant is not one there either: the server says what is missing.
pub(crate) fn grants_of(document: &Value) -> pb::ConnectorGrants {
    let limits = &document["limits"];
    let number = |key: &str| limits[key].as_i64().unwrap_or_default();
    let small = |key: &str| i32::try_from(number(key)).unwrap_or(i32::MAX);
    let host = |value: &Value| {
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
    };
    let secret = |value: &Value| pb::SecretGrant {
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        hosts: texts(&value["hosts"]),
    };
    pb::ConnectorGrants {
        hosts: document["hosts"].as_array().into_iter().flatten().map(host).collect(),
        methods: texts(&document["methods"]),
        secrets: document["secrets"]
            .as_array()
            .into_iter()
            .flatten()
            .map(secret)
            .collect(),
        limits: limits.is_object().then(|| pb::ConnectorLimits {
            call_ms: number("timeout_ms"),
            memory_bytes: number("memory_bytes"),
            body_bytes: number("body_bytes"),
            requests_per_call: small("requests_per_call"),
            log_bytes: number("log_bytes"),
            concurrent_calls: small("concurrent_calls"),
            calls_per_s: small("calls_per_s"),
        }),
        reuse_calls: document["reuse_calls"]
            .as_i64()
            .map_or(0, |calls| i32::try_from(calls).unwrap_or(i32::MAX)),
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
                {"host": "https://api.example.com"},
            ],
            "methods": ["GET"],
            "secrets": [{"name": "token", "hosts": ["https://api.example.com"]}],
            "reuse_calls": 2,
        });
        let limits = json!({"timeout_ms": 5});
        let message = grants_message(&document.to_string(), &limits.to_string());
        assert_eq!(grants_document(message), (document, limits));
    }

    #[test]
    fn a_host_may_be_written_as_its_text_alone() {
        let message = grants_of(&json!({"hosts": ["api.example.com:8443"]}));
        let host = &message.hosts[0];
        assert_eq!(
            (host.scheme.as_str(), host.host.as_str(), host.port),
            ("https", "api.example.com", 8443)
        );
    }
}
