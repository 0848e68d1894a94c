//! Waking whoever waits for a commit: reactors, and those who follow a run. A wake-up carries no data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tape_core::{Changes, DueKind, EntityId, EntityKind, Time};
use tape_store::{Fate, Heard};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, watch};

use crate::measure;

/// Followers that fall further behind than this read the store again; they lose nothing.
const FEED_BUFFER: usize = 1024;

pub(crate) struct Wakes {
    reactors: [Notify; DueKind::LAST as usize],
    /// The same for reactors in other processes: how many times each kind was woken.
    remote: [watch::Sender<u64>; DueKind::LAST as usize],
    /// When a reactor looks again by itself: what falls due no earlier need not wake it. While it is looking: never.
    horizons: [AtomicI64; DueKind::LAST as usize],
    commits: broadcast::Sender<EntityId>,
    /// How many times a connector was changed.
    connectors: watch::Sender<u64>,
    /// Whether reactions were registered or taken back since they were listed.
    reactions: AtomicBool,
    reactions_changed: Notify,
}

impl Wakes {
    pub(crate) fn new() -> Self {
        Self {
            reactors: Default::default(),
            remote: std::array::from_fn(|_| watch::Sender::new(0)),
            horizons: std::array::from_fn(|_| AtomicI64::new(i64::MAX)),
            commits: broadcast::Sender::new(FEED_BUFFER),
            connectors: watch::Sender::new(0),
            reactions: AtomicBool::new(true),
            reactions_changed: Notify::new(),
        }
    }

    /// Tells everybody whom `changes` concern.
    pub(crate) fn committed(&self, entity: &EntityId, changes: &Changes) {
        for (_, row) in &changes.puts {
            // A hint that comes while the reactor is looking wakes it: it may have been too late to be seen.
            if let Some(due) = row.due()
                && due.at.0 < self.horizons[index(due.kind)].load(Ordering::SeqCst)
            {
                self.reactors[index(due.kind)].notify_one();
                self.remote[index(due.kind)].send_modify(|times| *times += 1);
            }
        }
        if entity.kind == EntityKind::Connector {
            self.connectors.send_modify(|times| *times += 1);
        }
        // Watched are journals and values.
        if !changes.entries.is_empty() || entity.kind == EntityKind::Value {
            // Nobody follows: nothing to tell.
            drop(self.commits.send(entity.clone()));
        }
    }

    /// Passes on what another server told.
    pub(crate) fn heard(&self, heard: Heard) {
        for kind in heard.due {
            self.reactors[index(kind)].notify_one();
            self.remote[index(kind)].send_modify(|times| *times += 1);
        }
        // Without names, anything may have changed.
        if heard.entities.is_empty() || heard.entities.iter().any(|entity| entity.kind == EntityKind::Connector) {
            self.connectors.send_modify(|times| *times += 1);
        }
        for entity in heard.entities {
            // Nobody follows: nothing to tell.
            drop(self.commits.send(entity));
        }
    }

    /// Waits until work of this kind was written since the last call.
    pub(crate) async fn woken(&self, kind: DueKind) {
        self.reactors[index(kind)].notified().await;
    }

    /// Changes whenever work of this kind was written, from now on.
    pub(crate) fn watch(&self, kind: DueKind) -> watch::Receiver<u64> {
        self.remote[index(kind)].subscribe()
    }

    /// Changes whenever a connector was changed, from now on.
    pub(crate) fn watch_connectors(&self) -> watch::Receiver<u64> {
        self.connectors.subscribe()
    }

    /// Tells whoever matches events that reactions were registered or taken back.
    pub(crate) fn reactions_changed(&self) {
        self.reactions.store(true, Ordering::Release);
        self.reactions_changed.notify_one();
    }

    /// Whether they were, since this was asked last.
    pub(crate) fn reactions_were_changed(&self) -> bool {
        self.reactions.swap(false, Ordering::AcqRel)
    }

    /// Waits until they are.
    pub(crate) async fn reactions_change(&self) {
        self.reactions_changed.notified().await;
    }

    /// A reactor begins to look for the time of its next work: from now on every hint wakes it.
    pub(crate) fn looking(&self, kind: DueKind) {
        self.horizons[index(kind)].store(i64::MAX, Ordering::SeqCst);
    }

    /// It found that time, and will look again then. Of work that is due already it has taken what it may: nobody knows
    /// when it looks again, so that every hint wakes it.
    pub(crate) fn found(&self, kind: DueKind, next: Option<Time>, now: Time) {
        let at = next.filter(|at| *at > now).map_or(i64::MAX, |at| at.0);
        self.horizons[index(kind)].store(at, Ordering::SeqCst);
    }

    /// Entities whose journal grew, and values with a new version, from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<EntityId> {
        self.commits.subscribe()
    }
}

/// Whom a commit wakes once it is durable, also when whoever asked for it is gone by then: its work would lie until a
/// reactor looks by itself.
pub(crate) struct News(Option<Untold>);

struct Untold {
    wakes: Arc<Wakes>,
    entity: EntityId,
    changes: Changes,
    fate: Fate,
}

impl News {
    /// Of a commit that was accepted.
    pub(crate) fn new(wakes: &Arc<Wakes>, entity: &EntityId, changes: Changes, fate: Fate) -> Self {
        Self(Some(Untold {
            wakes: Arc::clone(wakes),
            entity: entity.clone(),
            changes,
            fate,
        }))
    }

    /// It is durable.
    pub(crate) fn tell(mut self) {
        if let Some(untold) = self.0.take() {
            untold.tell();
        }
    }

    /// It failed.
    pub(crate) fn never_mind(mut self) {
        self.0 = None;
    }
}

impl Untold {
    fn tell(&self) {
        measure::committed(&self.changes);
        self.wakes.committed(&self.entity, &self.changes);
    }
}

impl Drop for News {
    fn drop(&mut self) {
        let Some(untold) = self.0.take() else { return };
        // The store tells the end of each commit, at the latest when it closes: this ends with it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if untold.fate.clone().stands().await {
                    untold.tell();
                }
            });
        }
    }
}

/// Waits until the entity may have changed; no longer than `poll`, which is the fallback and not an error.
pub(crate) async fn changed(commits: &mut broadcast::Receiver<EntityId>, entity: &EntityId, poll: Duration) {
    let told = async {
        loop {
            match commits.recv().await {
                Ok(committed) if committed != *entity => {}
                // Told, or too slow to be told: look.
                _ => break,
            }
        }
    };
    drop(tokio::time::timeout(poll, told).await);
}

const fn index(kind: DueKind) -> usize {
    kind as usize - 1
}

#[cfg(test)]
mod tests {
    use tape_core::timer::{Timer, TimerState};
    use tape_core::{Row, RowKey, RunId};
    use tokio::time::timeout;

    use super::*;

    /// A timer that was set for this time is committed.
    fn set(wakes: &Wakes, at: i64) {
        let timer = Timer {
            id: "t".into(),
            fire_at: Time(at),
            kind: "k".into(),
            payload_json: String::new(),
            created: Time(0),
            state: TimerState::Armed { next: Time(at) },
            tries: 0,
        };
        let changes = Changes {
            puts: vec![(RowKey::Timer("t".into()), Row::Timer(timer))],
            ..Changes::default()
        };
        wakes.committed(&EntityId::run(&RunId("r".into())), &changes);
    }

    async fn woken(wakes: &Wakes) -> bool {
        timeout(Duration::from_millis(1), wakes.woken(DueKind::Timers))
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reactor_is_woken_for_what_it_would_sleep_through_and_for_nothing_else() {
        let wakes = Wakes::new();
        wakes.looking(DueKind::Timers);
        set(&wakes, 900);
        assert!(woken(&wakes).await, "it may have looked too early to see it");
        wakes.found(DueKind::Timers, Some(Time(500)), Time(100));
        set(&wakes, 500);
        assert!(!woken(&wakes).await, "it looks again then by itself");
        set(&wakes, 499);
        assert!(woken(&wakes).await);
        wakes.found(DueKind::Timers, None, Time(100));
        set(&wakes, 10_000);
        assert!(woken(&wakes).await, "nothing waited: it knows no time");
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_due_and_rests_hides_no_other() {
        let wakes = Wakes::new();
        wakes.looking(DueKind::Timers);
        wakes.found(DueKind::Timers, Some(Time(50)), Time(100));
        set(&wakes, 100);
        assert!(woken(&wakes).await);
    }
}
