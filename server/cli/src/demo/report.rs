//! How the demo speaks: a line for what holds, expected and seen for what does not.

use std::fmt;
use std::io;

use serde_json::json;

use super::stage::Stage;
use crate::ui::{self, Format, Mark};

/// Something that was to hold and did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discrepancy {
    /// The line that was not printed.
    pub line: String,
    /// What was to be.
    pub expected: String,
    /// What was.
    pub saw: String,
}

impl Discrepancy {
    /// One of these.
    pub fn new(line: impl Into<String>, expected: impl Into<String>, saw: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            expected: expected.into(),
            saw: saw.into(),
        }
    }
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, saw {}", self.line, self.expected, self.saw)
    }
}

impl std::error::Error for Discrepancy {}

/// Prints the demo's lines.
pub struct Report(Format);

impl Report {
    /// In this format.
    pub fn new(format: Format) -> Self {
        Self(format)
    }

    /// A line that holds.
    pub fn say(&self, mark: Mark, text: &str) -> io::Result<()> {
        match self.0 {
            Format::Text => ui::marked(mark, text),
            Format::Json => ui::line(json!({ "mark": mark.sign(), "text": text }).to_string()),
        }
    }

    /// The last line: the contract.
    pub fn assert(&self, text: &str) -> io::Result<()> {
        match self.0 {
            Format::Text => ui::line(format!("ASSERT: {text} {}", console::style(Mark::Tick.sign()).green())),
            Format::Json => {
                ui::line(json!({ "mark": Mark::Tick.sign(), "text": format!("ASSERT: {text}") }).to_string())
            }
        }
    }

    /// What did not hold, and where to look.
    pub fn failed(&self, error: &anyhow::Error, stage: &Stage<'_>) -> anyhow::Result<()> {
        let files = stage.files();
        if self.0 == Format::Json {
            ui::line(
                json!({ "mark": Mark::Cross.sign(), "failed": format!("{error:#}"), "files": files }).to_string(),
            )?;
            return Ok(());
        }
        match error.downcast_ref::<Discrepancy>() {
            Some(found) => {
                ui::marked(Mark::Cross, format!("FAILED: {}", found.line))?;
                ui::line(format!("    expected  {}", found.expected))?;
                ui::line(format!("    saw       {}", found.saw))?;
            }
            None => ui::marked(Mark::Cross, format!("FAILED: {error:#}"))?,
        }
        ui::talk(format!("Look into: {}", files.join(", ")));
        Ok(())
    }

    /// Where to go from here.
    pub fn farewell(&self, run_id: &str, store: &super::keep::Kept) {
        let env = store
            .env
            .as_ref()
            .map_or(String::new(), |url| format!("TAPE_STORE_URL={url} "));
        ui::talk(format!(
            "\nLook at it: {env}tape status; {env}tape doctor --dump-run {run_id}"
        ));
    }
}
