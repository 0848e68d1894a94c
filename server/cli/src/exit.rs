//! How a command ended, as scripts see it.

use std::process::ExitCode;

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All is well.
    Fine,
    /// It failed, or a check did not hold.
    Failed,
    /// Something is UNKNOWN: Tape is still finding out.
    Unknown,
    /// Something is STUCK: a person must settle it.
    Stuck,
}

impl Exit {
    /// The number: 0 fine, 1 failed, 3 UNKNOWN, 4 STUCK. (2 is clap's, for a command that makes no sense.)
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failed => 1,
            Self::Unknown => 3,
            Self::Stuck => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
