//! Which Python runs the agent, and whether it can.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

/// What a Python says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Python {
    /// The interpreter.
    #[serde(default)]
    pub program: PathBuf,
    /// `3.11.7`.
    pub version: String,
    /// It is new enough for the SDK.
    pub new_enough: bool,
    /// `import tape` would find the SDK.
    pub sdk: bool,
    /// `import google.adk` would find the agent framework.
    pub adk: bool,
}

/// Finds without importing: importing the framework alone takes seconds.
const QUESTION: &str = r"
import json, sys, importlib.util
def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False
print(json.dumps({
    'version': '.'.join(map(str, sys.version_info[:3])), 'new_enough': sys.version_info >= (3, 11),
    'sdk': there('tape.worker'), 'adk': there('google.adk'),
}))
";

/// The command of `tape.yaml`, with the interpreter put in for a bare `python`: the project's own environment, the one that is
/// active, the one that TAPE_PYTHON names, or the one on PATH, in this order.
#[must_use]
pub fn resolve(command: &[String], root: &Path) -> Vec<OsString> {
    let mut resolved: Vec<OsString> = command.iter().map(OsString::from).collect();
    if let Some(first) = resolved.first_mut()
        && is_bare(first)
    {
        *first = interpreter(root).into();
    }
    resolved
}

/// Whether a command is run by a Python that we choose.
pub fn is_bare(program: &OsString) -> bool {
    program == "python" || program == "python3"
}

/// The interpreter for a project.
#[must_use]
pub fn interpreter(root: &Path) -> PathBuf {
    choose(root, &|name| env::var_os(name).filter(|value| !value.is_empty()))
}

fn choose(root: &Path, env: &dyn Fn(&str) -> Option<OsString>) -> PathBuf {
    let inside = |environment: &Path| environment.join("bin").join("python");
    let own = inside(&root.join(".venv"));
    if own.exists() {
        // The process starts in the project's folder, wherever we are.
        return std::path::absolute(&own).unwrap_or(own);
    }
    if let Some(active) = env("VIRTUAL_ENV").map(|folder| inside(Path::new(&folder)))
        && active.exists()
    {
        return active;
    }
    env("TAPE_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// Asks an interpreter about itself.
///
/// # Errors
/// When there is none, or it does not answer.
pub async fn ask(program: &Path, root: &Path) -> anyhow::Result<Python> {
    let answer = Command::new(program)
        .args(["-c", QUESTION])
        .current_dir(root)
        .output()
        .await
        .with_context(|| {
            format!(
                "there is no Python at {}. Install Python 3.11 or newer, or name one: TAPE_PYTHON=/path/to/python",
                program.display()
            )
        })?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stderr);
        bail!(
            "{} does not work: {}",
            program.display(),
            said.trim().lines().last().unwrap_or("it says nothing")
        );
    }
    let said: Python = serde_json::from_slice(&answer.stdout)
        .with_context(|| format!("{} answers something strange", program.display()))?;
    Ok(Python {
        program: program.to_owned(),
        ..said
    })
}

impl Python {
    /// Refuses one that could not run the agent of a project.
    ///
    /// # Errors
    /// What is missing, with the command that installs it.
    pub fn need(&self, framework: &str) -> anyhow::Result<()> {
        let at = self.program.display();
        if !self.new_enough {
            bail!(
                "{at} is Python {}, and the SDK needs 3.11 or newer. Name another: TAPE_PYTHON=/path/to/python",
                self.version
            );
        }
        if !self.sdk {
            bail!("{at} does not have the Tape SDK (`import tape`). Install it there: {at} -m pip install -e .");
        }
        if framework.starts_with("adk") && !self.adk {
            bail!(
                "{at} does not have Google's ADK (`import google.adk`). Install it there: {at} -m pip install google-adk"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(environment: &Path) -> PathBuf {
        let python = environment.join("bin").join("python");
        std::fs::create_dir_all(python.parent().unwrap()).unwrap();
        std::fs::write(&python, "").unwrap();
        python
    }

    #[test]
    fn the_nearest_environment_wins() {
        let folder = tempfile::tempdir().unwrap();
        let (root, active) = (folder.path().join("project"), folder.path().join("active"));
        std::fs::create_dir_all(&root).unwrap();
        let env = |name: &str| match name {
            "VIRTUAL_ENV" => Some(active.clone().into_os_string()),
            "TAPE_PYTHON" => Some("/named/python".into()),
            _ => None,
        };
        assert_eq!(choose(&root, &|_| None), PathBuf::from("python3"));
        assert_eq!(choose(&root, &env), PathBuf::from("/named/python"));
        let python = touch(&active);
        assert_eq!(choose(&root, &env), python);
        let own = touch(&root.join(".venv"));
        assert_eq!(choose(&root, &env), own);
    }

    #[test]
    fn another_program_stays_as_it_is() {
        let command = ["node".to_owned(), "worker.js".to_owned()];
        assert_eq!(resolve(&command, Path::new(".")), ["node", "worker.js"]);
    }

    #[tokio::test]
    async fn a_python_that_is_not_there_is_named_with_its_cure() {
        let error = ask(Path::new("/no/such/python"), Path::new("."))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/no/such/python") && error.contains("TAPE_PYTHON="),
            "{error}"
        );
    }
}
