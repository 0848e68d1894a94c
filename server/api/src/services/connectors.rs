//! `Connectors`: putting versions, and saying which are called and what they may do.
//!
//! ```text
//! put ─▶ all bytes ─▶ digest ─▶ the host judges (contract, description, grants), and compiles ─▶ stored ─▶ followed by every host
//! ```

mod call;
mod put;
mod refusals;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use tape_connector_port::{Deployable, Vouched};
use tape_core::Refusal;
use tape_core::command::connector::{ActivateVersion, By, GrantVersion, RemoveVersion, Rollback};
use tape_core::connector::{Connector, ConnectorName, ConnectorVersion, Deployed, check_version};
use tape_port::{ConnectorHost, TapeError};
use tape_proto::v1 as pb;
use tonic::{Request, Response, Status, Streaming};

use self::call::call_connector;
use self::put::{put, receive};
use self::refusals::{busy, in_use, inactive, misfit};
use super::{Cx, Shared};
use crate::convert::{connector as convert, limit};
use crate::feed::{self, Answers};
use crate::status;

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
    let most = limit("limit", asked.limit.into(), 100, 1_000)?;
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
    let most = limit("limit", asked.limit.into(), 100, 1_000)? as usize;
    let (kept, news) = host.tail(&name, most);
    let kept = stream::iter(kept.into_iter().map(|line| Ok(convert::line(line, 0))));
    if asked.follow {
        Ok(kept.chain(feed::lines(news, cx.closing.clone())).boxed())
    } else {
        Ok(kept.boxed())
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
