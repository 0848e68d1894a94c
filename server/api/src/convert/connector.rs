//! Deployed connectors. What they may do is the host's own document inside, and a message on the wire.

use serde_json::{Map, Value, json};
use tape_connector_port::{ConnectorState, EffectCall, Line};
use tape_core::connector::{Connector, ConnectorVersion, Deployed};
use tape_core::{Entry, Refusal};
use tape_proto::v1 as pb;

use super::signed;

/// One version with its part of the calls.
pub(crate) fn version(
    connector: &Connector,
    version: ConnectorVersion,
    state: Option<&ConnectorState>,
) -> pb::ConnectorVersion {
    pb::ConnectorVersion {
        tenant_id: connector.name.tenant.clone(),
        name: connector.name.name.clone(),
        weight: connector.weight(&version.version).into(),
        grants: Some(grants(&version)),
        version: version.version,
        digest: version.digest,
        size_bytes: signed(version.size),
        contract: version.contract,
        describe_json: version.description_json,
        config_json: version.config_json,
        put_at_ms: version.put_at.0,
        put_by: version.put_by,
        signed_by: version.signed_by,
        health: state.map(health),
    }
}

fn health(state: &ConnectorState) -> pb::ConnectorHealth {
    pb::ConnectorHealth {
        calls: signed(state.calls),
        failures: signed(state.failures),
        last_error: state.last_error.clone().unwrap_or_default(),
        circuit: state.circuit.state.as_str().to_owned(),
        running: signed(state.running),
        running_max: signed(state.running_max),
        rate_used: signed(state.rate_used),
        rate_max: signed(state.rate_max),
    }
}

/// As a host elsewhere follows it.
pub(crate) fn deployed(deployed: Deployed) -> pb::DeployedConnector {
    let version = |version: ConnectorVersion| pb::DeployedVersion {
        version: version.version,
        digest: version.digest,
        config_json: version.config_json,
        grants_json: version.grants_json,
        limits_json: version.limits_json,
    };
    let connector = deployed.connector;
    pb::DeployedConnector {
        tenant_id: connector.name.tenant,
        name: connector.name.name,
        seq: connector.seq,
        versions: deployed.versions.into_iter().map(version).collect(),
        shares: connector
            .active
            .into_iter()
            .map(|share| pb::DeployedShare {
                version: share.version,
                weight: share.weight.into(),
            })
            .collect(),
    }
}

/// An entry of a connector's journal.
pub(crate) fn change(entry: Entry) -> pb::ConnectorChange {
    let mut details: Map<String, Value> = serde_json::from_str(&entry.payload_json).unwrap_or_default();
    let mut text = |key: &str| match details.remove(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    pb::ConnectorChange {
        seq: entry.seq,
        at_ms: entry.at.0,
        kind: entry.kind.as_str().to_owned(),
        who: text("who"),
        reason: text("reason"),
        details_json: Value::Object(details).to_string(),
    }
}

/// A line, and how many were lost before it.
pub(crate) fn line(line: Line, lost: u64) -> pb::ConnectorLine {
    pb::ConnectorLine {
        at_ms: line.at_ms,
        version: line.version,
        level: line.level,
        message: line.message,
        run_id: line.run_id,
        effect_key: line.key,
        question: line.question,
        lost: signed(lost + line.lost),
        reactor_id: line.reactor,
    }
}

/// A line that was said in the process of `reactor`.
pub(crate) fn reported(line: pb::ConnectorLine, reactor: &str) -> Line {
    Line {
        at_ms: line.at_ms,
        version: line.version,
        level: line.level,
        message: line.message,
        run_id: line.run_id,
        key: line.effect_key,
        question: line.question,
        lost: u64::try_from(line.lost).unwrap_or_default(),
        reactor: reactor.to_owned(),
    }
}

/// What the host reads: grants and limits.
///
/// # Errors
/// INVALID_ARGUMENT for a number that cannot be.
pub(crate) fn documents(grants: &pb::ConnectorGrants) -> Result<(String, String), Refusal> {
    let host = |host: &pb::HostGrant| {
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
    };
    let secret = |secret: &pb::SecretGrant| json!({ "name": secret.name, "hosts": secret.hosts });
    let mut document = json!({
        "hosts": grants.hosts.iter().map(host).collect::<Vec<_>>(),
        "methods": grants.methods,
        "secrets": grants.secrets.iter().map(secret).collect::<Vec<_>>(),
    });
    if grants.reuse_calls > 0 {
        document["reuse_calls"] = grants.reuse_calls.into();
    }
    let asked = grants.limits.unwrap_or_default();
    let mut limits = Map::new();
    for (field, number) in [
        ("timeout_ms", asked.call_ms),
        ("memory_bytes", asked.memory_bytes),
        ("body_bytes", asked.body_bytes),
        ("requests_per_call", asked.requests_per_call.into()),
        ("log_bytes", asked.log_bytes),
        ("concurrent_calls", asked.concurrent_calls.into()),
        ("calls_per_s", asked.calls_per_s.into()),
        ("reuse_calls", grants.reuse_calls.into()),
    ] {
        if number < 0 {
            return Err(Refusal::invalid(
                "grants.limits",
                &number.to_string(),
                format!("The limit {field} is negative."),
                "Send a number from 1 up; 0 means the server's own limit.",
            ));
        }
        if number > 0 && field != "reuse_calls" {
            limits.insert(field.to_owned(), number.into());
        }
    }
    let limits = if limits.is_empty() {
        String::new()
    } else {
        Value::Object(limits).to_string()
    };
    Ok((document.to_string(), limits))
}

fn grants(version: &ConnectorVersion) -> pb::ConnectorGrants {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (grants, limits) = (read(&version.grants_json), read(&version.limits_json));
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let host = |value: &Value| {
        let written = value["host"].as_str().or(value.as_str()).unwrap_or_default();
        let (scheme, rest) = written.split_once("://").unwrap_or(("https", written));
        let (host, port) = match rest.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(port))) => (host, i32::from(port)),
            _ => (rest, 0),
        };
        pb::HostGrant {
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            port,
            private_addresses: value["private"].as_bool().unwrap_or_default(),
            methods: texts(&value["methods"]),
            read_only_paths: texts(&value["read_only_paths"]),
        }
    };
    let secret = |value: &Value| pb::SecretGrant {
        name: value["name"].as_str().unwrap_or_default().to_owned(),
        hosts: texts(&value["hosts"]),
    };
    let number = |key: &str| limits[key].as_i64().unwrap_or_default();
    let small = |key: &str| i32::try_from(number(key)).unwrap_or(i32::MAX);
    pb::ConnectorGrants {
        hosts: grants["hosts"].as_array().into_iter().flatten().map(host).collect(),
        methods: texts(&grants["methods"]),
        secrets: grants["secrets"].as_array().into_iter().flatten().map(secret).collect(),
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

/// An effect as a person asks about it. `tenant` is the caller's.
pub(crate) fn call(effect: pb::EffectForConnector, tenant: &str) -> EffectCall {
    let named = |text: String| (!text.is_empty()).then_some(text);
    EffectCall {
        tenant: tenant.to_owned(),
        app: effect.app_name,
        run_id: effect.run_id,
        idempotency_key: effect.idempotency_key,
        decision_index: effect.decision_index.unsigned_abs(),
        tool: effect.tool_name,
        operation: effect.operation,
        business_key: named(effect.business_key),
        attempt: effect.attempt.max(1).unsigned_abs(),
        payload_json: if effect.payload_json.is_empty() {
            "null".to_owned()
        } else {
            effect.payload_json
        },
        deadline_ms: effect.deadline_ms,
        trace_parent: named(effect.trace_parent),
        idempotent: effect.idempotent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_comes_back_as_it_was_sent() {
        let sent = pb::ConnectorGrants {
            hosts: vec![pb::HostGrant {
                scheme: "http".into(),
                host: "127.0.0.1".into(),
                port: 7900,
                private_addresses: true,
                methods: vec!["POST".into()],
                read_only_paths: vec!["/search".into()],
            }],
            methods: vec!["GET".into()],
            secrets: vec![pb::SecretGrant {
                name: "token".into(),
                hosts: vec!["https://bank".into()],
            }],
            limits: Some(pb::ConnectorLimits {
                call_ms: 5,
                calls_per_s: 7,
                ..pb::ConnectorLimits::default()
            }),
            reuse_calls: 3,
        };
        let (grants_json, limits_json) = documents(&sent).unwrap();
        let version = ConnectorVersion {
            grants_json,
            limits_json,
            ..ConnectorVersion::default()
        };
        assert_eq!(grants(&version), sent);
        let negative = pb::ConnectorGrants {
            reuse_calls: -1,
            ..pb::ConnectorGrants::default()
        };
        assert_eq!(documents(&negative).unwrap_err().field, Some("grants.limits"));
        let none = grants(&ConnectorVersion::default());
        assert_eq!(none, pb::ConnectorGrants::default());
    }
}
