//! Forgetting requests: what was answered to a request id is remembered for [`REQUEST_KEPT_MS`](crate::row::REQUEST_KEPT_MS)
//! at least, and not for ever, also in a run, a session or a value that lives for years.

use super::{Command, Reads};
use crate::draft::Draft;
use crate::entity::EntityId;
use crate::refusal::Refusal;
use crate::row::{Row, RowKey};

/// Forgets what was answered long enough ago.
#[derive(Clone, Debug)]
pub struct ForgetRequests {
    /// To whom the requests were.
    pub entity: EntityId,
    /// What was found due.
    pub keys: Vec<RowKey>,
}

impl Command for ForgetRequests {
    /// How many were forgotten.
    type Reply = u64;

    fn entity(&self) -> EntityId {
        self.entity.clone()
    }

    fn reads(&self) -> Reads {
        Reads::rows(self.keys.iter().cloned())
    }

    fn decide(&self, draft: &mut Draft) -> Result<u64, Refusal> {
        let now = draft.now();
        let mut gone = 0;
        for key in &self.keys {
            // The same id may have been answered anew since.
            let over = match draft.row(key) {
                Some(row @ Row::Request(_)) => row.due().is_some_and(|due| due.at <= now),
                _ => false,
            };
            if over {
                draft.delete(key);
                gone += 1;
            }
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::{Context, Snapshot};
    use crate::row::{DueKind, REQUEST_KEPT_MS};
    use crate::time::Time;

    fn answered(rows: &Snapshot, now: Time) -> (Snapshot, u64) {
        let context = Context {
            now,
            ..Context::default()
        };
        let command = ForgetRequests {
            entity: EntityId::run(&crate::id::RunId("r".into())),
            keys: rows.rows.keys().cloned().collect(),
        };
        let mut draft = Draft::new(rows.clone(), context);
        let gone = command.decide(&mut draft).unwrap();
        (draft.finish().1, gone)
    }

    #[test]
    fn an_answer_is_kept_for_a_day_and_then_forgotten() {
        let mut draft = Draft::new(Snapshot::default(), Context::default());
        draft.remember("q-1", "ChargeBudget", "{}".into());
        draft.remember("", "ChargeBudget", "{}".into());
        let (_, rows) = draft.finish();
        let due = rows.rows.values().next().and_then(Row::due).unwrap();
        assert_eq!((due.kind, due.at), (DueKind::Request, Time(REQUEST_KEPT_MS)));

        let (kept, gone) = answered(&rows, Time(REQUEST_KEPT_MS - 1));
        assert_eq!((kept.rows.len(), gone), (1, 0));
        let (kept, gone) = answered(&kept, Time(REQUEST_KEPT_MS));
        assert_eq!((kept.rows.len(), gone), (0, 1));
    }
}
