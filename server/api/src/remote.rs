//! Reactors in other processes, as this server knows them: who asked for work, for which, and when.
//!
//! Nothing depends on it but what people are shown. It is empty after a start and fills as reactors ask.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tape_core::{DueKind, Time};
use tape_port::Served;

/// Who has not asked for so long is not shown any more.
const FORGOTTEN_AFTER_MS: i64 = 60_000;
/// Most reactors that are remembered.
const KNOWN_MAX: usize = 1_000;

/// One reactor elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) id: String,
    pub(crate) kind: DueKind,
    pub(crate) last_seen: Time,
    pub(crate) passes: u64,
    served: Option<Vec<Served>>,
}

/// Those that asked lately.
#[derive(Default)]
pub(crate) struct Remotes {
    known: Mutex<HashMap<(String, DueKind), Remote>>,
}

impl Remotes {
    /// Notes that a reactor looked for work.
    pub(crate) fn asked(&self, id: &str, kind: DueKind, served: Option<Vec<Served>>, now: Time) {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, one| now.since(one.last_seen) < FORGOTTEN_AFTER_MS);
        }
        let one = known.entry((id.to_owned(), kind)).or_insert_with(|| Remote {
            id: id.to_owned(),
            kind,
            last_seen: now,
            passes: 0,
            served: None,
        });
        one.last_seen = now;
        one.passes += 1;
        one.served = served;
    }

    /// Those of a kind that asked lately, by id.
    pub(crate) fn of(&self, kind: DueKind, now: Time) -> Vec<Remote> {
        let fresh = |one: &&Remote| one.kind == kind && now.since(one.last_seen) < FORGOTTEN_AFTER_MS;
        let mut all: Vec<Remote> = self.known().values().filter(fresh).cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Whether one of them dispatches through a connector for an app.
    pub(crate) fn serve(&self, tenant: &str, app: &str, connector: &str, now: Time) -> bool {
        let it = |one: &Served| {
            one.tenant == tenant && one.name == connector && one.app.as_deref().is_none_or(|its| its == app)
        };
        let serves = |served: &[Served]| served.iter().any(it);
        self.of(DueKind::Outbox, now)
            .iter()
            .any(|one| one.served.as_deref().is_none_or(serves))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, DueKind), Remote>> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
