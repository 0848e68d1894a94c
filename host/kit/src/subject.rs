//! What is tested: a component, and the folder that says what it needs and must hold.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{Case, Manifest, Problem, Setup};

/// The file that all cases have in common.
const SETUP: &str = "upstream.yaml";

/// A connector and its tests.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The folder's manifest.
    pub manifest: Manifest,
    /// The component's bytes.
    pub component: Vec<u8>,
    /// `cases/upstream.yaml`.
    pub setup: Setup,
    /// All others in `cases/`, with the file's name, in its order.
    pub cases: Vec<(String, Case)>,
}

impl Subject {
    /// Reads `folder`, whose component was built already.
    ///
    /// # Errors
    /// [`Problem::File`] for the first file that is missing or makes no sense.
    pub fn read(folder: &Path, component: Vec<u8>) -> Result<Self, Problem> {
        let manifest = Manifest::read(folder)?;
        let setup = yaml(&folder.join("cases").join(SETUP))?;
        let mut cases = Vec::new();
        for file in case_files(folder)? {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let several: Vec<Case> = yaml(&file)?;
            cases.extend(several.into_iter().map(|case| (name.clone(), case)));
        }
        Ok(Self {
            manifest,
            component,
            setup,
            cases,
        })
    }
}

fn case_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let cases = folder.join("cases");
    let unreadable = |error: std::io::Error| Problem::file(&cases, error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&cases).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_case = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        if is_case && path.file_name().is_some_and(|name| name != SETUP) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn yaml<T: DeserializeOwned>(file: &Path) -> Result<T, Problem> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Problem::file(
            file,
            format!("{error}; a connector's folder has cases/{SETUP} with a sample effect and a model of its upstream"),
        )
    })?;
    serde_saphyr::from_str(&text).map_err(|error| Problem::file(file, error))
}
