//! Connectors that are rebuilt while `tape dev` runs: the new component is put into the server, and calls go to it.
//!
//! The files that `tape.yaml` names are looked at, a few times a second. One that has changed and rests is put; a build that is half
//! written is not a component yet, and is told as what it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tape_client::{By, ClientError, PutConnector, TapeClient, VersionName};
use tape_node::project::Project;

use crate::ui::{self, Mark};

/// Between two looks. A file that did not change between two of them is finished.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// The components of a project, and how they were when somebody looked last.
pub struct Rebuilt {
    tenant: String,
    files: BTreeMap<String, Watched>,
}

struct Watched {
    path: PathBuf,
    /// What was put last.
    put: Stamp,
    /// What was seen last.
    seen: Stamp,
}

/// A file's time and size; none if it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl Rebuilt {
    /// Those that the project names, as they are now: the server has put them.
    pub fn watch(project: &Project) -> Self {
        let files = project.connectors.iter().filter_map(|(name, connector)| {
            let path = connector.file(&project.root)?;
            let stamp = stamp(&path);
            let watched = Watched {
                path,
                put: stamp,
                seen: stamp,
            };
            Some((name.clone(), watched))
        });
        Self {
            tenant: project.tenancy.tenant_id.clone().unwrap_or_default(),
            files: files.collect(),
        }
    }

    /// Puts what is rebuilt, for as long as it is awaited.
    pub async fn follow(&mut self, client: &TapeClient) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for (name, path) in self.look() {
                match self.put(client, &name, &path).await {
                    Ok(said) => drop(ui::marked(Mark::Again, said)),
                    Err(error) => drop(ui::marked(
                        Mark::Cross,
                        format!("connector `{name}` stays as it was: {error}"),
                    )),
                }
            }
        }
    }

    /// The files that have changed since they were put, and rest.
    fn look(&mut self) -> Vec<(String, PathBuf)> {
        let mut rebuilt = Vec::new();
        for (name, watched) in &mut self.files {
            let now = stamp(&watched.path);
            let rests = now == watched.seen;
            watched.seen = now;
            if rests && now.is_some() && now != watched.put {
                watched.put = now;
                rebuilt.push((name.clone(), watched.path.clone()));
            }
        }
        rebuilt
    }

    async fn put(&self, client: &TapeClient, name: &str, path: &Path) -> Result<String, ClientError> {
        let component = match fs::read(path) {
            Ok(component) => component,
            Err(error) => {
                return Ok(format!(
                    "connector `{name}`: {} cannot be read ({error})",
                    path.display()
                ));
            }
        };
        let put = PutConnector {
            at: VersionName {
                tenant: self.tenant.clone(),
                name: name.to_owned(),
                version: String::new(),
            },
            component,
            activate: true,
            rename: true,
            by: By {
                who: "tape dev".to_owned(),
                reason: "rebuilt".to_owned(),
            },
            ..PutConnector::default()
        };
        let done = client.put_connector(put).await?;
        Ok(format!(
            "connector `{name}` is swapped: calls go to {}",
            done.version.version
        ))
    }
}

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_once_when_it_has_changed_and_rests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bank.wasm");
        fs::write(&path, "old").unwrap();
        let put = stamp(&path);
        let watched = Watched {
            path: path.clone(),
            put,
            seen: put,
        };
        let mut rebuilt = Rebuilt {
            tenant: String::new(),
            files: BTreeMap::from([("bank".to_owned(), watched)]),
        };
        assert!(rebuilt.look().is_empty());
        fs::remove_file(&path).unwrap();
        assert!(
            rebuilt.look().is_empty() && rebuilt.look().is_empty(),
            "it is being built"
        );
        fs::write(&path, "half of").unwrap();
        assert!(rebuilt.look().is_empty(), "it may not be finished");
        fs::write(&path, "half of it and the rest").unwrap();
        assert!(rebuilt.look().is_empty(), "it was not");
        assert_eq!(rebuilt.look(), [("bank".to_owned(), path)]);
        assert!(rebuilt.look().is_empty(), "once");
    }
}
