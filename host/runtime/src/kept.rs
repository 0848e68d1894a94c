//! Instances that serve more than one call, where the operator granted it (`grants.reuse_calls`): for guests that are costly to
//! instantiate.
//!
//! An instance is kept with the version that it belongs to, and so with its tenant: it can meet no other tenant's call. It serves one call
//! at a time, and only goes back after a call that it answered within its limits. What the host knows of a call (evidence,
//! secrets, allowances, the mark) is new each time; what the guest remembers is the guest's own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;

use crate::contract::Guest;
use crate::sandbox::Sandbox;

/// Idle instances of one version.
const PER_VERSION_MAX: usize = 4;

/// One version's idle instances.
pub struct Kept {
    /// How many calls an instance serves; fewer than two keeps none.
    calls_max: u32,
    /// None once the version is no longer active: nothing goes back then.
    idle: Mutex<Option<Vec<Idle>>>,
}

struct Idle {
    instance: Instance,
    /// Its place among all idle instances of the host.
    _place: OwnedSemaphorePermit,
}

/// An instance, and how many calls it has served.
pub struct Instance {
    pub store: Store<Sandbox>,
    pub guest: Guest,
    pub calls: u32,
}

impl Kept {
    pub fn new(calls_max: u32) -> Self {
        Self {
            calls_max,
            idle: Mutex::new((calls_max > 1).then(Vec::new)),
        }
    }

    /// An idle instance, if there is one. It is the caller's alone.
    pub fn take(&self) -> Option<Instance> {
        Some(self.lock().as_mut()?.pop()?.instance)
    }

    /// Keeps an instance whose call was answered, if it may serve another one and there is room in `places`.
    pub fn put_back(&self, instance: Instance, places: &Arc<Semaphore>) {
        if instance.calls >= self.calls_max {
            return;
        }
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            return;
        };
        if let Some(idle) = self.lock().as_mut().filter(|idle| idle.len() < PER_VERSION_MAX) {
            idle.push(Idle {
                instance,
                _place: place,
            });
        }
    }

    /// Drops what is idle: its room is needed.
    pub fn make_room(&self) {
        let dropped = self.lock().as_mut().map(std::mem::take);
        drop(dropped);
    }

    /// From now on every call gets a fresh instance.
    pub fn retire(&self) {
        let dropped = self.lock().take();
        drop(dropped);
    }

    /// The version is active again.
    pub fn revive(&self) {
        if self.calls_max > 1 {
            self.lock().get_or_insert_default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
