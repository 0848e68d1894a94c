//! The reactive key-value store: write, read, delete, watch.

use tape_core::Refusal;
use tape_core::command::value::Guard;
use tape_engine::ValueFeed;
use tape_port::TapeError;
use tape_proto::v1 as pb;
use tonic::metadata::MetadataMap;

use super::Cx;
use crate::convert::signed;
use crate::convert::value::{name, record};
use crate::feed::{self, Answers};
use crate::origin::Origin;

pub(super) async fn write_value(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::WriteValueRequest,
) -> Result<pb::ValueRecord, TapeError> {
    let origin = Origin::of(metadata, 0, "", &asked.request_id)?;
    let name = name(cx.caller.own(), asked.namespace, asked.key);
    let guard = Guard::of(asked.if_version);
    let written = cx
        .engine
        .write_value(name, asked.value_json, guard, asked.writer, origin.request_id)
        .await?;
    Ok(record(written))
}

pub(super) async fn get_value(
    cx: &Cx,
    _: &MetadataMap,
    asked: pb::GetValueRequest,
) -> Result<pb::GetValueResponse, TapeError> {
    let newest = cx
        .engine
        .value(&name(cx.caller.own(), asked.namespace, asked.key))
        .await?;
    Ok(pb::GetValueResponse {
        found: newest.as_ref().is_some_and(|value| !value.deleted),
        // Of a deletion too: it has the version that a guarded write needs.
        value: newest.map(record),
    })
}

pub(super) async fn delete_value(
    cx: &Cx,
    metadata: &MetadataMap,
    asked: pb::DeleteValueRequest,
) -> Result<pb::DeleteValueResponse, TapeError> {
    let origin = Origin::of(metadata, 0, "", &asked.request_id)?;
    let name = name(cx.caller.own(), asked.namespace, asked.key);
    let deleted = cx.engine.delete_value(name, origin.request_id).await?;
    Ok(pb::DeleteValueResponse {
        deleted: deleted.deleted,
        version: signed(deleted.version),
    })
}

pub(super) fn watch_value(cx: &Cx, asked: pb::WatchValueRequest) -> Result<Answers<pb::ValueEvent>, TapeError> {
    let from_version = u64::try_from(asked.from_version).map_err(|_| {
        Refusal::invalid(
            "from_version",
            &asked.from_version.to_string(),
            "from_version is negative.",
            "Use 0 for the value in force and all that follow.",
        )
    })?;
    let feed = ValueFeed::open(
        cx.engine.clone(),
        &name(cx.caller.own(), asked.namespace, asked.key),
        from_version,
    )?;
    Ok(feed::values(feed, cx.closing.clone()))
}
