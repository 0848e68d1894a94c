//! What is wrong with a connector's folder, before anything was run.

use std::path::Path;

use thiserror::Error;

/// A file that cannot be used, or a component that the host does not accept.
#[derive(Debug, Error)]
pub enum Problem {
    /// The file cannot be read or makes no sense. Names the file, the place in it, and what was expected.
    #[error("{file}: {problem}")]
    File {
        /// As it was named.
        file: String,
        /// In words for people.
        problem: String,
    },
    /// The host refused the component, or cannot run.
    #[error("{problem}")]
    Host {
        /// The stable code, if there is one: `tape explain` knows it.
        code: Option<&'static str>,
        /// In words for people.
        problem: String,
    },
}

impl Problem {
    pub(crate) fn file(file: &Path, problem: impl std::fmt::Display) -> Self {
        Self::File {
            file: file.display().to_string(),
            problem: problem.to_string(),
        }
    }

    pub(crate) fn host(problem: impl std::fmt::Display) -> Self {
        Self::Host {
            code: None,
            problem: problem.to_string(),
        }
    }
}
