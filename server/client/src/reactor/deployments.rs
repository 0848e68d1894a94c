//! `Deployments`: the connectors that a process of reactors runs, as the server has them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use tape_core::command::connector::{PutDone, PutVersion, Taken};
use tape_core::connector::{CHUNK_BYTES, Connector, ConnectorName, ConnectorVersion, Deployed, Known, Share};
use tape_port::{Deployments, TapeError};
use tape_proto::v1 as pb;
use tokio::sync::watch;
use tonic::{Request, Status};

use super::{RemoteTape, failed};
use crate::model::connector::grants_message;

/// Longest time for a component to come or go: 64 MiB by a slow line.
const COMPONENT_MAX: Duration = Duration::from_secs(120);
/// Longest time to be told what is deployed.
const FOLLOW_MAX: Duration = Duration::from_secs(10);

#[async_trait]
impl Deployments for RemoteTape {
    fn deployments(&self) -> watch::Receiver<u64> {
        self.deployed.subscribe()
    }

    async fn deployed_since(&self, known: &BTreeMap<ConnectorName, i64>) -> Result<Vec<Deployed>, TapeError> {
        let known = known.iter().map(|(name, seq)| pb::KnownConnector {
            tenant_id: name.tenant.clone(),
            name: name.name.clone(),
            seq: *seq,
        });
        let request = pb::FollowConnectorsRequest { known: known.collect() };
        let follow = async {
            let mut changed = self.reactors.clone().follow_connectors(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(connector) = changed.message().await? {
                all.push(deployed(connector));
            }
            Ok(all)
        };
        self.within(FOLLOW_MAX, follow).await
    }

    async fn component_of(&self, name: &ConnectorName, version: &str) -> Result<Vec<u8>, TapeError> {
        let request = pb::FetchComponentRequest {
            tenant_id: name.tenant.clone(),
            name: name.name.clone(),
            version: version.to_owned(),
        };
        let fetch = async {
            let mut chunks = self.reactors.clone().fetch_component(request).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(chunk) = chunks.message().await? {
                bytes.extend(chunk.bytes);
            }
            Ok(bytes)
        };
        self.within(COMPONENT_MAX, fetch).await
    }

    async fn declare(&self, put: &PutVersion, component: &[u8]) -> Result<PutDone, TapeError> {
        use pb::put_connector_request::Part;
        let version = &put.version;
        let header = pb::PutConnectorHeader {
            tenant_id: put.name.tenant.clone(),
            name: put.name.name.clone(),
            version: version.version.clone(),
            digest: version.digest.clone(),
            config_json: version.config_json.clone(),
            grants: Some(grants_message(&version.grants_json, &version.limits_json)),
            activate: put.activate,
            rename: put.taken == Taken::Rename,
            declared: put.declared.clone().unwrap_or_default(),
            who: put.by.who.clone(),
            reason: put.by.reason.clone(),
            ..pb::PutConnectorHeader::default()
        };
        let parts = std::iter::once(Part::Header(header))
            .chain(component.chunks(CHUNK_BYTES).map(|chunk| Part::Chunk(chunk.to_vec())))
            .map(|part| pb::PutConnectorRequest { part: Some(part) });
        let parts: Vec<pb::PutConnectorRequest> = parts.collect();
        let put_it = async {
            let request = Request::new(stream::iter(parts));
            Ok(self.connectors.clone().put_connector(request).await?.into_inner())
        };
        let done = self.within(COMPONENT_MAX, put_it).await?;
        let version = done.version.map(|put| put.version).unwrap_or_default();
        Ok(PutDone {
            connector: Connector::new(put.name.clone(), self.server_now()),
            version: ConnectorVersion {
                version,
                ..put.version.clone()
            },
            created: done.created,
        })
    }
}

impl RemoteTape {
    async fn within<T>(&self, most: Duration, asked: impl Future<Output = Result<T, Status>>) -> Result<T, TapeError> {
        match tokio::time::timeout(most, asked).await {
            Ok(answer) => answer.map_err(|status| failed(&status)),
            Err(_) => Err(TapeError::Unavailable(format!(
                "{} did not answer within {} s.",
                self.config.url,
                most.as_secs()
            ))),
        }
    }
}

/// As much of a connector as a host needs.
fn deployed(connector: pb::DeployedConnector) -> Deployed {
    let version = |version: pb::DeployedVersion| ConnectorVersion {
        version: version.version,
        digest: version.digest,
        config_json: version.config_json,
        grants_json: version.grants_json,
        limits_json: version.limits_json,
        ..ConnectorVersion::default()
    };
    let versions: Vec<ConnectorVersion> = connector.versions.into_iter().map(version).collect();
    let known = versions.iter().map(|version| Known {
        version: version.version.clone(),
        digest: version.digest.clone(),
    });
    let share = |share: pb::DeployedShare| Share {
        version: share.version,
        weight: u8::try_from(share.weight).unwrap_or_default(),
    };
    Deployed {
        connector: Connector {
            seq: connector.seq,
            active: connector.shares.into_iter().map(share).collect(),
            versions: known.collect(),
            ..Connector::new(
                ConnectorName::new(connector.tenant_id, connector.name),
                tape_core::Time::ZERO,
            )
        },
        versions,
    }
}
