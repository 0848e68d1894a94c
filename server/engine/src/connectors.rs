//! Deployed connectors: their versions, and the bytes of their components.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use tape_core::command::Reads;
use tape_core::command::component::{DropComponent, FinishComponent, TouchComponent, WriteChunk};
use tape_core::command::connector::{ActivateVersion, GrantVersion, PutDone, PutVersion, RemoveVersion, Rollback};
use tape_core::connector::{
    CHUNK_BYTES, Component, Connector, ConnectorName, ConnectorVersion, Deployed, UNNAMED_MS, digest_of, no_connector,
};
use tape_core::effect::EffectState;
use tape_core::entity::EntityKind;
use tape_core::row::RowKind;
use tape_core::{Entry, Row, RowKey, Time};
use tape_port::{Deployments, TapeError};
use tape_store::{ListQuery, Listed, Position, codec};
use tokio::sync::watch;

use crate::engine::{Engine, store_error};
use crate::scan::OpenEffects;

/// Heads read at once.
const PAGE: u32 = 500;
/// The engine as hosts see it that run connectors in its process.
#[async_trait]
impl Deployments for Engine {
    fn deployments(&self) -> watch::Receiver<u64> {
        self.wakes.watch_connectors()
    }

    async fn deployed_since(&self, known: &BTreeMap<ConnectorName, i64>) -> Result<Vec<Deployed>, TapeError> {
        self.connectors_since(None, known).await
    }

    async fn component_of(&self, name: &ConnectorName, version: &str) -> Result<Vec<u8>, TapeError> {
        let deployed = self.connector(name).await?;
        self.component(&deployed.connector.need(version)?.digest).await
    }

    async fn declare(&self, put: &PutVersion, component: &[u8]) -> Result<PutDone, TapeError> {
        self.put_connector(put, component).await
    }
}

/// Similarity from which a name counts as meant.
const SIMILARITY_MIN: f64 = 0.7;

impl Engine {
    /// Stores a component and a version that names it. Bytes that are there already are not written again.
    ///
    /// A put that dies anywhere leaves bytes that no version names, and they mean nothing.
    ///
    /// # Errors
    /// See [`PutVersion`]; INVALID_ARGUMENT, TAPE-C045, if the bytes are not those of the version's digest.
    pub async fn put_connector(&self, put: &PutVersion, component: &[u8]) -> Result<PutDone, TapeError> {
        self.store_component(&put.version.digest, component).await?;
        self.execute(put, None).await
    }

    async fn store_component(&self, digest: &str, bytes: &[u8]) -> Result<(), TapeError> {
        let touch = TouchComponent {
            digest: digest.to_owned(),
            size: bytes.len() as u64,
        };
        if self.execute(&touch, None).await? {
            return Ok(());
        }
        for (index, chunk) in (0..).zip(bytes.chunks(CHUNK_BYTES)) {
            let chunk = WriteChunk {
                digest: digest.to_owned(),
                index,
                bytes: chunk.to_vec(),
            };
            self.execute(&chunk, None).await?;
        }
        let finish = FinishComponent {
            digest: digest.to_owned(),
        };
        self.execute(&finish, None).await
    }

    /// The bytes of a component, as they were put.
    ///
    /// # Errors
    /// [`TapeError::Corrupt`] if they are not there, not whole, or not those of the digest.
    pub async fn component(&self, digest: &str) -> Result<Vec<u8>, TapeError> {
        let entity = Component::entity(digest);
        let missing = |what: &str| TapeError::Corrupt(format!("The bytes of component {digest} {what}."));
        let head = self.load(&entity, &Reads::head()).await?;
        let Some(Row::Component(component)) = head.rows.get(&RowKey::Head) else {
            return Err(missing("are not there"));
        };
        if !component.whole {
            return Err(missing("are not whole"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(component.size).unwrap_or_default());
        for index in 0..component.chunks() {
            let key = RowKey::Chunk(index);
            let mut rows = self.load(&entity, &Reads::rows([key.clone()])).await?.rows;
            match rows.remove(&key) {
                Some(Row::Chunk(chunk)) => bytes.extend(chunk.0),
                _ => return Err(missing("are not whole")),
            }
        }
        if digest_of(&bytes) != digest {
            return Err(missing("are not what was put"));
        }
        Ok(bytes)
    }

    /// Takes away components that no version names, and that nobody has said to be about to name within `unnamed_ms`
    /// (usually [`UNNAMED_MS`]). Returns how many.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`]: call again later.
    pub async fn collect_components(&self, unnamed_ms: i64) -> Result<u64, TapeError> {
        let mut components = Vec::new();
        self.each_head(EntityKind::Component, None, |row| {
            if let Row::Component(component) = row {
                components.push(component);
            }
        })
        .await?;
        components.retain(|component| self.now().since(component.touched) >= unnamed_ms);
        if components.is_empty() {
            return Ok(0);
        }
        // Read after the components: who names one of them now has touched it.
        let mut named = BTreeSet::new();
        for connector in self.connectors(None).await? {
            named.extend(connector.versions.into_iter().map(|known| known.digest));
        }
        let mut dropped = 0;
        for component in components {
            if named.contains(&component.digest) {
                continue;
            }
            let digest = component.digest;
            if self.execute(&DropComponent { digest, unnamed_ms }, None).await? {
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Collects components from time to time; runs until it is dropped.
    pub async fn collect_components_forever(&self) {
        const PAUSE: Duration = Duration::from_secs(10 * 60);
        loop {
            tokio::time::sleep(PAUSE).await;
            match self.collect_components(UNNAMED_MS).await {
                Ok(0) => {}
                Ok(dropped) => tracing::info!(dropped, "components that no version names are gone"),
                Err(error) => tracing::debug!(%error, "components are not collected now"),
            }
        }
    }

    /// Directs calls to a version.
    ///
    /// # Errors
    /// See [`ActivateVersion`]; NOT_FOUND names the nearest known name.
    pub async fn activate_version(&self, command: &ActivateVersion) -> Result<Connector, TapeError> {
        let done = self.execute(command, None).await;
        self.or_nearest(done, &command.name).await
    }

    /// Directs calls to where they went before.
    ///
    /// # Errors
    /// See [`Rollback`]; NOT_FOUND names the nearest known name.
    pub async fn rollback_connector(&self, command: &Rollback) -> Result<Connector, TapeError> {
        let done = self.execute(command, None).await;
        self.or_nearest(done, &command.name).await
    }

    /// Changes what a version may do.
    ///
    /// # Errors
    /// See [`GrantVersion`]; NOT_FOUND names the nearest known name.
    pub async fn grant_connector(&self, command: &GrantVersion) -> Result<PutDone, TapeError> {
        let done = self.execute(command, None).await;
        self.or_nearest(done, &command.name).await
    }

    /// Takes a version away. Returns whether it was there.
    ///
    /// # Errors
    /// See [`RemoveVersion`]; NOT_FOUND names the nearest known name.
    pub async fn remove_connector(&self, command: &RemoveVersion) -> Result<bool, TapeError> {
        let done = self.execute(command, None).await;
        self.or_nearest(done, &command.name).await
    }

    /// The heads of all connectors, of one tenant or of all, by tenant and name.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn connectors(&self, tenant: Option<&str>) -> Result<Vec<Connector>, TapeError> {
        let mut connectors = Vec::new();
        self.each_head(EntityKind::Connector, tenant, |row| {
            if let Row::Connector(connector) = row {
                connectors.push(*connector);
            }
        })
        .await?;
        connectors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(connectors)
    }

    /// A connector with all its versions.
    ///
    /// # Errors
    /// NOT_FOUND, TAPE-C040, with the nearest known name.
    pub async fn connector(&self, name: &ConnectorName) -> Result<Deployed, TapeError> {
        name.check()?;
        let found = self.deployed(name).await?;
        let none = found.ok_or_else(|| TapeError::from(no_connector(&name.name, None)));
        self.or_nearest(none, name).await
    }

    /// The connectors whose state is another than the one that the caller knows, by the number of their last change.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn connectors_since(
        &self,
        tenant: Option<&str>,
        known: &BTreeMap<ConnectorName, i64>,
    ) -> Result<Vec<Deployed>, TapeError> {
        let mut changed = Vec::new();
        for connector in self.connectors(tenant).await? {
            if known.get(&connector.name) != Some(&connector.seq) {
                changed.extend(self.deployed(&connector.name).await?);
            }
        }
        Ok(changed)
    }

    /// The journal of a connector: who changed what, oldest first.
    ///
    /// # Errors
    /// NOT_FOUND, TAPE-C040.
    pub async fn connector_history(
        &self,
        name: &ConnectorName,
        from_seq: i64,
        limit: u32,
    ) -> Result<Vec<Entry>, TapeError> {
        self.connector(name).await?;
        let entries = self.store.journal(&name.entity(), from_seq.max(1), limit).await;
        let entries = entries.map_err(store_error)?.into_iter();
        entries
            .map(|recorded| codec::decode_entry(&recorded.body).map_err(store_error))
            .collect()
    }

    /// How many effects are not settled that a version of a connector dispatched.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`].
    pub async fn unsettled_by(&self, name: &ConnectorName, version: &str) -> Result<usize, TapeError> {
        let all = OpenEffects {
            tenant: Some(&name.tenant),
            pending: true,
            unknown: true,
            begun_until: Time::NEVER,
            most: usize::MAX,
        };
        let open = self.open_effects(all).await?;
        let theirs = open.iter().filter(|(_, effect)| {
            effect.intent.connector == name.name
                && matches!(
                    effect.state,
                    EffectState::Sent(_) | EffectState::Unknown(_) | EffectState::Stuck { .. }
                )
                && effect.dispatched_by().is_some_and(|attempt| attempt.version == version)
        });
        Ok(theirs.count())
    }

    async fn deployed(&self, name: &ConnectorName) -> Result<Option<Deployed>, TapeError> {
        let reads = Reads::head().all(RowKind::ConnectorVersion);
        let mut rows = self.load(&name.entity(), &reads).await?.rows;
        let Some(Row::Connector(connector)) = rows.remove(&RowKey::Head) else {
            return Ok(None);
        };
        let mut versions: BTreeMap<String, ConnectorVersion> = BTreeMap::new();
        for row in rows.into_values() {
            if let Row::ConnectorVersion(version) = row {
                versions.insert(version.version.clone(), *version);
            }
        }
        let in_order = connector.versions.iter();
        let versions = in_order.filter_map(|known| versions.remove(&known.version)).collect();
        Ok(Some(Deployed {
            connector: *connector,
            versions,
        }))
    }

    /// The answer; or, if there is no connector of that name, a refusal that names the one that may be meant.
    async fn or_nearest<T>(&self, answer: Result<T, TapeError>, name: &ConnectorName) -> Result<T, TapeError> {
        match answer {
            Err(TapeError::Refused(refusal)) if refusal.code == "TAPE-C040" && refusal.field == Some("name") => {
                let known = self.connectors(Some(&name.tenant)).await?;
                let scored = known
                    .iter()
                    .map(|one| (strsim::jaro_winkler(&one.name.name, &name.name), one.name.name.as_str()));
                let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other));
                let nearest = best.filter(|(score, _)| *score >= SIMILARITY_MIN).map(|(_, name)| name);
                Err(no_connector(&name.name, nearest).into())
            }
            answer => answer,
        }
    }

    async fn each_head(
        &self,
        kind: EntityKind,
        tenant: Option<&str>,
        mut each: impl FnMut(Row) + Send,
    ) -> Result<(), TapeError> {
        let mut query = ListQuery {
            tenant: tenant.map(str::to_owned),
            ..ListQuery::all(kind, PAGE)
        };
        loop {
            let listed: Vec<Listed> = self.store.list(&query).await.map_err(store_error)?;
            let full = listed.len() == PAGE as usize;
            for found in listed {
                query.after = Some(Position {
                    created: found.listing.created,
                    id: found.id,
                });
                each(codec::decode_row(&found.head).map_err(store_error)?);
            }
            if !full {
                return Ok(());
            }
        }
    }
}
