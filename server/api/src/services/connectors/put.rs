//! Putting a version: its bytes, judged by the host before they are stored.

use std::time::Duration;

use tape_connector_port::{Deployable, Judged, Vouched};
use tape_core::command::connector::{By, PutVersion, Taken};
use tape_core::connector::{COMPONENT_BYTES_MAX, ConnectorVersion, digest_of};
use tape_core::{Refusal, Time};
use tape_port::{ConnectorHost, TapeError};
use tape_proto::v1 as pb;
use tonic::{Status, Streaming};

use super::refusals::{misfit, other_bytes, out_of_order, stalled, too_large, unreadable_signature};
use super::{main_version, named};
use crate::convert::connector as convert;
use crate::services::Cx;
use crate::status;

/// How long the next part of a component is waited for.
pub(super) const PART_MAX: Duration = Duration::from_secs(30);

/// The whole of an upload, in memory.
pub(super) async fn receive(
    mut parts: Streaming<pb::PutConnectorRequest>,
) -> Result<(pb::PutConnectorHeader, Vec<u8>), Status> {
    use pb::put_connector_request::Part;
    let refused = |refusal: Refusal| status::of(refusal.into());
    let (mut header, mut component) = (None, Vec::new());
    loop {
        let part = tokio::time::timeout(PART_MAX, parts.message()).await;
        let part = part.map_err(|_| refused(stalled()))??;
        match part.map(|part| part.part) {
            Some(Some(Part::Header(first))) if header.is_none() => header = Some(first),
            Some(Some(Part::Chunk(chunk))) if header.is_some() => component.extend_from_slice(&chunk),
            Some(_) => return Err(refused(out_of_order())),
            None => break,
        }
        if component.len() > COMPONENT_BYTES_MAX {
            return Err(refused(too_large()));
        }
    }
    Ok((header.ok_or_else(|| refused(out_of_order()))?, component))
}

/// Judges what came, and stores it.
pub(super) async fn put(
    cx: &Cx,
    host: &dyn ConnectorHost,
    header: pb::PutConnectorHeader,
    component: Vec<u8>,
) -> Result<pb::PutConnectorResponse, TapeError> {
    let name = named(cx, &header.tenant_id, header.name)?;
    let digest = digest_of(&component);
    if !header.digest.is_empty() && header.digest != digest {
        return Err(other_bytes(&header.digest, &digest).into());
    }
    let vouched = String::from_utf8(header.signature).map_err(|_| unreadable_signature())?;
    // What is not said is as in the version that is active.
    let before = main_version(cx, &name).await?.unwrap_or_default();
    let (grants_json, limits_json) = match &header.grants {
        Some(grants) => convert::documents(grants)?,
        None => (before.grants_json, before.limits_json),
    };
    let config_json = if header.config_json.is_empty() {
        before.config_json
    } else {
        header.config_json
    };
    let wanted = Deployable {
        tenant: name.tenant.clone(),
        name: name.name.clone(),
        version: header.version.clone(),
        digest: digest.clone(),
        config_json: config_json.clone(),
        grants_json: grants_json.clone(),
        limits_json: limits_json.clone(),
    };
    let Judged {
        description,
        missing,
        signed_by,
        ..
    } = host
        .judge(&wanted, component.clone(), &Vouched::By(vouched))
        .await
        .map_err(|error| misfit(&error))?;
    let by = By {
        who: cx.caller.who(header.who),
        reason: header.reason,
    };
    let put = PutVersion {
        name,
        version: ConnectorVersion {
            version: if header.version.is_empty() {
                description.version.clone()
            } else {
                header.version
            },
            digest,
            size: component.len() as u64,
            contract: description.contract.clone(),
            description_json: serde_json::to_string(&description).unwrap_or_default(),
            config_json,
            grants_json,
            limits_json,
            put_at: Time::ZERO,
            put_by: by.who.clone(),
            signed_by,
        },
        taken: if header.rename { Taken::Rename } else { Taken::Refuse },
        activate: header.activate,
        declared: (!header.declared.is_empty()).then_some(header.declared),
        by,
    };
    let done = cx.engine.put_connector(&put, &component).await?;
    host.catch_up().await;
    Ok(pb::PutConnectorResponse {
        version: Some(convert::version(&done.connector, done.version, None)),
        created: done.created,
        missing_grants: missing,
    })
}
