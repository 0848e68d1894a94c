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
    /// Begins a request by wasi:http and leaves it alone: its body is not finished, nobody waits for its answer.
    WasiBegin {
        method: String,
        authority: String,
        path: String,
        body: String,
    },
    /// Finishes the body of what was begun, be it in another call; nobody waits for the answer.
    WasiFinish,
    /// Waits for the answer to what was finished, be it in another call.
    WasiAwait,
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
        /// Names and values beside the text.
        #[serde(default)]
        fields: Vec<(String, String)>,
    },
    /// Adds to what the instance remembers. All of it is the step's outcome.
    Remember(String),
    /// The text so many times over is the step's outcome.
    Repeat {
        text: String,
        times: usize,
    },
    /// So many random bytes.
    Random(u32),
    /// Opens a file, or lists a folder.
    ReadFile(String),
    /// Writes a file.
    WriteFile(String),
    /// All variables and arguments.
    Environment,
    /// All of the standard input.
    Input,
    /// Connects by TCP.
    Connect(String),
    /// Sends a datagram.
    Datagram(String),
    /// Listens for connections.
    Listen(String),
    /// Asks for a name's addresses.
    Lookup(String),
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
