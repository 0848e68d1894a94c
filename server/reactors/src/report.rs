//! How the reactors of this process are doing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tape_core::{DueKind, Time};
use tape_port::{ReactorReport, Reports, TapeError};

/// One line for each reactor, written by the drivers.
pub struct ReportBoard {
    lines: Mutex<Vec<ReactorReport>>,
}

impl ReportBoard {
    /// A board on which no reactor is enabled.
    #[must_use]
    pub fn new() -> Self {
        let lines = DueKind::ALL.map(|kind| ReactorReport {
            kind,
            enabled: false,
            last_pass: Time::ZERO,
            passes: 0,
            errors: 0,
            last_error: String::new(),
        });
        Self {
            lines: Mutex::new(lines.into()),
        }
    }

    pub(crate) fn enabled(&self, kind: DueKind) {
        self.line(kind, |line| line.enabled = true);
    }

    pub(crate) fn passed(&self, kind: DueKind, now: Time) {
        self.line(kind, |line| {
            line.passes += 1;
            line.last_pass = now;
        });
    }

    pub(crate) fn failed(&self, kind: DueKind, error: &TapeError) {
        self.line(kind, |line| {
            line.errors += 1;
            line.last_error = error.to_string();
        });
    }

    fn line(&self, kind: DueKind, change: impl FnOnce(&mut ReactorReport)) {
        if let Some(line) = self.lines().iter_mut().find(|line| line.kind == kind) {
            change(line);
        }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<ReactorReport>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ReportBoard {
    fn default() -> Self {
        Self::new()
    }
}

impl Reports for ReportBoard {
    fn reactors(&self) -> Vec<ReactorReport> {
        self.lines().clone()
    }
}
