//! What every command is given: where the project is, where the server is, how to print.

use std::path::{Path, PathBuf};

use tape_client::{ClientError, TapeClient};
use tape_node::project::{DEFAULT_URL, FILE, Project};

use crate::glance::Glance;
use crate::ui::Format;

/// The surroundings of one command.
pub struct Cx {
    /// How data is printed.
    pub format: Format,
    url: Option<String>,
    project: Option<PathBuf>,
}

/// A server to ask: the one that runs, or one that runs for this command only.
pub struct Connected {
    /// The connection.
    pub client: TapeClient,
    glance: Option<Glance>,
}

impl Cx {
    /// With what the flags say.
    #[must_use]
    pub fn new(format: Format, url: Option<String>, project: Option<PathBuf>) -> Self {
        Self { format, url, project }
    }

    /// Data for programs is wanted.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The project's file.
    #[must_use]
    pub fn project_file(&self) -> PathBuf {
        match &self.project {
            Some(folder) if folder.is_dir() => folder.join(FILE),
            Some(file) => file.clone(),
            None => FILE.into(),
        }
    }

    /// The project in whose folder we are.
    ///
    /// # Errors
    /// When there is none, or its file says something that cannot be.
    pub fn project(&self) -> anyhow::Result<Project> {
        Ok(Project::load(&self.project_file())?)
    }

    /// The project, if there is one here at all.
    ///
    /// # Errors
    /// When its file says something that cannot be.
    pub fn project_if_any(&self) -> anyhow::Result<Option<Project>> {
        let file = self.project_file();
        if self.project.is_none() && !file.exists() {
            return Ok(None);
        }
        Project::load(&file).map(Some).map_err(Into::into)
    }

    /// Where the server is: `--url`, `TAPE_URL`, the project's `tape.url`, or the default.
    ///
    /// # Errors
    /// When the project's file says something that cannot be.
    pub fn url(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        Ok(self
            .project_if_any()?
            .map_or_else(|| DEFAULT_URL.to_owned(), |project| project.url))
    }

    /// The server that runs.
    ///
    /// # Errors
    /// When none answers.
    pub async fn client(&self) -> anyhow::Result<TapeClient> {
        Ok(TapeClient::connect(&self.url()?).await?)
    }

    /// The server that runs; or, when none does and the project has a store, one that only looks at it.
    ///
    /// # Errors
    /// When neither is there.
    pub async fn client_or_glance(&self) -> anyhow::Result<Connected> {
        let url = self.url()?;
        let away = match TapeClient::connect(&url).await {
            Ok(client) => return Ok(Connected { client, glance: None }),
            Err(error) => error,
        };
        if matches!(away, ClientError::Unreachable { .. })
            && self.url.is_none()
            && let Some(project) = self.project_if_any()?
            && let Some(glance) = Glance::open(&project, &url).await?
        {
            return Ok(Connected {
                client: glance.client(),
                glance: Some(glance),
            });
        }
        Err(away.into())
    }
}

impl Connected {
    /// Whether the server runs for this command only.
    #[must_use]
    pub fn is_glance(&self) -> bool {
        self.glance.is_some()
    }

    /// Ends what runs for this command only.
    pub async fn close(self) {
        if let Some(glance) = self.glance {
            glance.close().await;
        }
    }
}

/// `path` as it is shown to people who stand in `root`.
#[must_use]
pub fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
