//! Deployed connectors.

use serde::Serialize;
use serde_json::Value;
use tape_proto::v1 as pb;
use tape_wire::grants;

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
        let granted = version.grants.map(|granted| grants::documents(&granted));
        let (grants, limits) = granted.unwrap_or_default();
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

/// Grants and limits in two texts, as they go over the wire.
pub(crate) fn grants_message(grants_json: &str, limits_json: &str) -> pb::ConnectorGrants {
    grants::message(&read(grants_json), &read(limits_json))
}

/// The same in one document, with the limits below `limits`.
pub(crate) fn grants_of(document: &Value) -> pb::ConnectorGrants {
    grants::message(document, &document["limits"])
}
