//! What is printed of a measurement: a line per target, and the figures behind them.

use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

/// One target and how it was met.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What was measured.
    pub name: String,
    /// The figure with its unit.
    pub measured: String,
    /// What it is compared to, with its unit; empty where the target is absolute.
    pub floor: String,
    /// Measured in terms of the floor, or of the target.
    pub ratio: f64,
    /// The target, as words.
    pub target: String,
    /// Whether it is met.
    pub met: bool,
}

/// Which side of the bound is good.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// The ratio must not exceed this.
    AtMost(f64),
    /// The ratio must reach this.
    AtLeast(f64),
}

impl Line {
    /// Judges `ratio` by `bound`.
    #[must_use]
    pub fn new(name: &str, measured: String, floor: String, ratio: f64, bound: Bound) -> Self {
        let (target, met) = match bound {
            Bound::AtMost(most) => (format!("<= {most}"), ratio <= most),
            Bound::AtLeast(least) => (format!(">= {least}"), ratio >= least),
        };
        Self {
            name: name.to_owned(),
            measured,
            floor,
            ratio,
            target,
            met,
        }
    }

    /// A target without a floor: the figure in the target's unit against the target.
    #[must_use]
    pub fn absolute(name: &str, value: f64, unit: &str, bound: Bound) -> Self {
        let mut line = Self::new(name, format!("{value:.2} {unit}"), String::new(), value, bound);
        line.target = format!("{} {unit}", line.target);
        line
    }
}

/// Everything of one run of the bench.
#[derive(Default, Serialize)]
pub struct Report {
    /// When, as a date and time in UTC.
    pub at: String,
    /// The version that was measured.
    pub version: String,
    /// The targets.
    pub lines: Vec<Line>,
    /// All other figures, by name and with their unit in it.
    pub figures: Vec<(String, f64)>,
}

impl Report {
    /// Adds a figure and tells it at once.
    pub fn figure(&mut self, name: impl Into<String>, value: f64) {
        let name = name.into();
        tell(&format!("    {name}: {value:.3}"));
        self.figures.push((name, value));
    }

    /// Adds a target's line and tells it at once.
    pub fn line(&mut self, line: Line) {
        tell(&format!("  {}", text(&line)));
        self.lines.push(line);
    }

    /// The table of the targets.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = format!(
            "{:<58} {:>16} {:>16} {:>9} {:>12}  \n",
            "target", "measured", "floor", "ratio", "wanted"
        );
        for line in &self.lines {
            table.push_str(&text(line));
            table.push('\n');
        }
        table
    }

    /// Appends it to the history, one JSON object per line.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&self, history: &Path) -> anyhow::Result<()> {
        let mut file = std::fs::File::options().create(true).append(true).open(history)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        Ok(())
    }
}

fn text(line: &Line) -> String {
    format!(
        "{:<58} {:>16} {:>16} {:>9.2} {:>12}  {}",
        line.name,
        line.measured,
        line.floor,
        line.ratio,
        line.target,
        if line.met { "ok" } else { "short" }
    )
}

/// Talk goes to stderr: stdout holds the table alone.
pub fn tell(words: &str) {
    let mut stderr = std::io::stderr().lock();
    // Nobody listens: the measurement goes on.
    drop(writeln!(stderr, "{words}"));
}
