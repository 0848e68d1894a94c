//! What is told of a measurement.

use crate::{Guest, Measured};

/// One guest's figures.
pub struct Figures {
    pub target: Target,
    /// All others, by name and with their unit in it.
    pub others: Vec<(String, f64)>,
}

/// A call without I/O, in terms of wasmtime's own.
pub struct Target {
    pub name: String,
    pub host_us: f64,
    pub bare_us: f64,
}

impl Target {
    /// What the host may add: once as much again.
    pub const RATIO_MAX: f64 = 2.0;

    /// The host's call in terms of wasmtime's.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.host_us / self.bare_us
    }
}

impl Figures {
    pub(crate) fn of(guest: &Guest, measured: &Measured) -> Self {
        let mut others = Vec::new();
        let mut figure =
            |what: &str, value: f64| others.push((format!("connector, {}: {what}", guest.language), value));
        figure("no I/O p99 us", measured.host.us(0.99));
        figure("wasmtime alone p99 us", measured.bare.us(0.99));
        figure("calls/s on one core", measured.calls_per_s);
        figure("wasmtime alone, calls/s on one core", measured.bare_calls_per_s);
        figure("reused instance, no I/O p50 us", measured.reused.us(0.5));
        if let Some(io) = &measured.io {
            figure("one POST p50 us", io.host.us(0.5));
            figure("hyper alone, one POST p50 us", io.hyper.us(0.5));
            figure("one POST in terms of hyper's", io.host.us(0.5) / io.hyper.us(0.5));
            figure("memory per live instance KiB", io.instance_bytes / 1024.0);
        }
        figure("component KiB", guest.component.len() as f64 / 1024.0);
        figure("compile and load ms", measured.compile.as_secs_f64() * 1e3);
        figure("load from the cache ms", measured.cached.as_secs_f64() * 1e3);
        Self {
            target: Target {
                name: format!("connector call, {}, fresh instance, no I/O: p50", guest.language),
                host_us: measured.host.us(0.5),
                bare_us: measured.bare.us(0.5),
            },
            others,
        }
    }
}
