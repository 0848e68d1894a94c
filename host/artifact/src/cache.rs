//! Artifacts on this machine's disk, so that a start needs no registry: what is pinned is pulled once, and what a tag meant last is there
//! while the registry is not.
//!
//! Two files for each place: the manifest as it was pulled, and the component. Nothing in them is believed: a manifest has to be the
//! pinned one, a component the manifest's; what is neither is pulled again. The folder can be deleted at any time.

use std::io;
use std::path::{Path, PathBuf};

use crate::layout::unpack;
use crate::{ArtifactError, Pulled, Reference, Registry, digest};

/// A folder of artifacts that were pulled.
#[derive(Debug, Clone)]
pub struct ArtifactCache {
    dir: PathBuf,
}

/// An artifact, and whether it comes from the registry as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub pulled: Pulled,
    /// The registry did not answer: this is what the tag meant when it was pulled last.
    pub stale: Option<ArtifactError>,
}

impl ArtifactCache {
    /// A cache in `dir`, which is made when there is something to keep.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// What is at `from`. A place that is pinned by its digest and was pulled before is not asked for again; of another the registry is
    /// asked, and what it said last counts only while it cannot be reached.
    ///
    /// # Errors
    /// [`ArtifactError`]: it cannot be had, and was not pulled before; or the registry says that it is not there.
    pub async fn pull(&self, registry: &Registry, from: &Reference) -> Result<Fetched, ArtifactError> {
        if from.digest().is_some()
            && let Some(pulled) = self.read(from)
        {
            return Ok(Fetched { pulled, stale: None });
        }
        match registry.pull(from).await {
            Ok(pulled) => {
                // A disk on which nothing can be kept costs another pull at the next start, no more.
                self.keep(from, &pulled).ok();
                Ok(Fetched { pulled, stale: None })
            }
            Err(error) if error.is_retryable() => match self.read(from) {
                Some(pulled) => Ok(Fetched {
                    pulled,
                    stale: Some(error),
                }),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn read(&self, from: &Reference) -> Option<Pulled> {
        let [manifest, component] = self.files(from).map(|file| std::fs::read(file).ok());
        let (manifest, component) = (manifest?, component?);
        let is = digest(&manifest);
        if from.digest().is_some_and(|wanted| wanted != is) {
            return None;
        }
        let (layer, signatures) = unpack(from, &manifest).ok()?;
        (digest(&component) == layer.digest).then(|| Pulled {
            component,
            signatures,
            reference: from.pinned(&is),
            manifest,
        })
    }

    fn keep(&self, from: &Reference, pulled: &Pulled) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let [manifest, component] = self.files(from);
        write_whole(&component, &pulled.component)?;
        write_whole(&manifest, &pulled.manifest)
    }

    /// Where the manifest and the component are.
    fn files(&self, from: &Reference) -> [PathBuf; 2] {
        let name = digest(from.to_string().as_bytes());
        let name = name.trim_start_matches("sha256:");
        ["json", "wasm"].map(|end| self.dir.join(format!("{name}.{end}")))
    }
}

/// Writes all of a file or nothing.
fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = file.with_extension("part");
    std::fs::write(&part, bytes)?;
    std::fs::rename(&part, file)
}
