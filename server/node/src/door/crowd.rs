//! How many connections there are, and may be.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use opentelemetry::metrics::{Counter, UpDownCounter};
use opentelemetry::{KeyValue, global};
use tape_api::Admission;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How many of those that are too many are let in, to be told so.
const TOLD_MAX: usize = 64;
/// How long they may stay: time for a handshake and the refusal of a call.
const TOLD_STAY: Duration = Duration::from_secs(1);
/// The log tells of refusals this often, however many there are.
const WARN_EVERY: Duration = Duration::from_secs(10);

struct Meters {
    open: UpDownCounter<i64>,
    refused: Counter<u64>,
}

static METERS: LazyLock<Meters> = LazyLock::new(|| {
    let meter = global::meter("tape");
    Meters {
        open: meter
            .i64_up_down_counter("tape.connections")
            .with_description("Open connections, by listener: grpc, http")
            .build(),
        refused: meter
            .u64_counter("tape.connections.refused")
            .with_description("Connections that were one too many, by listener")
            .build(),
    }
});

/// The places of one listener.
pub(super) struct Crowd {
    name: &'static str,
    connections_max: usize,
    places: Arc<Semaphore>,
    told: Arc<Semaphore>,
    warned: Option<Instant>,
}

impl Crowd {
    pub(super) fn new(name: &'static str, connections_max: usize) -> Self {
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS);
        Self {
            name,
            connections_max,
            places: Arc::new(Semaphore::new(connections_max)),
            told: Arc::new(Semaphore::new(TOLD_MAX)),
            warned: None,
        }
    }

    /// A place for one more: among those who are served, or among those who are told that there is none; or nowhere.
    pub(super) fn place(&mut self) -> Option<Place> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Some(Place::new(self.name, permit, Admission::Admitted, None));
        }
        METERS.refused.add(1, &[KeyValue::new("listener", self.name)]);
        let now = Instant::now();
        if self.warned.is_none_or(|last| now - last >= WARN_EVERY) {
            self.warned = Some(now);
            tracing::warn!(
                listener = self.name,
                connections_max = self.connections_max,
                "TAPE-A008: no more connections are taken"
            );
        }
        let permit = self.told.clone().try_acquire_owned().ok()?;
        let crowded = Admission::Crowded {
            connections_max: self.connections_max,
        };
        Some(Place::new(self.name, permit, crowded, Some(now + TOLD_STAY)))
    }
}

/// One connection's place. Free again when it is dropped.
pub(super) struct Place {
    name: &'static str,
    pub(super) admission: Admission,
    /// When it has to be given up, if ever.
    pub(super) until: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(name: &'static str, permit: OwnedSemaphorePermit, admission: Admission, until: Option<Instant>) -> Self {
        METERS.open.add(1, &[KeyValue::new("listener", name)]);
        Self {
            name,
            admission,
            until,
            _permit: permit,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        METERS.open.add(-1, &[KeyValue::new("listener", self.name)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_one_too_many_is_told_and_a_place_that_was_left_is_free() {
        let mut crowd = Crowd::new("grpc", 2);
        let first = crowd.place().unwrap();
        let second = crowd.place().unwrap();
        assert!(first.admission == Admission::Admitted && second.until.is_none());
        let told: Vec<_> = (0..TOLD_MAX).map(|_| crowd.place().unwrap()).collect();
        assert!(told.iter().all(|place| place.until.is_some()));
        assert_eq!(told[0].admission, Admission::Crowded { connections_max: 2 });
        assert!(crowd.place().is_none(), "so many are not even told");
        drop(first);
        assert_eq!(crowd.place().unwrap().admission, Admission::Admitted);
    }
}
