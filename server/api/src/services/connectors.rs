//! `Connectors`: putting versions, and saying which are called and what they may do.
//!
//! ```text
//! put ─▶ all bytes ─▶ digest ─▶ the host judges (contract, description, grants), and compiles ─▶ stored ─▶ followed by every host
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tape_connector_port::{
    Called, CompensateOutcome, Deployable, Judged, Misfit, ObligationCall, ObserveAnswer, Outcome, Receipt,
    StatusAnswer, Unmarked, Vouched,
};
use tape_core::command::connector::{ActivateVersion, By, GrantVersion, PutVersion, RemoveVersion, Rollback, Taken};
use tape_core::connector::{
    COMPONENT_BYTES_MAX, Connector, ConnectorName, ConnectorVersion, Deployed, check_version, digest_of,
};
use tape_core::json::check_payload;
use tape_core::refusal::Status as Refused;
use tape_core::{Refusal, Time};
use tape_port::{ConnectorHost, TapeError};
use tape_proto::v1 as pb;
use tonic::{Request, Response, Status, Streaming};

use super::{Cx, Shared};
use crate::convert::{connector as convert, limit};
use crate::feed::{self, Answers};
use crate::status;

/// How long the next part of a component is waited for.
const PART_MAX: Duration = Duration::from_secs(30);
/// How long a put waits for its turn.
const TURN_MAX: Duration = Duration::from_secs(30);
/// A server without a host for components.
const WHAT: &str = "deploying connectors";

pub(crate) struct ConnectorsService {
    pub(crate) cx: Arc<Shared>,
}

/// An answer that is on its way.
type Answering<'a, T> = BoxFuture<'a, Result<T, TapeError>>;

macro_rules! answered {
    ($($rpc:ident($asked:ident) -> $answer:ident;)*) => {
        #[tonic::async_trait]
        impl pb::connectors_server::Connectors for ConnectorsService {
            type TailConnectorStream = Answers<pb::ConnectorLine>;

            async fn tail_connector(
                &self,
                request: Request<pb::TailConnectorRequest>,
            ) -> Result<Response<Self::TailConnectorStream>, Status> {
                let (metadata, extensions, asked) = request.into_parts();
                let cx = self.cx.of(&metadata, &extensions);
                let Some(host) = cx.host.clone() else { return Err(status::unserved(WHAT)) };
                tail_connector(&cx, &*host, asked).await.map(Response::new).map_err(status::of)
            }

            $(
                async fn $rpc(&self, request: Request<pb::$asked>) -> Result<Response<pb::$answer>, Status> {
                    let (metadata, extensions, asked) = request.into_parts();
                    let cx = self.cx.of(&metadata, &extensions);
                    let Some(host) = cx.host.clone() else { return Err(status::unserved(WHAT)) };
                    let answer: Answering<'_, pb::$answer> = Box::pin($rpc(&cx, &*host, asked));
                    answer.await.map(Response::new).map_err(status::of)
                }
            )*

            async fn put_connector(
                &self,
                request: Request<Streaming<pb::PutConnectorRequest>>,
            ) -> Result<Response<pb::PutConnectorResponse>, Status> {
                let (metadata, extensions, parts) = request.into_parts();
                let cx = self.cx.of(&metadata, &extensions);
                let Some(host) = cx.host.clone() else { return Err(status::unserved(WHAT)) };
                let turn = tokio::time::timeout(TURN_MAX, cx.putting.acquire()).await;
                let Ok(Ok(_turn)) = turn else { return Err(status::of(busy().into())) };
                let (header, component) = receive(parts).await?;
                put(&cx, &*host, header, component).await.map(Response::new).map_err(status::of)
            }
        }
    };
}

answered! {
    list_connectors(ListConnectorsRequest) -> ListConnectorsResponse;
    get_connector(GetConnectorRequest) -> GetConnectorResponse;
    activate_version(ActivateVersionRequest) -> ActivateVersionResponse;
    rollback(RollbackRequest) -> RollbackResponse;
    grant(GrantRequest) -> GrantResponse;
    remove_version(RemoveVersionRequest) -> RemoveVersionResponse;
    list_connector_changes(ListConnectorChangesRequest) -> ListConnectorChangesResponse;
    call_connector(CallConnectorRequest) -> CallConnectorResponse;
}

/// The whole of an upload, in memory.
async fn receive(mut parts: Streaming<pb::PutConnectorRequest>) -> Result<(pb::PutConnectorHeader, Vec<u8>), Status> {
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

async fn put(
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

async fn list_connectors(
    cx: &Cx,
    _: &dyn ConnectorHost,
    asked: pb::ListConnectorsRequest,
) -> Result<pb::ListConnectorsResponse, TapeError> {
    let tenant = cx.caller.narrowed("tenant_id", &asked.tenant_id)?;
    let names: Vec<ConnectorName> = if asked.name.is_empty() {
        let all = cx.engine.connectors(tenant.as_deref()).await?;
        all.into_iter().map(|connector| connector.name).collect()
    } else {
        vec![named(cx, &asked.tenant_id, asked.name)?]
    };
    let mut versions = Vec::new();
    for name in names {
        let deployed = cx.engine.connector(&name).await?;
        let newest_first = deployed.versions.into_iter().rev();
        let wanted = newest_first.filter(|one| asked.all_versions || deployed.connector.weight(&one.version) > 0);
        versions.extend(wanted.map(|one| shown(cx, &deployed.connector, one)));
    }
    Ok(pb::ListConnectorsResponse { versions })
}

async fn get_connector(
    cx: &Cx,
    _: &dyn ConnectorHost,
    asked: pb::GetConnectorRequest,
) -> Result<pb::GetConnectorResponse, TapeError> {
    let name = named(cx, &asked.tenant_id, asked.name)?;
    let (connector, version) = one_version(cx, &name, &asked.version).await?;
    let component = if asked.with_component {
        cx.engine.component(&version.digest).await?
    } else {
        Vec::new()
    };
    Ok(pb::GetConnectorResponse {
        version: Some(shown(cx, &connector, version)),
        component,
    })
}

async fn activate_version(
    cx: &Cx,
    host: &dyn ConnectorHost,
    asked: pb::ActivateVersionRequest,
) -> Result<pb::ActivateVersionResponse, TapeError> {
    let name = named(cx, &asked.tenant_id, asked.name)?;
    check_version("version", &asked.version)?;
    let command = ActivateVersion {
        name: name.clone(),
        version: asked.version,
        weight: asked.weight,
        by: By {
            who: cx.caller.who(asked.who),
            reason: asked.reason,
        },
    };
    cx.engine.activate_version(&command).await?;
    host.catch_up().await;
    let Deployed { connector, versions } = cx.engine.connector(&name).await?;
    let active = versions
        .into_iter()
        .filter(|version| connector.weight(&version.version) > 0);
    Ok(pb::ActivateVersionResponse {
        active: active.map(|version| shown(cx, &connector, version)).collect(),
    })
}

async fn rollback(
    cx: &Cx,
    host: &dyn ConnectorHost,
    asked: pb::RollbackRequest,
) -> Result<pb::RollbackResponse, TapeError> {
    let name = named(cx, &asked.tenant_id, asked.name)?;
    let command = Rollback {
        name: name.clone(),
        from: asked.from_version,
        by: By {
            who: cx.caller.who(asked.who),
            reason: asked.reason,
        },
    };
    cx.engine.rollback_connector(&command).await?;
    host.catch_up().await;
    let (connector, version) = one_version(cx, &name, "").await?;
    Ok(pb::RollbackResponse {
        active: Some(shown(cx, &connector, version)),
    })
}

async fn grant(cx: &Cx, host: &dyn ConnectorHost, asked: pb::GrantRequest) -> Result<pb::GrantResponse, TapeError> {
    let name = named(cx, &asked.tenant_id, asked.name)?;
    let (_, before) = one_version(cx, &name, &asked.version).await?;
    let (grants_json, limits_json) = match &asked.grants {
        Some(grants) => {
            let (grants, limits) = convert::documents(grants)?;
            (Some(grants), Some(limits))
        }
        None => (None, None),
    };
    let config_json = (!asked.config_json.is_empty()).then_some(asked.config_json);
    let wanted = Deployable {
        tenant: name.tenant.clone(),
        name: name.name.clone(),
        version: before.version.clone(),
        digest: before.digest.clone(),
        config_json: config_json.clone().unwrap_or(before.config_json),
        grants_json: grants_json.clone().unwrap_or(before.grants_json),
        limits_json: limits_json.clone().unwrap_or(before.limits_json),
    };
    let component = cx.engine.component(&before.digest).await?;
    let judged = host
        .judge(&wanted, component, &Vouched::Before)
        .await
        .map_err(|error| misfit(&error))?;
    let command = GrantVersion {
        name,
        version: before.version,
        grants_json,
        limits_json,
        config_json,
        by: By {
            who: cx.caller.who(asked.who),
            reason: asked.reason,
        },
    };
    let done = cx.engine.grant_connector(&command).await?;
    host.catch_up().await;
    Ok(pb::GrantResponse {
        version: Some(shown(cx, &done.connector, done.version)),
        missing_grants: judged.missing,
    })
}

async fn remove_version(
    cx: &Cx,
    host: &dyn ConnectorHost,
    asked: pb::RemoveVersionRequest,
) -> Result<pb::RemoveVersionResponse, TapeError> {
    let name = named(cx, &asked.tenant_id, asked.name)?;
    check_version("version", &asked.version)?;
    if !asked.force {
        let open = cx.engine.unsettled_by(&name, &asked.version).await?;
        if open > 0 {
            return Err(in_use(&name, &asked.version, open).into());
        }
    }
    let command = RemoveVersion {
        name,
        version: asked.version,
        by: By {
            who: cx.caller.who(asked.who),
            reason: asked.reason,
        },
    };
    let removed = cx.engine.remove_connector(&command).await?;
    host.catch_up().await;
    Ok(pb::RemoveVersionResponse { removed })
}

async fn list_connector_changes(
    cx: &Cx,
    _: &dyn ConnectorHost,
    asked: pb::ListConnectorChangesRequest,
) -> Result<pb::ListConnectorChangesResponse, TapeError> {
    let name = named(cx, &asked.tenant_id, asked.name)?;
    let most = limit(asked.limit.into(), 100, 1_000);
    let entries = cx.engine.connector_history(&name, asked.from_seq, most).await?;
    Ok(pb::ListConnectorChangesResponse {
        changes: entries.into_iter().map(convert::change).collect(),
    })
}

async fn tail_connector(
    cx: &Cx,
    host: &dyn ConnectorHost,
    asked: pb::TailConnectorRequest,
) -> Result<Answers<pb::ConnectorLine>, TapeError> {
    let name = named(cx, &asked.tenant_id, asked.name)?;
    // One that is not there says nothing, and the caller should know.
    cx.engine.connector(&name).await?;
    let most = limit(asked.limit.into(), 100, 1_000) as usize;
    let (kept, news) = host.tail(&name, most);
    let kept = stream::iter(kept.into_iter().map(|line| Ok(convert::line(line, 0))));
    if asked.follow {
        Ok(kept.chain(feed::lines(news, cx.closing.clone())).boxed())
    } else {
        Ok(kept.boxed())
    }
}

/// How a call by hand ended, as the wire has it.
struct Ended {
    verdict: &'static str,
    answer_json: String,
    evidence_json: String,
    version: String,
    digest: String,
}

impl Ended {
    fn of<T>(called: Called<T>, said: impl FnOnce(T) -> (&'static str, serde_json::Value)) -> Self {
        let (verdict, answer) = said(called.outcome);
        Self {
            verdict,
            answer_json: answer.to_string(),
            evidence_json: serde_json::to_string(&called.evidence).unwrap_or_default(),
            version: called.version,
            digest: called.digest,
        }
    }
}

async fn call_connector(
    cx: &Cx,
    host: &dyn ConnectorHost,
    asked: pb::CallConnectorRequest,
) -> Result<pb::CallConnectorResponse, TapeError> {
    use pb::call_connector_request::Call;
    let name = named(cx, &asked.tenant_id, asked.name)?;
    // One that is not there is refused by name, and not answered by another.
    let (_, version) = one_version(cx, &name, &asked.version).await?;
    let version = (!asked.version.is_empty()).then_some(version.version.as_str());
    let mut key = String::new();
    let mut effect = |effect: Option<pb::EffectForConnector>| {
        let mut effect = effect.unwrap_or_default();
        if effect.idempotency_key.is_empty() {
            effect.idempotency_key = format!("by-hand-{}", cx.engine.fresh());
        }
        key.clone_from(&effect.idempotency_key);
        check_payload("payload_json", &effect.payload_json)?;
        Ok::<_, Refusal>(convert::call(effect, &name.tenant))
    };
    let (_, mut said) = host.tail(&name, 0);
    let (it, began) = (&cx.connectors, cx.engine.now());
    let ended = match asked.call {
        Some(Call::Dispatch(call)) => {
            let call = effect(Some(call))?;
            let called = it.dispatch(&name.name, version, &call, &Unmarked).await;
            called.map(|called| Ended::of(called, dispatched))
        }
        Some(Call::Observe(call)) => {
            let call = effect(Some(call))?;
            let called = it.observe(&name.name, version, &call).await;
            called.map(|called| Ended::of(called, observed))
        }
        Some(Call::StatusCheck(check)) => {
            let call = effect(check.effect)?;
            let reference = if check.reference.is_empty() {
                call.idempotency_key.clone()
            } else {
                check.reference
            };
            let called = it.status_check(&name.name, version, &call, &reference).await;
            called.map(|called| Ended::of(called, checked))
        }
        Some(Call::Compensate(undo)) => {
            check_payload("payload_json", &undo.payload_json)?;
            let effect = effect(undo.effect)?;
            let call = ObligationCall {
                idempotency_key: if undo.idempotency_key.is_empty() {
                    format!("compensate:{}", effect.idempotency_key)
                } else {
                    undo.idempotency_key
                },
                receipt: undo.receipt.map(|receipt| Receipt {
                    external_ref: receipt.external_ref,
                    response_json: receipt.response_json,
                }),
                kind: undo.kind,
                payload_json: if undo.payload_json.is_empty() {
                    "null".to_owned()
                } else {
                    undo.payload_json
                },
                attempt: undo.attempt.max(1).unsigned_abs(),
                effect,
            };
            let called = it.compensate(&name.name, version, &call, &Unmarked).await;
            called.map(|called| Ended::of(called, undone))
        }
        None => {
            let cure = "Send dispatch, observe, status_check or compensate.";
            return Err(Refusal::invalid("call", "", "The request asks nothing.", cure).into());
        }
    };
    let duration_ms = cx.engine.now().since(began);
    let mut logs = Vec::new();
    while let Ok(line) = said.try_recv() {
        // Others may have been called meanwhile.
        if line.key == key && line.level != "call" {
            logs.push(format!("{} {}", line.level.to_uppercase(), line.message));
        }
    }
    Ok(match ended {
        Ok(ended) => pb::CallConnectorResponse {
            verdict: ended.verdict.to_owned(),
            error: String::new(),
            evidence_json: ended.evidence_json,
            logs,
            duration_ms,
            version: ended.version,
            digest: ended.digest,
            answer_json: ended.answer_json,
        },
        Err(error) => pb::CallConnectorResponse {
            error: format!("{}: {error}", error.code()),
            duration_ms,
            ..pb::CallConnectorResponse::default()
        },
    })
}

fn dispatched(outcome: Outcome) -> (&'static str, Value) {
    match outcome {
        Outcome::Confirmed(receipt) => ("confirmed", json!(receipt)),
        Outcome::Failed(failure) => ("failed", json!(failure)),
        Outcome::Retry { reason, .. } => ("retry", json!({ "reason": reason })),
        Outcome::Unknown(doubt) => ("unknown", json!(doubt)),
    }
}

fn undone(outcome: CompensateOutcome) -> (&'static str, Value) {
    match outcome {
        CompensateOutcome::Resolved(receipt) => ("resolved", json!(receipt)),
        CompensateOutcome::Failed(failure) => ("failed", json!(failure)),
        CompensateOutcome::Retry { reason, .. } => ("retry", json!({ "reason": reason })),
        CompensateOutcome::Unknown(doubt) => ("unknown", json!(doubt)),
    }
}

fn observed(answer: ObserveAnswer) -> (&'static str, Value) {
    match answer {
        ObserveAnswer::Present(receipt) => ("present", json!(receipt)),
        ObserveAnswer::Absent => ("absent", Value::Null),
        ObserveAnswer::Duplicate(receipts) => ("duplicate", json!(receipts)),
        ObserveAnswer::Inconclusive(doubt) => ("inconclusive", json!(doubt)),
    }
}

fn checked(answer: StatusAnswer) -> (&'static str, Value) {
    match answer {
        StatusAnswer::Committed(receipt) => ("committed", json!(receipt)),
        StatusAnswer::NotCommitted => ("not-committed", Value::Null),
        StatusAnswer::InProgress { retry_after_ms } => ("in-progress", json!({ "retry_after_ms": retry_after_ms })),
        StatusAnswer::Inconclusive(doubt) => ("inconclusive", json!(doubt)),
    }
}

/// The connector that a request is about: of the caller's tenant, or of the one that it may name.
fn named(cx: &Cx, tenant: &str, name: String) -> Result<ConnectorName, Refusal> {
    let name = ConnectorName::new(cx.caller.tenant("tenant_id", tenant)?, name);
    name.check()?;
    Ok(name)
}

/// A version; the one that gets most calls if none is named.
async fn one_version(cx: &Cx, name: &ConnectorName, version: &str) -> Result<(Connector, ConnectorVersion), TapeError> {
    let Deployed { connector, versions } = cx.engine.connector(name).await?;
    let wanted = if version.is_empty() {
        connector.main().ok_or_else(|| inactive(name))?.to_owned()
    } else {
        version.to_owned()
    };
    connector.need(&wanted)?;
    let found = versions.into_iter().find(|one| one.version == wanted);
    let found = found
        .ok_or_else(|| TapeError::Corrupt(format!("Version {wanted} of connector {} is not there.", name.name)))?;
    Ok((connector, found))
}

/// The version that gets most calls, if there is one.
async fn main_version(cx: &Cx, name: &ConnectorName) -> Result<Option<ConnectorVersion>, TapeError> {
    match one_version(cx, name, "").await {
        Ok((_, version)) => Ok(Some(version)),
        Err(TapeError::Refused(refusal)) if ["TAPE-C040", "TAPE-C042"].contains(&refusal.code) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A version with how it does in this process.
fn shown(cx: &Cx, connector: &Connector, version: ConnectorVersion) -> pb::ConnectorVersion {
    let all = cx.connectors.states();
    let here = all.iter().find(|state| {
        state.tenant == connector.name.tenant && state.name == connector.name.name && state.version == version.version
    });
    convert::version(connector, version, here)
}

fn misfit(error: &Misfit) -> TapeError {
    let class = match error.field {
        "" => return TapeError::Unavailable(error.message.clone()),
        "component" => Refused::FailedPrecondition,
        _ => Refused::InvalidArgument,
    };
    let mut refusal = Refusal::new(
        class,
        error.code,
        format!("{}.", error.message.trim_end_matches('.')),
        "",
    );
    refusal.field = Some(error.field);
    refusal.into()
}

fn inactive(name: &ConnectorName) -> Refusal {
    Refusal::new(
        Refused::FailedPrecondition,
        "TAPE-C042",
        format!("No version of connector {:?} is active.", name.name),
        "Name a version, or activate one: tape connector activate NAME VERSION.",
    )
}

fn in_use(name: &ConnectorName, version: &str, open: usize) -> Refusal {
    Refusal::new(
        Refused::FailedPrecondition,
        "TAPE-C043",
        format!(
            "Version {version:?} of connector {:?} has dispatched {open} effects that are not settled: it is asked about them.",
            name.name
        ),
        "Wait until they are settled (tape status); or remove it with --force, and the active version is asked instead.",
    )
    .at("version", version)
}

fn other_bytes(said: &str, found: &str) -> Refusal {
    Refusal::invalid(
        "digest",
        said,
        format!("The bytes that came are {found}."),
        "Put it again; if it stays so, the file was changed since its digest was taken.",
    )
    .coded("TAPE-C045")
}

fn too_large() -> Refusal {
    Refusal::invalid(
        "component",
        "",
        format!("A component has at most {} MiB.", COMPONENT_BYTES_MAX / (1024 * 1024)),
        "Build it in release mode and without debug information.",
    )
    .coded("TAPE-C046")
}

fn out_of_order() -> Refusal {
    Refusal::invalid(
        "part",
        "",
        "An upload is a header, once, and then the component's bytes.",
        "Send the header first.",
    )
}

fn stalled() -> Refusal {
    Refusal::new(
        Refused::FailedPrecondition,
        "TAPE-C045",
        format!("The component did not come: nothing for {} s.", PART_MAX.as_secs()),
        "Put it again.",
    )
}

fn busy() -> Refusal {
    Refusal::new(
        Refused::ResourceExhausted,
        "TAPE-C046",
        "Other components are being put, and each is in memory as a whole.",
        "Put it again when they are done.",
    )
}

fn unreadable_signature() -> Refusal {
    Refusal::invalid(
        "signature",
        "",
        "The signature is no text.",
        "Send what `tape connector sign` writes, one signature on a line.",
    )
    .coded("TAPE-C048")
}
