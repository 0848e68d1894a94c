//! The logs of all processes in one window: each line behind the name of who says it.

use std::sync::Arc;

use console::Style;
use serde_json::json;

use crate::agent_process;
use crate::process::{Sink, Stream};
use crate::ui::{self, Format};

/// Where all lines go.
#[derive(Clone, Copy)]
pub struct Window(Format);

impl Window {
    pub fn new(format: Format) -> Self {
        Self(format)
    }

    /// For the lines of one process.
    pub fn sink(self, name: &'static str) -> Sink {
        let style = match name {
            "server" => Style::new().cyan(),
            "agent" => Style::new().magenta(),
            _ => Style::new().yellow(),
        };
        Arc::new(move |stream, line| {
            let shown = match self.0 {
                Format::Json => json!({ "from": name, "stderr": stream == Stream::Err, "line": line }).to_string(),
                Format::Text => format!("{} {}", style.apply_to(format!("{name:<6} │")), readable(stream, line)),
            };
            // A window that is gone is no reason to stop what runs.
            ui::line(shown).ok();
        })
    }
}

/// A worker's events as words; everything else as it is.
fn readable(stream: Stream, line: &str) -> String {
    let event = (stream == Stream::Out).then(|| agent_process::parse(line)).flatten();
    event.map_or_else(|| line.to_owned(), |event| agent_process::describe(&event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_words_and_logs_are_logs() {
        assert_eq!(
            readable(Stream::Out, r#"{"event":"run_ended","ts_ms":1,"status":"TERMINAL"}"#),
            "run_ended status=TERMINAL"
        );
        assert_eq!(readable(Stream::Err, r#"{"event":"x"}"#), r#"{"event":"x"}"#);
        assert_eq!(readable(Stream::Out, "plain"), "plain");
    }
}
