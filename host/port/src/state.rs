//! How deployed connectors are doing in one process: what runs, what rests, and what the limits leave.

use serde::{Deserialize, Serialize};

/// One version of a deployed connector that calls may reach, as `tape connector list` and the metrics show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectorState {
    pub tenant: String,
    pub name: String,
    pub version: String,
    /// `sha256:<hex>` of the component.
    pub digest: String,
    pub circuit: Circuit,
    /// Calls that ended since this version was loaded, whatever their outcome.
    pub calls: u64,
    /// Calls among them that ended by a trap, a timeout, a limit or a breach, or in which the upstream never answered.
    pub failures: u64,
    pub last_error: Option<String>,
    /// Calls of this connector that run now, over its versions.
    pub running: u64,
    /// How many may (`limits.concurrent_calls`).
    pub running_max: u64,
    /// Calls of all connectors of its tenant that run now.
    pub tenant_running: u64,
    /// How many may.
    pub tenant_running_max: u64,
    /// Calls that were let through in the last second, over its versions.
    pub rate_used: u64,
    /// How many may be, on average (`limits.calls_per_s`); 0 = no limit.
    pub rate_max: u64,
    /// Calls that were refused a turn since the process began, over its versions: by the circuit, the rate, or a limit on what runs.
    pub refused: u64,
}

/// A connector's circuit breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    pub state: CircuitState,
    /// Unix milliseconds at which it came into this state.
    pub since_ms: i64,
    /// Failures since the last call that was answered.
    pub failures_in_a_row: u64,
    /// When the next call will be let through, counted from now; 0 unless it is open.
    pub retry_after_ms: u64,
}

/// Whether calls go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CircuitState {
    /// They do.
    Closed,
    /// They are refused until the rest is over.
    Open,
    /// One is let through to see; the others are refused.
    HalfOpen,
}

impl CircuitState {
    /// Its name, as everybody shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}
