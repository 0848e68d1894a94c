//! Logs: to standard error, as text or as JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging. `TAPE_LOG` says what (default `info`), `TAPE_LOG_FORMAT=json` how. A second call does nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env("TAPE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let json = std::env::var("TAPE_LOG_FORMAT").is_ok_and(|format| format == "json");
    let started = if json {
        logs.json().try_init()
    } else {
        logs.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
