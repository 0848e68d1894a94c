//! The payload's language.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    #[serde(default)]
    pub steps: Vec<Step>,
    pub answer: Answer,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    Send {
        method: String,
        url: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(default)]
        body: Option<String>,
        /// The body repeated so many times.
        #[serde(default)]
        times: Option<usize>,
        #[serde(default)]
        timeout_ms: Option<u32>,
    },
    /// The same by wasi:http, as code finds it that knows nothing of Tape.
    WasiSend {
        method: String,
        authority: String,
        path: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
        body: String,
    },
    /// Spins for ever.
    Loop,
    /// Waits in the host for ever.
    Wait,
    /// Takes memory for ever.
    Allocate,
    /// Calls itself for ever.
    Recurse,
    Panic(String),
    Exit,
    Print {
        text: String,
        times: usize,
    },
    Log {
        text: String,
        times: usize,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    Confirmed {
        external_ref: String,
        response: String,
    },
    Failed {
        code: String,
        message: String,
        retryable: bool,
    },
    Unknown {
        reason: String,
    },
    NotCommitted,
    InProgress {
        retry_after_ms: u64,
    },
    Absent,
    Duplicate {
        external_refs: Vec<String>,
    },
}
