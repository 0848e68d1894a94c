//! Values and their versions.

use tape_core::value::{Value, ValueName};
use tape_engine::ValueChange;
use tape_proto::v1 as pb;

use super::signed;

/// A value of the caller's tenant.
pub(crate) fn name(tenant: &str, namespace: String, key: String) -> ValueName {
    ValueName {
        tenant: tenant.to_owned(),
        namespace,
        key,
    }
}

pub(crate) fn record(value: Value) -> pb::ValueRecord {
    pb::ValueRecord {
        namespace: value.name.namespace,
        key: value.name.key,
        value_json: value.json,
        version: signed(value.version),
        ts_ms: value.at.0,
        writer: value.writer,
        deleted: value.deleted,
    }
}

pub(crate) fn event(change: ValueChange) -> pb::ValueEvent {
    let (prev_version, prev_value_json) = change
        .previous
        .map_or_else(Default::default, |previous| (signed(previous.version), previous.json));
    pb::ValueEvent {
        value: Some(record(change.value)),
        prev_version,
        prev_value_json,
    }
}
