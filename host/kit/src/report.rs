//! What was tried, and what came of it.

use std::fmt;

use serde::Serialize;

/// Everything that was tried on one connector.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The connector's own name and version.
    pub connector: String,
    /// `sha256:<hex>` of the component.
    pub digest: String,
    /// What every connector must hold.
    pub facts: Vec<Line>,
    /// What this one must hold.
    pub cases: Vec<Line>,
}

/// One fact or case.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// A sentence.
    pub name: String,
    /// What came of it.
    #[serde(flatten)]
    pub finding: Finding,
    /// How long it took.
    pub took_ms: u64,
}

/// What came of one fact or case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", content = "why", rename_all = "kebab-case")]
pub enum Finding {
    /// It holds.
    Holds,
    /// It does not: what was seen, what was expected, and the cure where the kit knows one.
    Broken(String),
    /// It says nothing about this connector, and why.
    DoesNotApply(String),
}

impl Report {
    /// Whether nothing is broken.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken().next().is_none()
    }

    /// What is broken.
    pub fn broken(&self) -> impl Iterator<Item = &Line> {
        let lines = self.facts.iter().chain(&self.cases);
        lines.filter(|line| matches!(line.finding, Finding::Broken(_)))
    }

    /// `14 facts and 6 cases hold, 1 is broken, 3 do not apply`.
    #[must_use]
    pub fn summary(&self) -> String {
        let held = |lines: &[Line]| lines.iter().filter(|line| line.finding == Finding::Holds).count();
        let broken = self.broken().count();
        let idle = self
            .facts
            .iter()
            .chain(&self.cases)
            .filter(|line| matches!(line.finding, Finding::DoesNotApply(_)));
        let mut text = format!(
            "{} and {} hold",
            count(held(&self.facts), "fact"),
            count(held(&self.cases), "case")
        );
        match broken {
            0 => {}
            1 => text.push_str(", 1 is broken"),
            more => text.push_str(&format!(", {more} are broken")),
        }
        match idle.count() {
            0 => {}
            1 => text.push_str(", 1 does not apply"),
            more => text.push_str(&format!(", {more} do not apply")),
        }
        text
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// For assertions: only what is broken, and the summary.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.broken() {
            if let Finding::Broken(why) = &line.finding {
                writeln!(f, "✗ {}\n    {}", line.name, why.replace('\n', "\n    "))?;
            }
        }
        write!(f, "{}: {}", self.connector, self.summary())
    }
}
