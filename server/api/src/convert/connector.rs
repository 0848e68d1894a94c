//! Deployed connectors. What they may do is the host's own document inside, and a message on the wire.

use serde_json::{Map, Value};
use tape_connector_port::{ConnectorState, EffectCall, Line};
use tape_core::connector::{Connector, ConnectorVersion, Deployed};
use tape_core::{Entry, Refusal};
use tape_proto::v1 as pb;
use tape_wire::{calls, grants::limits_named};

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
    let reuse = ("reuse_calls", i64::from(grants.reuse_calls));
    for (field, number) in limits_named(grants).into_iter().chain([reuse]) {
        if number < 0 {
            return Err(Refusal::invalid(
                "grants.limits",
                &number.to_string(),
                format!("The limit {field} is negative."),
                "Send a number from 1 up; 0 means the server's own limit.",
            ));
        }
    }
    let (granted, limits) = tape_wire::grants::documents(grants);
    let named = limits.as_object().is_some_and(|limits| !limits.is_empty());
    let limits = if named { limits.to_string() } else { String::new() };
    Ok((granted.to_string(), limits))
}

fn grants(version: &ConnectorVersion) -> pb::ConnectorGrants {
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    tape_wire::grants::message(&read(&version.grants_json), &read(&version.limits_json))
}

/// An effect as a person asks about it. `tenant` is the caller's.
pub(crate) fn call(effect: pb::EffectForConnector, tenant: &str) -> EffectCall {
    let payload_json = if effect.payload_json.is_empty() {
        "null".to_owned()
    } else {
        effect.payload_json.clone()
    };
    EffectCall {
        tenant: tenant.to_owned(),
        payload_json,
        ..calls::effect_call(effect)
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
