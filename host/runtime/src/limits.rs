//! What one call may use. Every limit ends as an error that names it.

use serde::{Deserialize, Serialize};

const MIB: usize = 1024 * 1024;

/// The limits of one deployed connector. The defaults suit a Rust guest; Python and JavaScript need more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall-clock time of one call, its waiting included. Default 30 s.
    pub timeout_ms: u64,
    /// Linear memory of one instance. Default 64 MiB, at most [`Limits::MEMORY_BYTES_MAX`].
    pub memory_bytes: usize,
    /// One request's or answer's body, and one receipt's response. Default 4 MiB.
    pub body_bytes: usize,
    /// Requests in one call, refused ones included. Default 16.
    pub requests_per_call: usize,
    /// Log lines and standard output of one call. Default 64 KiB.
    pub log_bytes: usize,
    /// Calls of this connector at the same time, over all of its versions. Default 32.
    pub concurrent_calls: usize,
    /// Calls per second toward the upstream from one process, over all of its versions, and as many at once. Default 0: no limit.
    pub calls_per_s: u32,
}

impl Limits {
    /// The most memory that a deployment may grant.
    pub const MEMORY_BYTES_MAX: usize = 512 * MIB;
    /// The most elements that an instance's tables may have.
    pub(crate) const TABLE_ELEMENTS_MAX: usize = 100_000;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout_ms: 30_000,
            memory_bytes: 64 * MIB,
            body_bytes: 4 * MIB,
            requests_per_call: 16,
            log_bytes: 64 * 1024,
            concurrent_calls: 32,
            calls_per_s: 0,
        }
    }
}
