//! What becomes of the demo's store: the project's own, as long as that holds nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tape_node::project::Project;

use crate::server_process::store_file;

/// The demo's store, beside the project's.
pub const STORE_URL: &str = "sqlite:.tape/demo.db";
/// Beside the project's store while all that is in it came from a demo.
const ORIGIN: &str = "from-demo";
/// What SQLite keeps beside its file.
const BESIDE: [&str; 3] = ["", "-wal", "-shm"];

/// Where the demo's run can be looked at.
pub struct Kept {
    /// The store to name, if it is not the project's own.
    pub env: Option<&'static str>,
}

/// Takes away the store of the last demo.
///
/// # Errors
/// When it cannot be removed.
pub fn start_afresh(root: &Path) -> anyhow::Result<()> {
    let file = demo_file(root);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
    }
    remove(&file)
}

/// Makes the demo's store the project's, unless the project has one of its own: then `tape status` shows the demo's run.
///
/// # Errors
/// When files cannot be moved.
pub fn keep(project: &Project) -> anyhow::Result<Kept> {
    let demo = Kept { env: Some(STORE_URL) };
    let Some(own) = store_file(&project.store_url, &project.root) else {
        return Ok(demo);
    };
    let origin = origin(&own);
    if own.exists() && !origin.exists() {
        return Ok(demo);
    }
    remove(&own)?;
    if let Some(folder) = own.parent() {
        fs::create_dir_all(folder)?;
    }
    for end in BESIDE {
        let from = with_end(&demo_file(&project.root), end);
        if from.exists() {
            fs::rename(&from, with_end(&own, end)).with_context(|| format!("move {}", from.display()))?;
        }
    }
    fs::write(
        &origin,
        "This store holds a demo's run only. `tape dev` takes this mark away; until then the next demo replaces the store.\n",
    )?;
    Ok(Kept { env: None })
}

/// The project's store is about to be used: it is no demo's any more.
pub fn forget_origin(store_url: &str, root: &Path) {
    if let Some(own) = store_file(store_url, root) {
        // Most often there is none.
        fs::remove_file(origin(&own)).ok();
    }
}

fn demo_file(root: &Path) -> PathBuf {
    root.join(".tape").join("demo.db")
}

fn origin(own: &Path) -> PathBuf {
    own.with_extension(ORIGIN)
}

fn remove(file: &Path) -> anyhow::Result<()> {
    for end in BESIDE {
        let path = with_end(file, end);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn with_end(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(root: &Path) -> Project {
        let text = "apiVersion: tape.dev/v1\nkind: TapeProject\nproject: {name: p}\n";
        Project::parse(text, root, &|_| None).unwrap()
    }

    fn demo(root: &Path, content: &str) {
        start_afresh(root).unwrap();
        fs::write(demo_file(root), content).unwrap();
    }

    #[test]
    fn a_demos_store_gives_way_to_the_next_demo_but_a_projects_own_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (root, project) = (folder.path(), project(folder.path()));
        let own = root.join(".tape/dev.db");

        demo(root, "first");
        assert!(keep(&project).unwrap().env.is_none());
        demo(root, "second");
        assert!(keep(&project).unwrap().env.is_none());
        assert_eq!(fs::read_to_string(&own).unwrap(), "second");

        forget_origin(&project.store_url, root);
        demo(root, "third");
        assert_eq!(keep(&project).unwrap().env, Some(STORE_URL));
        assert_eq!(fs::read_to_string(&own).unwrap(), "second");
        assert_eq!(fs::read_to_string(demo_file(root)).unwrap(), "third");
    }
}
