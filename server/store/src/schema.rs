//! The schema of a database, as its numbered steps.

/// A step that a database does not have yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number: the same in all stores.
    pub number: i64,
    /// What it is about.
    pub name: String,
    /// What it runs.
    pub sql: String,
}

/// How far a database's schema is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Number of the newest step that it has; 0 = none.
    pub at: i64,
    /// Number of the newest step that this server knows.
    pub known: i64,
    /// Steps that it does not have, in order.
    pub pending: Vec<Step>,
}

impl Schema {
    /// The schema of a database whose newest step is `at`, among all that this server knows.
    #[must_use]
    pub fn new(at: i64, all: impl IntoIterator<Item = Step>) -> Self {
        let all: Vec<Step> = all.into_iter().collect();
        Self {
            at,
            known: all.iter().map(|step| step.number).max().unwrap_or_default(),
            pending: all.into_iter().filter(|step| step.number > at).collect(),
        }
    }

    /// The sentence to show if the database belongs to a newer server.
    ///
    /// # Errors
    /// That sentence.
    pub fn refuse_newer(&self) -> Result<(), String> {
        if self.at <= self.known {
            return Ok(());
        }
        Err(format!(
            "it has schema {}, made by a newer server, and this one knows schemas up to {}; start the newer version, or restore a backup from before it was first started",
            self.at, self.known
        ))
    }
}
