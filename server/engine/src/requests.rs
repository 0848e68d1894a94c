//! Forgetting what was answered to request ids, once that is a day ago: also in runs, sessions and values that live for years.

use std::collections::HashMap;

use tape_core::command::requests::ForgetRequests;
use tape_core::{DueKind, EntityId};
use tape_port::TapeError;
use tape_store::DueQuery;

use crate::engine::{Engine, store_error};

impl Engine {
    /// Forgets `limit` answers at most, the oldest first. Returns how many went, and whether there may be more.
    ///
    /// Cost: one commit for each entity that was asked.
    ///
    /// # Errors
    /// [`TapeError::Unavailable`]; what was forgotten stays so.
    pub async fn forget_old_requests(&self, limit: u32) -> Result<(u64, bool), TapeError> {
        let query = DueQuery {
            kind: DueKind::Request,
            until: self.now(),
            tenants: None,
            apps: None,
            by: None,
            limit,
        };
        let due = self.store.due(&query).await.map_err(store_error)?;
        let full = due.len() == limit as usize;
        let mut by_entity: HashMap<EntityId, Vec<_>> = HashMap::new();
        for row in due {
            by_entity.entry(row.entity).or_default().push(row.key);
        }
        let mut gone = 0;
        for (entity, keys) in by_entity {
            gone += self.execute(&ForgetRequests { entity, keys }, None).await?;
        }
        Ok((gone, full && gone > 0))
    }
}
