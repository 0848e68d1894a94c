//! What people see: ticks, colours, tables, progress. Data goes to stdout, talk to stderr, colour only to a terminal.

use std::io::{self, Write};
use std::time::Duration;

use console::{Style, Term};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document, or one per line where there is a stream of them.
    Json,
}

/// How a line begins, and in which colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It holds.
    Tick,
    /// It does not, or something was broken on purpose.
    Cross,
    /// Something is being started.
    Arrow,
    /// Something comes back.
    Again,
}

impl Mark {
    /// The sign.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Tick => "✓",
            Self::Cross => "✗",
            Self::Arrow => "→",
            Self::Again => "↻",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Tick => Style::new().green(),
            Self::Cross => Style::new().red(),
            Self::Arrow => Style::new().cyan(),
            Self::Again => Style::new().yellow(),
        }
    }
}

/// Prints one line of data.
///
/// # Errors
/// When nobody reads stdout any more.
pub fn line(text: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.as_ref())?;
    out.flush()
}

/// Prints one line of data that begins with a sign.
///
/// # Errors
/// When nobody reads stdout any more.
pub fn marked(mark: Mark, text: impl AsRef<str>) -> io::Result<()> {
    line(format!("{} {}", mark.style().apply_to(mark.sign()), text.as_ref()))
}

/// Prints a value as JSON, indented.
///
/// # Errors
/// When nobody reads stdout any more.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(serde_json::to_string_pretty(value)?)?)
}

/// Prints a value as JSON on one line.
///
/// # Errors
/// When nobody reads stdout any more.
pub fn json_line(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(serde_json::to_string(value)?)?)
}

/// Says something that is not data.
pub fn talk(text: impl AsRef<str>) {
    // Nothing can be done when nobody listens.
    writeln!(io::stderr().lock(), "{}", text.as_ref()).ok();
}

/// Shows on a terminal that something takes its time; silent elsewhere. Gone when it is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows `text` and a spinner.
    #[must_use]
    pub fn start(text: impl Into<String>) -> Self {
        if !Term::stderr().is_term() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner().with_style(
            ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.set_message(text.into());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Rows under a heading, each column as wide as its widest cell. Empty without rows.
#[must_use]
pub fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| console::measure_text_width(&row[column]));
        cells
            .chain([console::measure_text_width(heading[column])])
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let row = |cells: [&str; N]| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| console::pad_str(cell, width, console::Alignment::Left, None));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![Style::new().dim().apply_to(row(heading)).to_string()];
    lines.extend(rows.iter().map(|cells| row(cells.each_ref().map(String::as_str))));
    lines.join("\n")
}

/// A length of time for people: 340ms, 12s, 4m, 3h, 2d.
#[must_use]
pub fn age(ms: i64) -> String {
    match ms {
        ..=999 => format!("{}ms", ms.max(0)),
        1_000..=59_999 => format!("{}s", ms / 1_000),
        60_000..=3_599_999 => format!("{}m", ms / 60_000),
        3_600_000..=86_399_999 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

/// A moment for people, to the millisecond, UTC; the day too unless it is left out.
#[must_use]
pub fn moment(ms: i64, with_day: bool) -> String {
    let format = if with_day { "%Y-%m-%d %H:%M:%S" } else { "%H:%M:%S%.3f" };
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.strftime(format).to_string())
}

/// A run's or effect's status in its colour.
#[must_use]
pub fn status(name: &str) -> String {
    let style = match name {
        "TERMINAL" | "CONFIRMED" | "COMPENSATED" => Style::new().green(),
        "FAILED" | "STUCK" => Style::new().red(),
        "UNKNOWN" | "COMPENSATING" => Style::new().yellow(),
        "RUNNING" | "RUNNABLE" => Style::new().cyan(),
        _ => Style::new().dim(),
    };
    style.apply_to(name).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "long".to_owned()], ["bbb".to_owned(), "x".to_owned()]];
        assert_eq!(table(["c", "d"], &rows), "c    d\na    long\nbbb  x");
    }

    #[test]
    fn moments_are_in_utc() {
        assert_eq!(moment(1_700_000_000_123, false), "22:13:20.123");
        assert_eq!(moment(1_700_000_000_123, true), "2023-11-14 22:13:20");
    }

    #[test]
    fn ages_are_short() {
        let ages = [-5, 340, 12_000, 240_000, 10_800_000, 172_800_000].map(age);
        assert_eq!(ages, ["0ms", "340ms", "12s", "4m", "3h", "2d"]);
    }
}
