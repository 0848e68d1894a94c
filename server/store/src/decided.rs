//! What was decided, as a store takes it.

use tape_core::{Changes, EntityId, EntityKind, Row, RowKey};

use crate::chain::Chain;
use crate::codec;
use crate::error::StoreError;
use crate::store::{Commit, Listing, StoredRow};

impl Commit {
    /// `changes` to an entity of `tenant`, decided on its version `expected`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if something cannot be encoded, which would be a defect of ours.
    pub fn of(entity: &EntityId, expected: u64, changes: &Changes, tenant: &str) -> Result<Self, StoreError> {
        let mut puts = Vec::with_capacity(changes.puts.len());
        let mut listing = None;
        for (key, row) in &changes.puts {
            if *key == RowKey::Head {
                listing = listing_of(entity, row);
            }
            puts.push(StoredRow {
                key: key.clone(),
                body: codec::encode_row(row)?,
                due: row.due(),
                by: found_by(tenant, row),
            });
        }
        let entries = changes
            .entries
            .iter()
            .map(|entry| Ok((entry.seq, codec::encode_entry(entry)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(Self {
            entity: entity.clone(),
            expected,
            listing,
            puts,
            deletes: changes.deletes.clone(),
            entries,
            chain: Chain::default(),
        })
    }
}

/// By what work is found among other work of its kind.
fn found_by(tenant: &str, row: &Row) -> Option<String> {
    match row {
        Row::Run(run) if run.has_ended() => Some(by_status(run.state.number())),
        _ => row.waits_for().map(|connector| waits_for(tenant, connector)),
    }
}

/// A run that has ended, as its hint names it: by the number of its status.
#[must_use]
pub fn by_status(number: u8) -> String {
    number.to_string()
}

/// Whom work waits for, as hints name it: a connector of a tenant; empty = nobody in particular.
#[must_use]
pub fn waits_for(tenant: &str, connector: &str) -> String {
    if connector.is_empty() {
        String::new()
    } else {
        format!("{tenant}/{connector}")
    }
}

/// By what an entity is found in listings; follows from its head.
fn listing_of(entity: &EntityId, head: &Row) -> Option<Listing> {
    match (entity.kind, head) {
        (EntityKind::Run, Row::Run(run)) => Some(Listing {
            tenant: run.identity.tenant.clone(),
            app: run.identity.app.clone(),
            user: run.identity.user.clone(),
            status: run.state.number(),
            created: run.started,
        }),
        (EntityKind::Session, Row::Session(session)) => Some(Listing {
            tenant: session.name.tenant.clone(),
            app: session.name.app.clone(),
            user: session.name.user.clone(),
            status: u8::from(session.deleted),
            created: session.created,
        }),
        (EntityKind::Reaction, Row::Reaction(reaction)) => Some(Listing {
            tenant: reaction.name.tenant.clone(),
            app: String::new(),
            user: String::new(),
            status: u8::from(reaction.deleted),
            created: reaction.created,
        }),
        (EntityKind::Connector, Row::Connector(connector)) => Some(Listing {
            tenant: connector.name.tenant.clone(),
            app: String::new(),
            user: String::new(),
            status: 0,
            created: connector.created,
        }),
        (EntityKind::Component, Row::Component(component)) => Some(Listing {
            created: component.touched,
            ..Listing::default()
        }),
        _ => None,
    }
}
