//! `tape.server`: how many may come in at the same time, and when a silent one counts as gone.

use std::time::Duration;

use super::section::{ProjectError, Section};
use crate::config::Doors;

/// A day.
const KEEPALIVE_MS_MAX: u64 = 86_400_000;

/// What is not named has its default.
pub(super) fn read(tape: &Section<'_>) -> Result<Doors, ProjectError> {
    let server = tape.section("server", &["max_connections", "max_streams", "keepalive_ms"])?;
    let mut doors = Doors::default();
    if let Some(connections) = server.at_least_one("max_connections")? {
        doors.connections_max = usize::try_from(connections).unwrap_or(usize::MAX);
    }
    if let Some(streams) = server.at_least_one("max_streams")? {
        doors.streams_max = u32::try_from(streams).unwrap_or(u32::MAX);
    }
    if let Some(ms) = server.at_least_one("keepalive_ms")? {
        if ms > KEEPALIVE_MS_MAX {
            return Err(ProjectError::new(
                &server.path("keepalive_ms"),
                &ms.to_string(),
                "is more than a day",
                "Write for example keepalive_ms: 20000.",
            ));
        }
        doors.keepalive = Duration::from_millis(ms);
    }
    Ok(doors)
}
