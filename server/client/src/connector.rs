//! Connectors: put, activate, roll back, grant, remove, look, call.

use futures_util::stream::{self, Stream, TryStreamExt as _};
use tape_proto::v1 as pb;
use tonic::Request;

use crate::client::{TapeClient, present};
use crate::error::ClientError;
use crate::model::connector::{
    By, ConnectorCall, ConnectorCalled, ConnectorChange, ConnectorLine, ConnectorVersion, Granted, PutConnector,
    PutDone, Question, VersionName, grants_of,
};

/// Bytes of a component in one message.
const CHUNK_BYTES: usize = 512 * 1024;

impl TapeClient {
    /// Uploads a component as a version of a connector. The same again changes nothing.
    ///
    /// # Errors
    /// A refusal that names the field; FAILED_PRECONDITION if the component does not fit the contract; ALREADY_EXISTS if the
    /// version has other bytes.
    pub async fn put_connector(&self, put: PutConnector) -> Result<PutDone, ClientError> {
        use pb::put_connector_request::Part;
        let header = pb::PutConnectorHeader {
            tenant_id: put.at.tenant,
            name: put.at.name,
            version: put.at.version,
            config_json: put.config_json,
            grants: put.grants.as_ref().map(grants_of),
            activate: put.activate,
            signature: put.signature.into_bytes(),
            rename: put.rename,
            who: put.by.who,
            reason: put.by.reason,
            ..pb::PutConnectorHeader::default()
        };
        let chunks: Vec<Part> = put
            .component
            .chunks(CHUNK_BYTES)
            .map(|chunk| Part::Chunk(chunk.to_vec()))
            .collect();
        let parts = std::iter::once(Part::Header(header)).chain(chunks);
        let parts = parts.map(|part| pb::PutConnectorRequest { part: Some(part) });
        let parts: Vec<pb::PutConnectorRequest> = parts.collect();
        let done = self
            .connectors()
            .put_connector(Request::new(stream::iter(parts)))
            .await?
            .into_inner();
        Ok(PutDone {
            version: present("PutConnector", done.version)?.into(),
            created: done.created,
            missing_grants: done.missing_grants,
        })
    }

    /// Versions by name, then newest first: the active ones, or all. Empty names mean all that the caller may see.
    ///
    /// # Errors
    /// NOT_FOUND for a name that nobody has.
    pub async fn list_connectors(
        &self,
        tenant: &str,
        name: &str,
        all: bool,
    ) -> Result<Vec<ConnectorVersion>, ClientError> {
        let request = pb::ListConnectorsRequest {
            tenant_id: tenant.to_owned(),
            name: name.to_owned(),
            all_versions: all,
        };
        let answer = self.connectors().list_connectors(request).await?.into_inner();
        Ok(answer.versions.into_iter().map(ConnectorVersion::from).collect())
    }

    /// One version; the one that gets most calls if none is named.
    ///
    /// # Errors
    /// NOT_FOUND; FAILED_PRECONDITION if none is active.
    pub async fn connector(&self, version: VersionName) -> Result<ConnectorVersion, ClientError> {
        let request = pb::GetConnectorRequest {
            tenant_id: version.tenant,
            name: version.name,
            version: version.version,
            with_component: false,
        };
        let answer = self.connectors().get_connector(request).await?.into_inner();
        Ok(present("GetConnector", answer.version)?.into())
    }

    /// Directs calls to a version: all, or `weight` percent. Returns the active versions.
    ///
    /// # Errors
    /// NOT_FOUND; FAILED_PRECONDITION if nothing is active that could keep the rest.
    pub async fn activate_version(
        &self,
        version: VersionName,
        weight: i32,
        by: By,
    ) -> Result<Vec<ConnectorVersion>, ClientError> {
        let request = pb::ActivateVersionRequest {
            tenant_id: version.tenant,
            name: version.name,
            version: version.version,
            weight,
            reason: by.reason,
            who: by.who,
        };
        let answer = self.connectors().activate_version(request).await?.into_inner();
        Ok(answer.active.into_iter().map(ConnectorVersion::from).collect())
    }

    /// Leaves a version, if it is active, for what was active before it came; without one, whichever came last. Returns what gets
    /// most calls now.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when there is nothing to go back to.
    pub async fn rollback_connector(&self, from: VersionName, by: By) -> Result<ConnectorVersion, ClientError> {
        let request = pb::RollbackRequest {
            tenant_id: from.tenant,
            name: from.name,
            from_version: from.version,
            reason: by.reason,
            who: by.who,
        };
        let answer = self.connectors().rollback(request).await?.into_inner();
        Ok(present("Rollback", answer.active)?.into())
    }

    /// Replaces what a version may do (`grants`, with `limits` in it), its configuration, or both. The one that gets most
    /// calls if none is named.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for grants or a configuration that cannot be.
    pub async fn grant_connector(
        &self,
        version: VersionName,
        grants: Option<&serde_json::Value>,
        config_json: String,
        by: By,
    ) -> Result<Granted, ClientError> {
        let request = pb::GrantRequest {
            tenant_id: version.tenant,
            name: version.name,
            version: version.version,
            grants: grants.map(grants_of),
            config_json,
            reason: by.reason,
            who: by.who,
        };
        let answer = self.connectors().grant(request).await?.into_inner();
        Ok(Granted {
            version: present("Grant", answer.version)?.into(),
            missing_grants: answer.missing_grants,
        })
    }

    /// Takes a version away. Returns whether it was there.
    ///
    /// # Errors
    /// FAILED_PRECONDITION while it is active, or asked about effects that are not settled (unless `force`).
    pub async fn remove_connector(&self, version: VersionName, force: bool, by: By) -> Result<bool, ClientError> {
        let request = pb::RemoveVersionRequest {
            tenant_id: version.tenant,
            name: version.name,
            version: version.version,
            force,
            reason: by.reason,
            who: by.who,
        };
        Ok(self.connectors().remove_version(request).await?.into_inner().removed)
    }

    /// Who changed what, oldest first, from a number on (0 = the first).
    ///
    /// # Errors
    /// NOT_FOUND.
    pub async fn connector_changes(
        &self,
        tenant: &str,
        name: &str,
        from_seq: i64,
    ) -> Result<Vec<ConnectorChange>, ClientError> {
        let request = pb::ListConnectorChangesRequest {
            tenant_id: tenant.to_owned(),
            name: name.to_owned(),
            from_seq,
            limit: 1_000,
        };
        let answer = self.connectors().list_connector_changes(request).await?.into_inner();
        Ok(answer.changes.into_iter().map(ConnectorChange::from).collect())
    }

    /// What a connector said in the server's process: the last lines (`limit` at most, 0 = 100), and with `follow` what comes.
    ///
    /// # Errors
    /// NOT_FOUND. The stream's own error, if it has one, is its last item.
    pub async fn tail_connector(
        &self,
        tenant: &str,
        name: &str,
        limit: i32,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<ConnectorLine, ClientError>> + Send + Unpin + use<>, ClientError> {
        let request = pb::TailConnectorRequest {
            tenant_id: tenant.to_owned(),
            name: name.to_owned(),
            limit,
            follow,
        };
        let lines = self.connectors().tail_connector(request).await?.into_inner();
        Ok(lines.map_ok(ConnectorLine::from).map_err(ClientError::from))
    }

    /// One call by hand, in the server's process. What it does is real.
    ///
    /// # Errors
    /// NOT_FOUND; a refusal that names the field.
    pub async fn call_connector(&self, call: ConnectorCall) -> Result<ConnectorCalled, ClientError> {
        use pb::call_connector_request::Call;
        let effect = pb::EffectForConnector {
            idempotency_key: call.key,
            operation: call.operation,
            business_key: call.business_key,
            payload_json: call.payload_json,
            attempt: 1,
            ..pb::EffectForConnector::default()
        };
        let asked = match call.question {
            Question::Dispatch => Call::Dispatch(effect),
            Question::Observe => Call::Observe(effect),
            Question::StatusCheck => Call::StatusCheck(pb::StatusCheckByHand {
                effect: Some(effect),
                reference: call.reference,
            }),
            Question::Compensate => Call::Compensate(pb::CompensateByHand {
                effect: Some(effect),
                receipt: Some(pb::Receipt {
                    external_ref: call.reference,
                    response_json: String::new(),
                }),
                ..pb::CompensateByHand::default()
            }),
        };
        let request = pb::CallConnectorRequest {
            tenant_id: call.of.tenant,
            name: call.of.name,
            version: call.of.version,
            call: Some(asked),
        };
        Ok(self.connectors().call_connector(request).await?.into_inner().into())
    }
}
